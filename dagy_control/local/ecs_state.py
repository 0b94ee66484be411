"""The state that the ECS model keeps: clusters, task definitions, tasks. Mutable on purpose: this is the emulated cloud's memory.

`describe` renders what botocore returns for a task: the API's member names, with datetimes instead of epoch seconds.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """`lastStatus` of a task, in the order of its life (Amazon ECS developer guide, "Task lifecycle")."""

    PROVISIONING = "PROVISIONING"
    PENDING = "PENDING"
    ACTIVATING = "ACTIVATING"
    RUNNING = "RUNNING"
    DEACTIVATING = "DEACTIVATING"
    STOPPING = "STOPPING"
    DEPROVISIONING = "DEPROVISIONING"
    STOPPED = "STOPPED"
    DELETED = "DELETED"


class StopCode(StrEnum):
    """`stopCode` of a task (API reference, Task)."""

    TASK_FAILED_TO_START = "TaskFailedToStart"
    ESSENTIAL_CONTAINER_EXITED = "EssentialContainerExited"
    USER_INITIATED = "UserInitiated"
    SERVICE_SCHEDULER_INITIATED = "ServiceSchedulerInitiated"
    SPOT_INTERRUPTION = "SpotInterruption"
    TERMINATION_NOTICE = "TerminationNotice"
    INFRASTRUCTURE_HEALTH = "InfrastructureHealth"


class Capacity(StrEnum):
    """The two capacity providers of Fargate."""

    FARGATE = "FARGATE"
    FARGATE_SPOT = "FARGATE_SPOT"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long each step of a task's life takes, in seconds, and how long ECS remembers. The defaults resemble Fargate's.

    `visible_after_s`: for how long after RunTask a task may still be MISSING (eventual consistency).
    `retention_s`: for how long a stopped task stays visible (one hour on AWS).
    """

    provisioning_s: float = 10.0
    pulling_s: float = 20.0
    activating_s: float = 1.0
    deactivating_s: float = 1.0
    stopping_s: float = 1.0
    deprovisioning_s: float = 10.0
    visible_after_s: float = 0.0
    retention_s: float = 3600.0
    token_life_s: float = 24 * 3600.0
    token_after_stop_s: float = 3600.0
    spot_notice_s: float = 120.0

    @classmethod
    def quick(cls) -> "Lifetimes":
        """Steps of a few hundredths of a second, for the embedded cloud; retention and notices stay as AWS has them."""
        return cls(
            provisioning_s=0.05,
            pulling_s=0.05,
            activating_s=0.02,
            deactivating_s=0.02,
            stopping_s=0.02,
            deprovisioning_s=0.05,
        )


@dataclass(slots=True)
class Cluster:
    """A cluster and the strategy that RunTask uses when it names neither launch type nor strategy."""

    name: str
    arn: str
    default_strategy: list[dict[str, Any]] = field(default_factory=list)

    def describe(self, tasks: "Iterable[Task]") -> dict[str, Any]:
        """The API's Cluster; `tasks` are counted where they belong to it."""
        statuses = Counter(task.last_status for task in tasks if task.cluster is self)
        return {
            "clusterArn": self.arn,
            "clusterName": self.name,
            "status": "ACTIVE",
            "registeredContainerInstancesCount": 0,
            "runningTasksCount": statuses[Status.RUNNING],
            "pendingTasksCount": statuses[Status.PROVISIONING] + statuses[Status.PENDING],
            "activeServicesCount": 0,
            "capacityProviders": [capacity.value for capacity in Capacity],
            "defaultCapacityProviderStrategy": self.default_strategy,
        }


@dataclass(slots=True)
class TaskDefinition:
    """One registered revision. `request` is what was registered, `container` its only container definition."""

    arn: str
    family: str
    revision: int
    request: dict[str, Any]
    registered_at: datetime
    active: bool = True

    @property
    def container(self) -> dict[str, Any]:
        """The one container definition that a task of the embedded cloud runs."""
        return dict(self.request["containerDefinitions"][0])

    @property
    def stop_timeout_s(self) -> int:
        """Seconds between SIGTERM and SIGKILL: `stopTimeout`, 2 to 120 on Fargate, 30 unless set."""
        return int(self.container.get("stopTimeout", 30))

    def describe(self) -> dict[str, Any]:
        """The API's TaskDefinition."""
        return {
            **{key: value for key, value in self.request.items() if key != "tags"},
            "taskDefinitionArn": self.arn,
            "revision": self.revision,
            "status": "ACTIVE" if self.active else "INACTIVE",
            "registeredAt": self.registered_at,
            "compatibilities": ["EC2", "FARGATE"],
        }


