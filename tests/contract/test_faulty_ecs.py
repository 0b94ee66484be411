"""What a network can do to a call of ECS over HTTP: each method of `ports.Tasks` calls it transient, and repeated it is done once."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.errors import Transient
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.limiter import Limiter
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes
from dagy_control.ports.tasks import ReadPriority, Started
from tests.contract.ecs_clients import ecs_client_at, served
from tests.contract.proxy import APPLIED, Fault, FaultKind, FaultyProxy
from tests.fakes.ecs_world import DEFINITION, NETWORK

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Bed:
    """A cluster behind the proxy, with one task. `cluster`: a new one for each test."""

    port: EcsTasks
    model: EcsModel
    proxy: FaultyProxy
    cluster: str = field(default_factory=lambda: f"c-{uuid.uuid4().hex}")
    arn: str = ""

    async def run(self, token: str) -> str:
        request: dict[str, Any] = {
            "cluster": self.cluster,
            "taskDefinition": "dagy-worker",
            "launchType": "FARGATE",
            "networkConfiguration": NETWORK,
            "clientToken": token,
            "startedBy": f"dagy/{token}/1",
        }
        started = await self.port.run_task(request)
        assert isinstance(started, Started)
        return started.task_arn

    def tasks(self) -> list[tuple[str, str]]:
        """What is in the cluster, past the port: of each task for whom it is, and what it shall be."""
        tasks = self.model.tasks.values()
        return sorted((task.started_by, task.desired_status) for task in tasks if self.cluster in task.arn)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[EcsModel, FaultyProxy, Any]]:
    """One emulator, one proxy and one client for the module."""
    clock, model = SystemClock(), EcsModel(lifetimes=Lifetimes(provisioning_s=3600), throttle_scale=1000)
    model.registry.register(DEFINITION, datetime(2026, 1, 1, tzinfo=UTC))
    workdir: Path = tmp_path_factory.mktemp("ecs")
    async with served(model, workdir) as url:
        proxy = FaultyProxy(url, clock=clock)
        await proxy.start()
        try:
            async with ecs_client_at(proxy.url) as client:
                yield model, proxy, client
        finally:
            await proxy.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def bed(wire: tuple[EcsModel, FaultyProxy, Any]) -> Bed:
    model, proxy, client = wire
    proxy.unmet()
    clock = SystemClock()
    bed = Bed(EcsTasks(client, AwsCalls(clock), Limiter(clock, scale=100)), model, proxy)
    model.registry.create_cluster(bed.cluster)
    bed.arn = await bed.run(f"first-{bed.cluster}")
    return bed


CALLS: dict[str, tuple[str, Callable[[Bed], Awaitable[object]]]] = {
    "run_task": ("RunTask", lambda bed: bed.run(f"second-{bed.cluster}")),
    "stop": ("StopTask", lambda bed: bed.port.stop(bed.cluster, bed.arn, reason="enough")),
    "describe": (
        "DescribeTasks",
        lambda bed: bed.port.describe(bed.cluster, [bed.arn], priority=ReadPriority.RECONCILE),
    ),
    "describe with tags": (
        "DescribeTasks",
        lambda bed: bed.port.describe(bed.cluster, [bed.arn], priority=ReadPriority.ORPHANS, tags=True),
    ),
    "look": ("DescribeTasks", lambda bed: bed.port.look(bed.cluster, [bed.arn], priority=ReadPriority.RECONCILE)),
    "list_running": ("ListTasks", lambda bed: listed(bed)),
}

KINDS = (
    FaultKind.REPLY_LOST,
    FaultKind.REPLY_BROKEN,
    FaultKind.ERROR,
    FaultKind.ERROR_APPLIED,
    FaultKind.GATEWAY_PAGE,
    FaultKind.FIREWALL_PAGE,
    FaultKind.PORTAL_PAGE,
)


async def listed(bed: Bed) -> list[str]:
    return [arn async for page in bed.port.list_running(bed.cluster) for arn in page]


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_met_a_fault_is_transient_and_repeated_it_is_done_once(
    bed: Bed, method: str, kind: FaultKind
) -> None:
    operation, call = CALLS[method]
    before = bed.tasks()
    bed.proxy.befall(Fault(kind, operation))
    with pytest.raises(Transient) as met:
        await call(bed)
    assert bed.proxy.unmet() == []
    assert not met.value.throttled
    writes = operation in ("RunTask", "StopTask")
    assert (bed.tasks() != before) is (writes and kind in APPLIED)
    answer = await call(bed)
    after = bed.tasks()
    assert (after != before) is writes
    assert await call(bed) == answer
    assert bed.tasks() == after


@pytest.mark.parametrize("method", [name for name in CALLS if name != "run_task"])
async def test_a_call_refused_for_rate_is_throttled_and_not_done(bed: Bed, method: str) -> None:
    """RunTask answers a refusal as a launch failure: `test_tasks_port`."""
    operation, call = CALLS[method]
    before = bed.tasks()
    bed.proxy.befall(Fault(FaultKind.REFUSED, operation))
    with pytest.raises(Transient) as met:
        await call(bed)
    assert met.value.throttled
    assert bed.tasks() == before


async def test_a_listing_whose_later_page_is_broken_off_is_not_taken_for_whole(bed: Bed) -> None:
    for number in range(101):
        await bed.run(f"{number}-{bed.cluster}")
    bed.proxy.befall(Fault(FaultKind.REPLY_BROKEN, "ListTasks", after=1))
    with pytest.raises(Transient):
        await listed(bed)
    assert len(await listed(bed)) == 102
