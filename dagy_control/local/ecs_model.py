"""The one semantic model of ECS on Fargate. Pure: no I/O, no clock, no randomness; every method takes `now` (aware, UTC).

Three faces share it: the deterministic simulation drives it in process, `ecs_http` serves it to real AWS clients,
`agent` runs its containers as processes. Requests and answers have botocore's members; instants are aware datetimes,
as botocore returns them.

A driver's loop: `call(...)` or `advance(now)`, then `drain_effects()` (start or signal a container, and report back by
`container_started`, `container_failed_to_start`, `container_exited`) and `drain_events(now)`, and again at
`next_due()`.

Facts and their sources stand in the modules that hold the rules: `ecs_requests` (limits), `ecs_tokens` (idempotency),
`ecs_lifecycle` (steps, stop, Spot), `ecs_buckets` (throttling), `ecs_events`, `ecs_faults`.
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from dagy_control.local.ecs_buckets import Buckets
from dagy_control.local.ecs_errors import EcsError, client_error, invalid, server_error, throttled
from dagy_control.local.ecs_events import task_state_change
from dagy_control.local.ecs_faults import CALL_FAULTS, EventQueue, FaultKind, Faults
from dagy_control.local.ecs_lifecycle import HOST_REASON, RETIREMENT_REASON, Effect, Lifecycle
from dagy_control.local.ecs_registry import Registry
from dagy_control.local.ecs_requests import Request
from dagy_control.local.ecs_run_task import Launcher
from dagy_control.local.ecs_state import Capacity, Lifetimes, StopCode, Task
from dagy_control.local.ecs_task_calls import TaskCalls, TaskShelf
from dagy_control.local.ecs_tokens import TokenBook

Answer = dict[str, Any]


class Delivery(StrEnum):
    """What becomes of an answer on its way back."""

    REPLY = "reply"
    DROP = "drop"
    HOLD = "hold"


_DELIVERIES: dict[FaultKind | None, Delivery] = {
    FaultKind.DROP_REPLY: Delivery.DROP,
    FaultKind.HOLD_REPLY: Delivery.HOLD,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of one call: `answer`, or `error`; and whether the caller gets to see it."""

    answer: Answer | None = None
    error: EcsError | None = None
    delivery: Delivery = Delivery.REPLY


