"""ECS tasks as this program sees them, and how a task's identity is written into `startedBy`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

STARTED_BY_MAX_CHARACTERS = 128
"""ECS refuses a longer `startedBy`, and any character outside `[A-Za-z0-9-/_]`."""

ENDED_STATUSES = frozenset({"STOPPED", "DELETED"})
"""The only values of `lastStatus` in which a task's outcome is known (ECS task lifecycle)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenContainer:
    """One container of a described task. `exit_code` is None while it runs, and when it never started.

    `image_digest` is empty until the image is pulled; `health` is HEALTHY, UNHEALTHY or UNKNOWN.
    """

    name: str
    last_status: str = ""
    exit_code: int | None = None
    reason: str = ""
    image: str = ""
    image_digest: str = ""
    health: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTask:
    """What ECS said of one task, by DescribeTasks or by a task state-change event; times are aware UTC.

    `tags` is empty in events, and after StopTask, which deletes a task's tags; identity therefore rests on `started_by`.
    `containers` is empty for a task that failed to start, and may hold sidecars that AWS injects. `architecture` is x86_64 or
    arm64; `connectivity` CONNECTED or DISCONNECTED. The pull's times, `execution_stopped_at` and the sizes are absent
    wherever ECS did not come that far.
    """

    arn: str
    cluster: str
    last_status: str
    desired_status: str = ""
    started_by: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    containers: tuple[SeenContainer, ...] = ()
    capacity_provider: str = ""
    task_definition: str = ""
    cpu: int | None = None
    memory_mib: int | None = None
    version: int = 0
    created_at: datetime | None = None
    pull_started_at: datetime | None = None
    started_at: datetime | None = None
    stopping_at: datetime | None = None
    stopped_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    launch_type: str = ""
    platform_version: str = ""
    platform_family: str = ""
    architecture: str = ""
    ephemeral_storage_gib: int | None = None
    availability_zone: str = ""
    connectivity: str = ""
    health: str = ""
    pull_stopped_at: datetime | None = None
    execution_stopped_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether ECS says that the task is over: before that no exit code and no stop code means anything."""
        return self.last_status in ENDED_STATUSES

    def container(self, name: str) -> SeenContainer | None:
        """The container called `name`; None when ECS lists none of that name. Never by position: sidecars are injected."""
        return next((container for container in self.containers if container.name == name), None)


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """Which attempt of which run of which installation a task was started for."""

    installation: str
    run_id: str
    attempt: int

    def started_by(self) -> str:
        """The `startedBy` of the task: `{installation}/{run_id}/{attempt}`."""
        return f"{self.installation}/{self.run_id}/{self.attempt}"

    @classmethod
    def parse(cls, started_by: str) -> "TaskIdentity | None":
        """The identity in a `startedBy`; None when it is not of our form (started by a person, a service, another system)."""
        parts = started_by.split("/")
        if len(parts) != 3 or not all(parts) or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]))


def short_id(task_arn: str) -> str:
    """The task's id: the last part of its ARN."""
    return task_arn.rsplit("/", 1)[-1]


_SIGNATURE = re.compile(r"\?[^\s\"']*X-Amz-[^\s\"']*", re.IGNORECASE)


def unsigned(text: str) -> str:
    """The text without the signatures of its addresses.

    A failed pull's reason may hold a signed address of an image layer, good for anyone for a while (AWS containers-roadmap
    issue 1133): no record and no log may show it.
    """
    return _SIGNATURE.sub("?(signature left out)", text)


def evidence_of(task: SeenTask) -> dict[str, Any]:
    """What ECS said of an ended task, as plain values to keep on the run: ECS itself forgets it after about an hour."""
    times = {
        name: value.isoformat()
        for name, value in (
            ("created_at", task.created_at),
            ("pull_started_at", task.pull_started_at),
            ("started_at", task.started_at),
            ("stopping_at", task.stopping_at),
            ("stopped_at", task.stopped_at),
        )
        if value is not None
    }
    containers = [
        {"name": each.name, "last_status": each.last_status, "exit_code": each.exit_code, "reason": each.reason[:1024]}
        for each in task.containers[:10]
    ]
    return {
        "task_arn": task.arn,
        "cluster": task.cluster,
        "last_status": task.last_status,
        "stop_code": task.stop_code,
        "stopped_reason": task.stopped_reason[:1024],
        "capacity_provider": task.capacity_provider,
        "task_definition": task.task_definition,
        "version": task.version,
        "containers": containers,
        **times,
    }
