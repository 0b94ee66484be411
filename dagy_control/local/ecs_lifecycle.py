"""A task's life on Fargate: which step follows which, when, and what an agent must do to a container meanwhile.

Source: Amazon ECS developer guide, "Task lifecycle" and "Fargate Spot termination notices". Time advances only by
`advance(now)`; each step happens at the instant at which it fell due, however late `advance` is called.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from dagy_control.local.ecs_state import Lifetimes, Status, StopCode, Task

SPOT_REASON = "Your Spot Task was interrupted."
RETIREMENT_REASON = "ECS is performing maintenance on the underlying infrastructure hosting the task."
HOST_REASON = "Host EC2 (instance i-0123456789abcdef0) terminated."
ESSENTIAL_REASON = "Essential container in task exited"


class StopSignal(StrEnum):
    """What a container is sent."""

    TERM = "SIGTERM"
    KILL = "SIGKILL"


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start this task's container; then report `container_started`, or `container_failed_to_start`.

    `command`: entry point and command, of which the first `entry_point_words` replace an image's own entry point, if there are any.
    `cpu` in CPU units, `memory_mib` the hard limit in MiB. `stop_timeout_s` for information: the model itself sends SIGKILL when it
    has passed.
    """

    task_arn: str
    container_name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    cpu: int
    memory_mib: int
    stop_timeout_s: int
    image: str = ""
    entry_point_words: int = 0
    read_only_root: bool = False


@dataclass(frozen=True, slots=True)
class SignalContainer:
    """Send this task's container a signal; then report `container_exited` when it has exited. Harmless if it already has."""

    task_arn: str
    signal: StopSignal


Effect = StartContainer | SignalContainer
_UNSTARTED = frozenset({Status.PROVISIONING, Status.PENDING})
_BEFORE_STOP = frozenset({Status.PROVISIONING, Status.PENDING, Status.ACTIVATING, Status.RUNNING})