class EcsModel:
    """One account's ECS in one region.

    `seed` makes task ids (equal seeds, equal ids). `throttle_scale` multiplies AWS's request limits. `sidecars` are
    names of containers that the platform injects into every task, as GuardDuty does. `faults` is public: switch faults
    on there.
    """

    def __init__(
        self,
        *,
        lifetimes: Lifetimes | None = None,
        region: str = "us-east-1",
        account: str = "123456789012",
        seed: str = "dagy",
        throttle_scale: float = 1.0,
        sidecars: tuple[str, ...] = (),
    ) -> None:
        self.lifetimes = lifetimes or Lifetimes()
        self.registry = Registry(region, account)
        self.faults = Faults()
        self._shelf = TaskShelf(f"arn:aws:ecs:{region}:{account}", self.lifetimes.visible_after_s)
        self._buckets = Buckets(throttle_scale)
        self._events = EventQueue(self.faults)
        self._life = Lifecycle(self.lifetimes, self._publish)
        calls = TaskCalls(self._shelf, self.registry, self._life)
        launcher = Launcher(
            self._shelf,
            self.registry,
            self._life,
            buckets=self._buckets,
            tokens=TokenBook(self.lifetimes),
            faults=self.faults,
            seed=seed,
            sidecars=sidecars,
        )
        self._operations: dict[str, Callable[[Request, datetime], Answer]] = {
            "RunTask": launcher.run_task,
            "DescribeTasks": calls.describe_tasks,
            "ListTasks": calls.list_tasks,
            "StopTask": calls.stop_task,
            "TagResource": calls.tag_resource,
            "ListTagsForResource": calls.list_tags,
            "CreateCluster": self._create_cluster,
            "DescribeClusters": self._describe_clusters,
            "RegisterTaskDefinition": self._register,
            "DeregisterTaskDefinition": self._deregister,
            "DescribeTaskDefinition": self._describe_definition,
        }

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Every task ever made, by ARN, oldest first; those that ECS has forgotten too. To look at, not to change."""
        return self._shelf.tasks

    def task(self, task_arn: str) -> Task:
        """One task ever made; InvalidParameterException for an unknown ARN."""
        found = self._shelf.tasks.get(task_arn)
        if found is None:
            raise invalid("The referenced task was not found.")
        return found

    # Time

    def advance(self, now: datetime) -> None:
        """Let everything happen that falls due until `now`."""
        self._life.advance(now)

    def next_due(self) -> datetime | None:
        """When something next happens by itself: a task's step, a SIGKILL, a delayed event. None: nothing until a call or a report."""
        return min((at for at in (self._life.next_due(), self._events.next_due()) if at is not None), default=None)

    def drain_effects(self) -> list[Effect]:
        """What the agent has to do, in order; each is handed out once."""
        effects, self._life.effects = self._life.effects, []
        return effects

    def drain_events(self, now: datetime) -> list[dict[str, Any]]:
        """The EventBridge events that are due, each handed out once (unless a fault doubles it)."""
        return self._events.drain(now)

    # Calls

    def call(self, operation: str, request: Request, now: datetime) -> Reply:
        """One API call as the network would deliver it: throttled, faulty, dropped or held when a fault says so."""
        fault = self.faults.take(CALL_FAULTS, operation)
        kind = fault.kind if fault else None
        if kind is FaultKind.THROTTLE:
            return Reply(error=throttled())
        if kind is FaultKind.ERROR_NOT_APPLIED:
            return Reply(error=server_error())
        delivery = _DELIVERIES.get(kind, Delivery.REPLY)
        try:
            answer = self.handle(operation, request, now)
        except EcsError as error:
            return Reply(error=error, delivery=delivery)
        return Reply(error=server_error()) if kind is FaultKind.ERROR_APPLIED else Reply(answer, delivery=delivery)

    def handle(self, operation: str, request: Request, now: datetime) -> Answer:
        """One API call without faults of the call itself: its answer, or `EcsError`. Request limits do apply."""
        self.advance(now)
        handler = self._operations.get(operation)
        if handler is None:
            raise EcsError("UnknownOperationException", f"The embedded cloud has no operation {operation}.")
        if not self._buckets.take_call(operation, now):
            raise throttled()
        return handler(request, now)

    # What an agent reports, and what befalls a task from outside

    def container_started(self, task_arn: str, now: datetime) -> None:
        """The container of `StartContainer` runs."""
        self.advance(now)
        self._life.container_started(self.task(task_arn), now)

    def container_failed_to_start(self, task_arn: str, reason: str, now: datetime) -> None:
        """The container of `StartContainer` could not be started."""
        self.advance(now)
        self._life.container_failed_to_start(self.task(task_arn), reason, now)

    def container_exited(self, task_arn: str, exit_code: int, reason: str, now: datetime) -> None:
        """The container has exited with a code (128 + signal for a signal); `reason` as ECS words it, usually empty."""
        self.advance(now)
        self._life.container_exited(self.task(task_arn), exit_code, reason, now)

    def interrupt_spot(self, task_arn: str, now: datetime) -> None:
        """Reclaim a Spot task, two minutes ahead. ClientException for a task that is not on Spot."""
        self.advance(now)
        task = self.task(task_arn)
        if task.capacity is not Capacity.FARGATE_SPOT:
            raise client_error(f"{task_arn} does not run on FARGATE_SPOT.")
        self._life.interrupt_spot(task, now)

    def fail_host(self, task_arn: str, now: datetime, reason: str = HOST_REASON) -> None:
        """The host dies under the task: no signal, no exit code."""
        self.advance(now)
        self._life.fail_host(self.task(task_arn), reason, now)

    def retire(self, task_arn: str, now: datetime) -> None:
        """Fargate retires the task's platform: an ordinary stop that nobody here asked for."""
        self.advance(now)
        self._life.stop(self.task(task_arn), StopCode.INFRASTRUCTURE_HEALTH, RETIREMENT_REASON, now)

    # Clusters and task definitions

    def _create_cluster(self, request: Request, _now: datetime) -> Answer:
        cluster = self.registry.create_cluster(
            request.get("clusterName", "default"), request.get("defaultCapacityProviderStrategy")
        )
        return {"cluster": cluster.describe(self.tasks.values())}

    def _describe_clusters(self, request: Request, _now: datetime) -> Answer:
        found, missing = self.registry.find_clusters(request.get("clusters") or ["default"])
        return {
            "clusters": [cluster.describe(self.tasks.values()) for cluster in found],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in missing],
        }

    def _register(self, request: Request, now: datetime) -> Answer:
        definition = self.registry.register(request, now)
        return {"taskDefinition": definition.describe(), "tags": request.get("tags", [])}

    def _deregister(self, request: Request, _now: datetime) -> Answer:
        missing = "The specified task definition does not exist."
        definition = self.registry.definition(request.get("taskDefinition", ""), missing=missing)
        definition.active = False
        return {"taskDefinition": definition.describe()}

    def _describe_definition(self, request: Request, _now: datetime) -> Answer:
        missing = "Unable to describe task definition."
        return {
            "taskDefinition": self.registry.definition(request.get("taskDefinition", ""), missing=missing).describe()
        }

    def _publish(self, task: Task, at: datetime) -> None:
        digest = hashlib.sha256(f"{task.arn}/{task.version}".encode()).hexdigest()[:32]
        self._events.put(task_state_change(task, event_id=str(uuid.UUID(digest)), at=at), at)
