"""The ports of one host: each method one call on the network. ECS's is the shipped adapter over the shipped model."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from dagy_control.adapters.hot_answers import wanted_form
from dagy_control.errors import Conflict, DagyError, Permanent, Transient
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_model import EcsModel
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.leases import Lease
from dagy_control.model.runs import ActiveRun, Run, RunChange, RunGlance, RunStatus, WorkerResult
from dagy_control.model.suspicions import Suspicion
from tests.fakes.runs import glance_of
from tests.simulation.network import EPOCH, Network, SimClock
from tests.simulation.purposes import of_change, of_lease, of_request
from tests.simulation.servers import EventQueue, RunsTable, SmallStores, TaskHistory, index_key
from tests.simulation.sim_loop import Host

PAGE = 5
"""Small, so that a listing is often of several pages, between which the index moves."""


LIST_PAGE = 10


@dataclass(eq=False)
class SimRuns:
    """`ports.Runs`. `on_access` is told of every run that is read or written by its id, `on_effect` of what a write is for.

    Of the first try of a write only: its caller does not ask again whether it may go on.
    """

    net: Network
    host: Host
    table: RunsTable
    on_access: Callable[[str], None] = lambda _: None
    on_effect: Callable[[str], None] = lambda _: None
    tried: set[str] = field(default_factory=set)

    async def get(self, run_id: str) -> Run | None:
        self.on_access(run_id)
        return await self.net.call(self.host, "GetItem", lambda: self.table.get(run_id))

    async def glance_many(self, run_ids: Sequence[str]) -> Mapping[str, RunGlance | None]:
        def apply() -> dict[str, RunGlance | None]:
            found = {run_id: self.table.get(run_id) for run_id in run_ids}
            return {run_id: glance_of(run) for run_id, run in found.items() if run is not None}

        for run_id in run_ids:
            self.on_access(run_id)
        return await self.net.call(self.host, "BatchGetItem runs", apply)

    async def create(self, run: Run, op_id: str) -> Run:
        return await self.net.call(self.host, "PutItem", lambda: self.table.create(run, op_id))

    async def change(self, change: RunChange, op_id: str) -> Run:
        self.on_access(change.run_id)
        name = f"UpdateItem {of_change(change)}"
        if op_id not in self.tried:
            self.tried.add(op_id)
            self.on_effect(name)
        return await self.net.call(self.host, name, lambda: self.table.change(change, op_id))

    async def active(
        self, status: RunStatus, *, executor: str = "ecs", limit: int | None = None
    ) -> AsyncIterator[Sequence[ActiveRun]]:
        del executor
        after: tuple[float, str] | None = None
        given = 0
        while True:
            found = await self.net.call(
                self.host,
                f"Query {status}",
                partial(self.table.active, status, 0.0, after),
                aged=partial(self.table.active, status, after=after),
            )
            page = found[:PAGE] if limit is None else found[: min(PAGE, limit - given)]
            if page:
                yield page
            given += len(page)
            if len(found) <= PAGE or (limit is not None and given >= limit):
                return
            after = index_key(page[-1])

    async def by_org(self, org_id: str, *, limit: int) -> Sequence[Run]:
        raise NotImplementedError(org_id, limit)

    async def by_flow(self, org_id: str, flow_name: str, *, limit: int) -> Sequence[Run]:
        raise NotImplementedError(org_id, flow_name, limit)


@dataclass(eq=False)
class SimEcsClient:
    """What the shipped `EcsTasks` takes for aiobotocore's client. Errors come as the adapter's translation gives them.

    `tokens`: those that any daemon has sent. `decoded`: hot answers come as the parser gives them that the daemon installs.
    """

    net: Network
    host: Host
    model: EcsModel
    world_clock: SimClock
    past: TaskHistory
    tokens: set[str]
    applied: Callable[[str, dict[str, Any], dict[str, Any]], None]
    decoded: bool = True

    async def run_task(self, **request: Any) -> dict[str, Any]:
        return await self._call("RunTask", request)

    async def describe_tasks(self, **request: Any) -> dict[str, Any]:
        answer = await self._call("DescribeTasks", request)
        form = wanted_form("DescribeTasks") if self.decoded else None
        return answer if form is None else form.of(answer)

    async def list_tasks(self, **request: Any) -> dict[str, Any]:
        return await self._call("ListTasks", {**request, "maxResults": LIST_PAGE})

    async def stop_task(self, **request: Any) -> dict[str, Any]:
        return await self._call("StopTask", request)

    async def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        def apply() -> dict[str, Any]:
            try:
                answer = self.model.handle(operation, request, self.world_clock.now())
            except EcsError as error:
                raise translated(operation, error) from error
            self.applied(operation, request, answer)
            return self.past.seen(operation, answer)

        def aged(lag_s: float) -> dict[str, Any]:
            return self.past.answer(operation, request, apply(), lag_s)

        eventual = operation in ("DescribeTasks", "ListTasks")
        name = of_request(operation, request, self.tokens)
        return await self.net.call(self.host, name, apply, aged=aged if eventual else None)


def translated(operation: str, error: EcsError) -> DagyError:
    """An error of the ECS model as the adapter's translation gives it."""
    if error.code == "ThrottlingException":
        return Transient(f"{operation}: {error.message}", throttled=True)
    if error.http_status >= 500:
        return Transient(f"{operation}: {error.message}")
    if error.code == "ConflictException":
        return Conflict(f"{operation}: {error.message}", current=error.extra.get("resourceIds"))
    return Permanent(f"{operation}: {error.code}: {error.message}", code=error.code)