@dataclass(slots=True)
class Task:
    """One task, from RunTask to long after ECS has forgotten it (tests ask about every task ever made)."""

    arn: str
    cluster: Cluster
    definition: TaskDefinition
    capacity: Capacity
    launch_type_given: bool
    overrides: dict[str, Any]
    cpu: int
    memory_mib: int
    started_by: str
    tags: list[dict[str, str]]
    client_token: str
    group: str
    created_at: datetime
    last_status: Status = Status.PROVISIONING
    desired_status: Status = Status.RUNNING
    version: int = 1
    stop_code: StopCode | None = None
    stopped_reason: str = ""
    container_status: Status = Status.PENDING
    container_reason: str = ""
    exit_code: int | None = None
    has_containers: bool = True
    sidecars: tuple[str, ...] = ()
    pull_started_at: datetime | None = None
    pull_stopped_at: datetime | None = None
    started_at: datetime | None = None
    stopping_at: datetime | None = None
    execution_stopped_at: datetime | None = None
    stopped_at: datetime | None = None
    due: datetime | None = None  # when the next step happens by itself
    kill_due: datetime | None = None  # when SIGKILL follows SIGTERM
    fail_start_reason: str = ""  # set by an injected fault: the task will never start
    container_launched: bool = False  # StartContainer was handed out
    container_up: bool = False  # the agent said that it runs
    container_down: bool = False  # the agent said that it has exited

    @property
    def task_id(self) -> str:
        """The last part of the ARN."""
        return self.arn.rsplit("/", 1)[1]

    @property
    def container_alive(self) -> bool:
        """Whether a container may be running: handed to the agent, and not reported as exited."""
        return self.container_launched and not self.container_down

    def _container(self, name: str, image: str, *, main: bool) -> dict[str, Any]:
        described: dict[str, Any] = {
            "containerArn": f"{self.arn.replace(':task/', ':container/')}/{name}",
            "taskArn": self.arn,
            "name": name,
            "image": image,
            "lastStatus": self.container_status.value,
            "networkInterfaces": [],
            "healthStatus": "UNKNOWN",
        }
        if main and self.exit_code is not None:
            described["exitCode"] = self.exit_code
        if main and self.container_reason:
            described["reason"] = self.container_reason
        return described

    def describe(self, *, with_tags: bool) -> dict[str, Any]:
        """The API's Task. Tags only when asked for: DescribeTasks omits them without `include=["TAGS"]`, events always."""
        container = self.definition.container
        described: dict[str, Any] = {
            "taskArn": self.arn,
            "clusterArn": self.cluster.arn,
            "taskDefinitionArn": self.definition.arn,
            "group": self.group,
            "lastStatus": self.last_status.value,
            "desiredStatus": self.desired_status.value,
            "cpu": str(self.cpu),
            "memory": str(self.memory_mib),
            "version": self.version,
            "createdAt": self.created_at,
            "overrides": self.overrides,
            "containers": [
                *(self._container(name, name, main=False) for name in self.sidecars),
                self._container(container["name"], container["image"], main=True),
            ]
            if self.has_containers
            else [],
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "attachments": [],
            "availabilityZone": "us-east-1a",
        }
        if not self.launch_type_given:
            described["capacityProviderName"] = self.capacity.value
        optional = {
            "startedBy": self.started_by or None,
            "stopCode": self.stop_code.value if self.stop_code else None,
            "stoppedReason": self.stopped_reason or None,
            "pullStartedAt": self.pull_started_at,
            "pullStoppedAt": self.pull_stopped_at,
            "startedAt": self.started_at,
            "stoppingAt": self.stopping_at,
            "executionStoppedAt": self.execution_stopped_at,
            "stoppedAt": self.stopped_at,
        }
        described.update({key: value for key, value in optional.items() if value is not None})
        if with_tags:
            described["tags"] = list(self.tags)
        return described