class Lifecycle:
    """Moves tasks along. `emit(task, at)` is called after each change that ECS publishes."""

    def __init__(self, lifetimes: Lifetimes, emit: Callable[[Task, datetime], None]) -> None:
        self._lifetimes = lifetimes
        self._emit = emit
        self._agenda: list[tuple[datetime, int, Task]] = []
        self._entries = 0
        self.effects: list[Effect] = []

    def launch(self, task: Task) -> None:
        """Begin a new task's life in PROVISIONING."""
        task.due = self._after(task, task.created_at, self._lifetimes.provisioning_s)
        self._emit(task, task.created_at)

    def advance(self, now: datetime) -> None:
        """Take every step that has fallen due, in order of time."""
        while self._agenda and self._agenda[0][0] <= now:
            at, _, task = heapq.heappop(self._agenda)
            if task.due == at:
                task.due = None
                self._step(task, at)
            elif task.kill_due == at:
                task.kill_due = None
                self._signal(task, StopSignal.KILL)

    def next_due(self) -> datetime | None:
        """When the next step falls due; None when every task waits for its container."""
        while self._agenda and self._agenda[0][0] not in {self._agenda[0][2].due, self._agenda[0][2].kill_due}:
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def container_started(self, task: Task, at: datetime) -> None:
        """The agent has started the container: the task becomes RUNNING after its activation."""
        task.container_up = True
        if task.last_status is Status.ACTIVATING:
            task.due = self._after(task, at, self._lifetimes.activating_s)

    def container_failed_to_start(self, task: Task, reason: str, at: datetime) -> None:
        """The container could not be started, for `reason` (such as "CannotStartContainerError: …")."""
        task.container_down = True
        task.container_status, task.container_reason = Status.STOPPED, reason
        self._end(task, StopCode.TASK_FAILED_TO_START, reason, at)

    def container_exited(self, task: Task, exit_code: int, reason: str, at: datetime) -> None:
        """The container has exited; its exit ends the task. A second report changes nothing."""
        if task.container_down:
            return
        task.container_down = True
        task.kill_due = None
        task.exit_code, task.container_reason, task.container_status = exit_code, reason, Status.STOPPED
        self._end(task, StopCode.ESSENTIAL_CONTAINER_EXITED, ESSENTIAL_REASON, at)

    def stop(self, task: Task, code: StopCode, reason: str, at: datetime) -> None:
        """Begin to stop a task. The first cause to do so keeps its code and reason; a task that already stops just goes on."""
        self._mark_stopping(task, code, reason, at)
        if task.last_status in _UNSTARTED:
            task.container_status = Status.STOPPED
            self._to(task, Status.DEPROVISIONING, at, self._lifetimes.deprovisioning_s)
        elif task.last_status in _BEFORE_STOP:
            self._to(task, Status.DEACTIVATING, at, self._lifetimes.deactivating_s)

    def interrupt_spot(self, task: Task, at: datetime) -> None:
        """Reclaim a Spot task: SIGTERM and a warning event now, while it still runs, the end two minutes later."""
        if task.last_status is not Status.RUNNING:
            self.stop(task, StopCode.SPOT_INTERRUPTION, SPOT_REASON, at)
            return
        self._mark_stopping(task, StopCode.SPOT_INTERRUPTION, SPOT_REASON, at)
        self._signal(task, StopSignal.TERM)
        task.kill_due = self._after(task, at, self._lifetimes.spot_notice_s)
        self._to(task, Status.RUNNING, at, self._lifetimes.spot_notice_s)

    def fail_host(self, task: Task, reason: str, at: datetime) -> None:
        """The host has gone: the container dies with it, without a signal and without an exit code."""
        if task.last_status not in _BEFORE_STOP:
            return
        self._signal(task, StopSignal.KILL)
        task.container_down = True
        task.container_status = Status.STOPPED
        self._end(task, StopCode.INFRASTRUCTURE_HEALTH, reason, at)

    def _end(self, task: Task, code: StopCode, reason: str, at: datetime) -> None:
        task.execution_stopped_at = task.execution_stopped_at or at
        if task.last_status in _BEFORE_STOP:
            self.stop(task, code, reason, at)
        elif task.last_status is Status.STOPPING:
            task.due = self._after(task, at, self._lifetimes.stopping_s)

    def _step(self, task: Task, at: datetime) -> None:
        times = self._lifetimes
        match task.last_status:
            case Status.PROVISIONING if task.fail_start_reason:
                task.has_containers = False
                self.stop(task, StopCode.TASK_FAILED_TO_START, task.fail_start_reason, at)
            case Status.PROVISIONING:
                task.pull_started_at = at
                self._to(task, Status.PENDING, at, times.pulling_s)
            case Status.PENDING:
                task.pull_stopped_at = at
                task.container_launched = True
                self.effects.append(start_effect(task))
                self._to(task, Status.ACTIVATING, at, None)
            case Status.ACTIVATING:
                task.started_at = at
                task.container_status = Status.RUNNING
                self._to(task, Status.RUNNING, at, None)
            case Status.RUNNING:  # the Spot notice has passed
                self._to(task, Status.DEACTIVATING, at, times.deactivating_s)
            case Status.DEACTIVATING:
                self._begin_stopping(task, at)
            case Status.STOPPING:
                self._to(task, Status.DEPROVISIONING, at, times.deprovisioning_s)
            case Status.DEPROVISIONING:
                task.stopped_at = at
                task.execution_stopped_at = task.execution_stopped_at or at
                self._to(task, Status.STOPPED, at, times.retention_s)
            case Status.STOPPED:
                task.last_status = Status.DELETED  # nothing is published: ECS just forgets it

    def _begin_stopping(self, task: Task, at: datetime) -> None:
        if not task.container_alive:
            self._to(task, Status.STOPPING, at, self._lifetimes.stopping_s)
            return
        self._signal(task, StopSignal.TERM)
        kill_at = at + timedelta(seconds=task.definition.stop_timeout_s)
        if task.kill_due is None or kill_at < task.kill_due:
            task.kill_due = self._after(task, at, task.definition.stop_timeout_s)
        self._to(task, Status.STOPPING, at, None)

    def _mark_stopping(self, task: Task, code: StopCode, reason: str, at: datetime) -> None:
        if task.stop_code is None:
            task.stop_code, task.stopped_reason = code, reason
        task.desired_status = Status.STOPPED
        task.stopping_at = task.stopping_at or at

    def _to(self, task: Task, status: Status, at: datetime, next_step_s: float | None) -> None:
        task.last_status = status
        task.version += 1
        task.due = None if next_step_s is None else self._after(task, at, next_step_s)
        self._emit(task, at)

    def _after(self, task: Task, at: datetime, seconds: float) -> datetime:
        due = at + timedelta(seconds=seconds)
        self._entries += 1
        heapq.heappush(self._agenda, (due, self._entries, task))
        return due

    def _signal(self, task: Task, signal: StopSignal) -> None:
        if task.container_alive:
            self.effects.append(SignalContainer(task.arn, signal))


def start_effect(task: Task) -> StartContainer:
    """What the agent needs to start a task's container: definition and overrides merged as ECS merges them."""
    container = task.definition.container
    override: dict[str, Any] = next(iter(task.overrides.get("containerOverrides", [])), {})
    environment = {item["name"]: item["value"] for item in container.get("environment", [])}
    environment |= {item["name"]: item["value"] for item in override.get("environment", [])}
    entry_point = container.get("entryPoint", [])
    command = [*entry_point, *(override.get("command") or container.get("command", []))]
    return StartContainer(
        task_arn=task.arn,
        container_name=container["name"],
        command=tuple(command),
        environment=environment,
        cpu=task.cpu,
        memory_mib=int(override.get("memory") or container.get("memory") or task.memory_mib),
        stop_timeout_s=task.definition.stop_timeout_s,
        image=container.get("image", ""),
        entry_point_words=len(entry_point),
        read_only_root=bool(container.get("readonlyRootFilesystem")),
    )
