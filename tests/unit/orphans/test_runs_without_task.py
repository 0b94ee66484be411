"""The other direction: a run that is RUNNING, and no task that is."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.errors import Transient
from dagy_control.kernel.handover import Handover
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.runs import ActiveRun, RunStatus, active_view
from dagy_control.model.tasks import SeenTask
from dagy_control.orphans.criteria import Criteria
from dagy_control.orphans.decide import OrphanPolicy, lacks_its_task
from dagy_control.ports.tasks import Described
from dagy_control.reconciling.decide import ReconcilePolicy
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics
from tests.builders import (
    INSTALLATION,
    NOW,
    OTHER_ARN,
    WORKER,
    committed,
    result,
    running,
    stopped,
    task_of,
    tick_at,
    writer_of,
)
from tests.fakes.flows import FakeResults
from tests.fakes.tasks import FakeTasks
from tests.unit.orphans.world import World

POLICY = OrphanPolicy(
    cluster="main", environment="dev", criteria=Criteria(installation=INSTALLATION, state_tables=(), grace_s=300)
)


@pytest.mark.parametrize(
    ("run", "lacks"),
    [
        pytest.param(running(), True, id="its task is not listed"),
        pytest.param(running(external_id=OTHER_ARN), False, id="its task is listed"),
        pytest.param(running(for_s=300), True, id="just old enough"),
        pytest.param(running(for_s=299), False, id="a second too young"),
        pytest.param(running(external_id=None), False, id="nobody knows its task"),
        pytest.param(running(**committed(result())), False, id="its result is there"),
        pytest.param(running(cluster="other"), False, id="in another cluster"),
        pytest.param(running(cluster="arn:aws:ecs:us-east-1:123456789012:cluster/main"), True, id="the cluster by ARN"),
        pytest.param(running(cluster=None), True, id="in the cluster of all"),
        pytest.param(running(started_at=None), True, id="never claimed by its worker"),
        pytest.param(running(started_at=None, active_since=None), False, id="of unknown age"),
    ],
)
def test_which_runs_lack_their_task(run: ActiveRun, lacks: bool) -> None:
    assert lacks_its_task(active_view(run), {OTHER_ARN}, POLICY, NOW) is lacks  # type: ignore[arg-type]  # builders make whole runs


class Both(World):
    """A scanner and a reconciler of one process. The reconciler looks at runs by itself only once they are an hour old."""

    def __init__(self, *runs: Any, tasks: Sequence[SeenTask] = ()) -> None:
        self.handover = Handover()
        self.woken = 0
        super().__init__(*runs, tasks=tasks, to_reconciling=self.handover)
        self.handover.wake = self.wake

    def wake(self) -> None:
        self.woken += 1

    async def reconcile(self) -> None:
        policy = ReconcilePolicy(
            container_name=WORKER, default_cluster="main", retry=RetryPolicy(), stale_threshold_s=7200
        )
        effects = ReconcilingEffects(
            self.runs, self.tasks, FakeResults(), writer_of(self.runs, self.clock), self.clock, wanted=self.handover
        )
        loop = ReconcilingLoop(policy, effects, ReconcilingMetrics(CollectorRegistry()), self.clock)
        await self.clock.run(loop.reconcile(tick_at(self.clock)))


async def test_a_run_whose_task_has_stopped_unseen_is_ended_by_the_next_pass_however_young() -> None:
    world = Both(running(), tasks=[stopped(running(), 1)])
    await world.reconcile()
    assert world.runs.records["r1"].status is RunStatus.RUNNING, "too young for the reconciler by itself"
    await world.scan()
    assert (world.woken, world.metric("dagy_orphans_runs_without_task")) == (1, 1)
    await world.reconcile()
    assert world.runs.records["r1"].status is RunStatus.FAILED


async def test_what_the_index_shows_of_a_run_that_has_ended_meanwhile_changes_nothing() -> None:
    world = Both(running(), tasks=[stopped(running(), 1)])
    world.runs.freeze_index()
    await world.scan()
    await world.reconcile()
    ended = world.runs.records["r1"]
    await world.scan()
    await world.reconcile()
    assert world.runs.records["r1"] == ended


async def test_a_task_that_stops_while_it_is_looked_for_is_judged_by_reconciling_not_by_the_scan() -> None:
    """It is not listed, because its desired status is STOPPED, and has not ended yet."""
    stopping = task_of(running(), desired_status="STOPPED")
    world = Both(running(), tasks=[stopping])
    await world.scan()
    await world.reconcile()
    assert (world.woken, world.runs.records["r1"].status, world.stopped) == (1, RunStatus.RUNNING, [])


async def test_a_healthy_cluster_wakes_nobody() -> None:
    world = Both(running(), tasks=[task_of(running())])
    await world.scan()
    assert (world.woken, world.handover.take()) == (0, frozenset())


async def test_a_listing_that_is_cut_says_nothing_of_runs() -> None:
    class Slow(FakeTasks):
        async def describe(self, *args: Any, **kwargs: Any) -> Described:
            await world.clock.sleep(50)
            return await super().describe(*args, **kwargs)

    world = Both(running(run_id="r2", external_id=OTHER_ARN))
    world.tasks = Slow(task_of(running()))
    world.restarted()
    await world.scan()
    assert world.report["success"] is False
    assert world.woken == 0


async def test_an_index_that_cannot_be_read_fails_no_scan() -> None:
    world = Both(running())
    world.runs.next_error("active", Transient("no"))
    await world.scan()
    assert (world.report["success"], world.woken) == (True, 0)


def test_a_handover_holds_the_last_word_only_and_gives_it_once() -> None:
    handover = Handover()
    handover.give(["a", "b"])
    handover.give(["b", "c"])
    assert handover.take() == {"b", "c"}
    assert handover.take() == frozenset()
    handover.give(["d"])
    handover.give([])
    assert handover.take() == frozenset()