class SimCalls:
    """What the adapter takes for `AwsCalls`: nothing is translated here."""

    def of(self, service: str) -> Any:
        @contextmanager
        def call(operation: str) -> Iterator[None]:
            del operation
            yield

        del service
        return call


@dataclass(eq=False)
class SimLeases:
    """`ports.Leases`."""

    net: Network
    host: Host
    records: dict[str, Lease]

    async def get(self, lease_name: str) -> Lease | None:
        return await self.net.call(self.host, "GetItem lease", lambda: self.records.get(lease_name))

    async def put_if(self, lease: Lease, *, seen_nonce: str | None) -> None:
        def apply() -> None:
            current = self.records.get(lease.lease_name)
            if (current.nonce if current else None) == seen_nonce:
                self.records[lease.lease_name] = lease
            elif current is None or current.nonce != lease.nonce:
                raise Conflict(f"lease {lease.lease_name} has changed", current=current)

        name = f"PutItem lease {of_lease(lease, self.records.get(lease.lease_name))}"
        await self.net.call(self.host, name, apply)


@dataclass(eq=False)
class SimEvents:
    """`ports.TaskEvents`. A long poll that finds nothing answers after `wait_s`. `on_end` is told of tasks that have ended."""

    net: Network
    host: Host
    queue: EventQueue
    clock: SimClock
    on_end: Callable[[str], None]

    async def receive(self, *, wait_s: float) -> Sequence[ReceivedEvent]:
        received = await self.net.call(self.host, "ReceiveMessage", self.queue.receive)
        if not received:
            await self.clock.sleep(wait_s)
        for event in received:
            if event.task is not None and event.task.has_ended:
                self.on_end(event.task.arn)
        return received

    async def delete(self, receipts: Sequence[str]) -> None:
        await self.net.call(self.host, "DeleteMessageBatch", lambda: self.queue.delete(receipts))

    async def postpone(self, delays_s: Mapping[str, int]) -> None:
        await self.net.call(self.host, "ChangeMessageVisibilityBatch", lambda: self.queue.postpone(delays_s))


@dataclass(eq=False)
class SimStores:
    """`ports.Results`, `ports.Suspicions` and `ports.StateTables` in one. `on_effect` is told of what a write is for."""

    net: Network
    host: Host
    stores: SmallStores
    on_effect: Callable[[str], None] = lambda _: None

    async def put(self, run_id: str, task_arn: str, result: WorkerResult) -> None:
        key = (run_id, result.attempt, task_arn)

        def apply() -> None:
            self.stores.writes += 1
            self.stores.results[key] = result
            self.stores.put_at[run_id, result.attempt] = EPOCH + timedelta(seconds=self.net.loop.time())

        await self.net.call(self.host, "PutObject", apply)

    async def get(self, run_id: str, attempt: int, task_arn: str) -> WorkerResult | None:
        return await self.net.call(self.host, "GetObject", lambda: self.stores.results.get((run_id, attempt, task_arn)))

    async def get_many(self, task_arns: Sequence[str]) -> Mapping[str, Suspicion]:
        def apply() -> dict[str, Suspicion]:
            return {arn: self.stores.suspicions[arn] for arn in task_arns if arn in self.stores.suspicions}

        return await self.net.call(self.host, "BatchGetItem orphans", apply)

    async def put_many(self, suspicions: Sequence[Suspicion]) -> None:
        def apply() -> None:
            self.stores.writes += 1
            self.stores.suspicions.update((each.task_arn, each) for each in suspicions)

        self.on_effect("BatchWriteItem orphans")
        await self.net.call(self.host, "BatchWriteItem orphans", apply)

    async def read(
        self, table: str, key_attribute: str, keys: Sequence[str], attributes: Sequence[str]
    ) -> Mapping[str, Mapping[str, Any]]:
        del key_attribute, attributes

        def apply() -> dict[str, Mapping[str, Any]]:
            held = self.stores.states.get(table, {})
            return {key: held[key] for key in keys if key in held}

        return await self.net.call(self.host, "BatchGetItem state", apply)
