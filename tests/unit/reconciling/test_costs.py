"""Costs by the pass: added up over attempts although the index does not show the earlier ones."""

from typing import Any

from prometheus_client import CollectorRegistry

from dagy_control.model.cost import PriceTable
from dagy_control.model.runs import Run, RunStatus, Transition
from dagy_control.model.tasks import SeenTask
from dagy_control.reconciling.decide import ReconcilePolicy
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics
from tests.builders import ARN, CLUSTER, NOW, WORKER, ago, running, stopped, tick_at, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeResults
from tests.fakes.runs import FakeRuns
from tests.fakes.tasks import FakeTasks

BILLED: dict[str, Any] = {"cpu": 1024, "memory_mib": 1024, "pull_started_at": ago(3600), "stopped_at": NOW}
FIRST = Transition(
    at=ago(9000),
    from_status="RUNNING",
    to_status="QUEUED",
    attempt=1,
    by="events",
    why="SPOT_INTERRUPTED: reclaimed",
    evidence={"task_arn": "arn:first", "cost_usd": 0.5},
)


async def ended(run: Run, task: SeenTask) -> Run:
    clock, runs = VirtualClock(), FakeRuns(run)
    policy = ReconcilePolicy(
        container_name=WORKER,
        default_cluster=CLUSTER,
        prices=PriceTable(x86_vcpu_hour_usd=1.0, x86_memory_gb_hour_usd=1.0),
    )
    effects = ReconcilingEffects(runs, FakeTasks(task), FakeResults(), writer_of(runs, clock), clock)
    loop = ReconcilingLoop(policy, effects, ReconcilingMetrics(CollectorRegistry()), clock)
    await clock.run(loop.reconcile(tick_at(clock)))
    return runs.records["r1"]


async def test_the_cost_of_a_first_attempt_comes_from_its_task() -> None:
    run = await ended(running(), stopped(running(), 1, **BILLED))
    assert (run.status, run.estimated_cost_usd) == (RunStatus.FAILED, 2.0)


async def test_the_cost_of_an_earlier_attempt_is_added() -> None:
    second = running(attempt=2, infra_failures=1, transitions=(FIRST,))
    run = await ended(second, stopped(second, 1, **BILLED))
    assert run.evidence is not None
    assert run.evidence["task_arn"] == ARN
    assert run.estimated_cost_usd == 2.5
