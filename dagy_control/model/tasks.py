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


EVIDENCE_CONTAINERS_MAX = 10
EVIDENCE_TEXT_MAX_CHARACTERS = 1024
"""ECS's own limit of a reason ("Change max task reason to 1024 characters", amazon-ecs-agent pull request 3229)."""
PAST_CONTAINERS_MAX = 3
PAST_TEXT_MAX_CHARACTERS = 255


def evidence_of(
    task: SeenTask,
    *,
    containers_max: int = EVIDENCE_CONTAINERS_MAX,
    text_max_characters: int = EVIDENCE_TEXT_MAX_CHARACTERS,
) -> dict[str, Any]:
    """What ECS said of an ended task, as plain values to keep on the run: ECS itself forgets it after about an hour.

    What ECS left out is left out. Bounded, about 15 KB at most: so many containers, those that tell something first.
    """
    told = sorted(task.containers, key=lambda each: each.exit_code is None and not each.reason)[:containers_max]
    facts = {
        "task_arn": task.arn,
        "cluster": task.cluster,
        "last_status": task.last_status,
        "stop_code": task.stop_code,
        "stopped_reason": unsigned(task.stopped_reason)[:text_max_characters],
        "capacity_provider": task.capacity_provider,
        "launch_type": task.launch_type,
        "platform_version": task.platform_version,
        "architecture": task.architecture,
        "task_definition": task.task_definition,
        "availability_zone": task.availability_zone,
        "connectivity": task.connectivity,
        "health": task.health,
        "cpu": task.cpu,
        "memory_mib": task.memory_mib,
        "ephemeral_storage_gib": task.ephemeral_storage_gib,
        "version": task.version,
        **{name: _text(getattr(task, name)) for name in _TIMES},
    }
    containers = [_container_evidence(each, text_max_characters) for each in told]
    return {**_given(facts), "containers": containers}


def past_evidence_of(task: SeenTask) -> dict[str, Any]:
    """The same, about 2 KB at most: what is kept of an attempt that another one follows."""
    return evidence_of(task, containers_max=PAST_CONTAINERS_MAX, text_max_characters=PAST_TEXT_MAX_CHARACTERS)


_TIMES = (
    "created_at",
    "pull_started_at",
    "pull_stopped_at",
    "started_at",
    "stopping_at",
    "execution_stopped_at",
    "stopped_at",
)


def _container_evidence(container: SeenContainer, text_max_characters: int) -> dict[str, Any]:
    facts = {
        "name": container.name,
        "last_status": container.last_status,
        "exit_code": container.exit_code,
        "reason": unsigned(container.reason)[:text_max_characters],
        "image": container.image[:text_max_characters],
        "image_digest": container.image_digest,
        "health": container.health,
    }
    return _given(facts)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _given(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in (None, "")}
