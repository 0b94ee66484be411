"""RunTask: tokens, limits, placement on capacity, and the failures that come back in the body.

Source: Amazon ECS API reference, RunTask and "API failure reasons"; capacity provider strategies for base and weight.
"""

import hashlib
from datetime import datetime
from typing import Any

from dagy_control.local.ecs_buckets import Buckets
from dagy_control.local.ecs_errors import client_error, throttled
from dagy_control.local.ecs_faults import LAUNCH_FAULTS, FaultKind, Faults
from dagy_control.local.ecs_lifecycle import Lifecycle
from dagy_control.local.ecs_registry import Registry
from dagy_control.local.ecs_requests import Request, RunTaskOrder, check_client_token, check_run_task
from dagy_control.local.ecs_state import Capacity, Cluster, Task
from dagy_control.local.ecs_task_calls import TaskShelf
from dagy_control.local.ecs_tokens import TokenBook


class Launcher:
    """The one operation that makes tasks. `seed` makes their ids, `sidecars` are containers that the platform adds."""

    def __init__(
        self,
        shelf: TaskShelf,
        registry: Registry,
        life: Lifecycle,
        *,
        buckets: Buckets,
        tokens: TokenBook,
        faults: Faults,
        seed: str,
        sidecars: tuple[str, ...],
    ) -> None:
        self._shelf = shelf
        self._registry = registry
        self._life = life
        self._buckets = buckets
        self._tokens = tokens
        self._faults = faults
        self._seed = seed
        self._sidecars = sidecars

    def run_task(self, request: Request, now: datetime) -> dict[str, Any]:
        """Start 1 to 10 tasks, or answer what the first call with this token answered."""
        cluster = self._registry.cluster(request)
        token = check_client_token(request)
        replayed = self._tokens.recall(cluster.arn, token, request, now) if token else None
        if replayed is not None:
            return replayed
        definition = self._registry.definition(request.get("taskDefinition", ""), missing="TaskDefinition not found.")
        if not definition.active:
            raise client_error("TaskDefinition is inactive")
        order = check_run_task(request, cluster, definition)
        capacities = [self._choose_capacity(order, index) for index in range(order.count)]
        if not self._buckets.take_launches({capacity: capacities.count(capacity) for capacity in Capacity}, now):
            raise throttled()
        tasks: list[Task] = []
        failures: list[dict[str, Any]] = []
        for capacity in capacities:
            fault = self._faults.take(LAUNCH_FAULTS, "RunTask")
            if fault is not None and fault.kind is FaultKind.LAUNCH_FAILURE:
                failures.append({"arn": cluster.arn, "reason": fault.reason})
            else:
                reason = fault.reason if fault is not None else ""
                tasks.append(self._launch(order, cluster, capacity, now, token=token, fail_start_reason=reason))
        if token:
            self._tokens.remember(cluster.arn, token, request, now, tasks=tasks, failures=failures)
        return {"tasks": [task.describe(with_tags=True) for task in tasks], "failures": failures}

    def _choose_capacity(self, order: RunTaskOrder, index: int) -> Capacity:
        """First the provider with a base, then by weight, in turn over the tasks ever launched."""
        for item in order.strategy:
            if index < item.get("base", 0):
                return Capacity(item["capacityProvider"])
        weighted = [item for item in order.strategy for _ in range(item.get("weight", 0))] or order.strategy
        return Capacity(weighted[(len(self._shelf.tasks) + index) % len(weighted)]["capacityProvider"])

    def _launch(
        self,
        order: RunTaskOrder,
        cluster: Cluster,
        capacity: Capacity,
        now: datetime,
        *,
        token: str,
        fail_start_reason: str,
    ) -> Task:
        task_id = hashlib.sha256(f"{self._seed}/{len(self._shelf.tasks)}".encode()).hexdigest()[:32]
        task = Task(
            arn=f"{self._shelf.prefix}:task/{cluster.name}/{task_id}",
            cluster=cluster,
            definition=order.definition,
            capacity=capacity,
            launch_type_given=order.launch_type_given,
            overrides=order.overrides,
            cpu=order.cpu,
            memory_mib=order.memory_mib,
            started_by=order.started_by,
            tags=list(order.tags),
            client_token=token,
            group=order.group,
            created_at=now,
            sidecars=self._sidecars,
            fail_start_reason=fail_start_reason,
        )
        self._shelf.tasks[task.arn] = task
        self._life.launch(task)
        return task
