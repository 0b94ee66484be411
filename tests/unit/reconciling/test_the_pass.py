"""How a pass goes over many runs: full calls, rounds, bounds, pace, memory."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typing_extensions import override

from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.drain import Drain
from dagy_control.model.runs import FailureClass, Run, RunStatus
from dagy_control.model.tasks import SeenTask
from dagy_control.ports.tasks import Described, ReadPriority
from dagy_control.reconciling.chunks import Chunks
from dagy_control.reconciling.decide import ReconcilePolicy
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import LOST_MAX, ReconcilingLoop
from dagy_control.reconciling.metrics import PassSummary, ReconcilingMetrics
from dagy_control.reconciling.pacing import PacePolicy, due_s, gap_s
from dagy_control.reconciling.rotation import Arc, Rotation, starting_point
from dagy_control.reconciling.sightings import MissingSightings
from tests.builders import ARN, CLUSTER, NOW, WORKER, result, running, stopped, task_of, tick_at, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeResults
from tests.fakes.permit import FakePermit
from tests.fakes.runs import FakeRuns
from tests.fakes.tasks import FakeTasks


class SlowTasks(FakeTasks):
    """Each DescribeTasks takes a second. `most`: how many were under way at once; `at`: when each began."""

    def __init__(self, clock: VirtualClock, *tasks: SeenTask) -> None:
        super().__init__(*tasks)
        self._clock = clock
        self._now = self.most = 0
        self.at: list[float] = []
        self.refusal: Permanent | None = None

    @override
    async def describe(
        self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
    ) -> Described:
        self._now += 1
        self.most = max(self.most, self._now)
        self.at.append(self._clock.monotonic() - 1000)
        await self._clock.sleep(1)
        self._now -= 1
        if self.refusal is not None:
            raise self.refusal
        return await super().describe(cluster, arns, priority=priority, tags=tags)


class World:
    """One reconciling loop over many runs."""

    def __init__(self, runs: list[Run], tasks: list[SeenTask], *, page_size: int = 1000, **policy: Any) -> None:
        self.clock = VirtualClock()
        self.runs = FakeRuns(*runs, page_size=page_size)
        self.tasks = SlowTasks(self.clock, *tasks)
        self.results = FakeResults()
        effects = ReconcilingEffects(self.runs, self.tasks, self.results, writer_of(self.runs, self.clock), self.clock)
        self.registry = CollectorRegistry()
        policy = {"container_name": WORKER, "default_cluster": CLUSTER, "start_timeout_s": 90_000, **policy}
        self.loop = ReconcilingLoop(ReconcilePolicy(**policy), effects, ReconcilingMetrics(self.registry), self.clock)

    async def reconcile(self, drain: Drain | None = None) -> PassSummary:
        return await self.clock.run(self.loop.reconcile(tick_at(self.clock, drain)))

    def asked(self) -> Counter[str]:
        """How often each task was asked for since this was last called."""
        counted = Counter(arn for _, arns in self.tasks.described for arn in arns)
        self.tasks.described.clear()
        return counted

    def ended(self) -> int:
        return sum(run.status.is_terminal for run in self.runs.records.values())


def many(count: int, **values: Any) -> list[Run]:
    return [running(run_id=f"run-{n:04}", external_id=f"{ARN}-{n:04}", **values) for n in range(count)]


# Full calls, several under way.


@pytest.mark.parametrize("page_size", [1, 37, 100, 1000])
async def test_calls_are_full_whatever_the_pages_of_the_index(page_size: int) -> None:
    here, there = many(730), [replace(run, run_id=f"t-{run.run_id}", cluster="other") for run in many(201)]
    world = World([*here, *there], [task_of(run) for run in here], page_size=page_size)
    summary = await world.reconcile()
    assert sorted((len(arns) for _, arns in world.tasks.described), reverse=True) == [100] * 9 + [30, 1]
    assert summary.checked == 931


async def test_a_full_pass_makes_no_call_but_pages_describes_and_ends() -> None:
    runs = many(1000)
    world = World(runs, [stopped(run) if n % 100 == 0 else task_of(run) for n, run in enumerate(runs)])
    await world.reconcile()
    assert Counter(world.runs.calls) == {"active": 16, "change": 10}
    assert Counter(world.tasks.calls) == {"describe": 10}
    assert Counter(world.results.calls) == {"get": 10}


async def test_several_calls_are_under_way_and_never_more_than_the_policy_says() -> None:
    runs = many(1000)
    world = World(runs, [task_of(run) for run in runs], describe_concurrency=3)
    await world.reconcile()
    assert (world.tasks.most, world.clock.monotonic()) == (3, 1004)


async def test_the_index_is_read_no_faster_than_ecs_answers() -> None:
    """What makes memory bounded: a page is asked for when the runs of the last one are under way."""
    runs = many(2000)
    world = World(runs, [task_of(run) for run in runs], page_size=10, describe_concurrency=1)
    asked_after: list[int] = []
    described = world.tasks.describe

    async def describe(*args: Any, **kwargs: Any) -> Described:
        asked_after.append(world.runs.calls.count("active"))
        return await described(*args, **kwargs)

    world.tasks.describe = describe  # type: ignore[method-assign]  # watches the order of calls
    await world.reconcile()
    assert asked_after[0] == 1
    assert asked_after[10] <= 10


async def test_a_run_without_a_task_on_record_costs_no_call() -> None:
    world = World([running(external_id=None)], [])
    summary = await world.reconcile()
    assert (summary.checked, world.tasks.calls) == (1, [])


def test_chunks_give_every_run_once() -> None:
    chunks = Chunks(CLUSTER, 10)
    runs = [*many(25), *(replace(run, run_id=f"{run.run_id}-b", cluster=None) for run in many(7))]
    chunks.add(runs)
    given = [*chunks.full()]
    assert [len(chunk.runs) for chunk in given] == [10, 10, 10], "a record without a cluster belongs to the default one"
    given += chunks.rest()
    assert Counter(run.run_id for chunk in given for run in chunk.runs) == Counter(run.run_id for run in runs)
    assert [*chunks.rest()] == []


# A bounded pass.


async def test_bounded_passes_go_round_and_each_goes_on_where_the_last_ended() -> None:
    runs = many(70)
    world = World(runs, [task_of(run) for run in runs], max_runs=20)
    seen: Counter[str] = Counter()
    for _ in range(7):
        summary = await world.reconcile()
        assert summary.checked == 20
        seen += world.asked()
    assert set(seen.values()) == {2}, "140 looks at 70 runs"


async def test_a_bounded_pass_that_failed_is_repeated_from_where_it_began() -> None:
    runs = many(40)
    world = World(runs, [task_of(run) for run in runs], max_runs=10)
    await world.reconcile()
    first = world.asked()
    world.tasks.next_error("describe", Transient("no"), times=4)
    with pytest.raises(Transient):
        await world.reconcile()
    second = Counter[str]()
    for _ in range(3):
        await world.reconcile()
        second += world.asked()
    assert len(first + second) == 40


async def test_bounded_passes_end_a_lost_run_when_two_rounds_have_missed_it() -> None:
    runs = many(40)
    world = World(runs, [task_of(run) for run in runs[1:]], max_runs=20)
    for _ in range(2):
        await world.reconcile()
    assert world.ended() == 0
    for _ in range(2):
        await world.reconcile()
    assert world.runs.records["run-0000"].failure_class is FailureClass.LOST


async def test_a_bounded_pass_too_small_to_tell_a_wrong_cluster_ends_no_lost_run() -> None:
    world = World(many(40), [], max_runs=5)
    for _ in range(24):
        summary = await world.reconcile()
    assert (world.ended(), "too few" in summary.held) == (0, True)


async def test_a_bounded_pass_over_a_wrong_cluster_is_held() -> None:
    world = World(many(40), [], max_runs=20)
    for _ in range(6):
        summary = await world.reconcile()
    assert (world.ended(), "too many" in summary.held) == (0, True)


@pytest.mark.parametrize("step_s", [1, 60, 300, 3600])
def test_processes_that_remember_nothing_cover_the_circle_however_regularly_they_are_started(step_s: int) -> None:
    starts = sorted(starting_point(1_790_000_000 + number * step_s) for number in range(200))
    gaps = [after - before for before, after in zip([starts[-1] - 1, *starts], starts, strict=False)]
    assert max(gaps) < 0.05, "arcs of a twentieth of the runs: none is left out"


def test_an_arc_takes_the_runs_next_after_its_start_from_any_stream() -> None:
    runs = many(5000)
    one, piecemeal = Arc(0.3, 50), Arc(0.3, 50)
    one.offer(runs)
    for start in range(0, 5000, 7):
        piecemeal.offer(runs[start : start + 7])
    assert [run.run_id for run in one.taken()] == [run.run_id for run in piecemeal.taken()]
    assert (len(one.taken()), 0.005 < one.reach < 0.02) == (50, True)


def test_a_rotation_of_single_steps_never_stands_still() -> None:
    runs, rotation = many(30), Rotation()
    looked_at: list[str] = []
    rounds = 0
    for _ in range(90):
        arc = rotation.arc(1)
        arc.offer(runs)
        looked_at += [run.run_id for run in arc.taken()]
        rounds += rotation.advance(arc)
    assert set(Counter(looked_at).values()) == {3}
    assert rounds in {2, 3}


# Lost runs, over chunks and in bulk.


async def test_the_share_of_missing_tasks_counts_over_all_chunks() -> None:
    runs = many(400)
    world = World(runs, [task_of(run) for run in runs[:150]])
    for _ in range(3):
        summary = await world.reconcile()
    assert (world.ended(), summary.missing, bool(summary.held)) == (0, 250, True)


async def test_a_held_pass_still_ends_what_has_stopped_and_stops_what_was_cancelled() -> None:
    runs = many(40)
    cancelled = replace(runs[1], cancel_requested_at=runs[1].active_since)
    world = World([runs[0], cancelled, *runs[2:]], [stopped(runs[0]), task_of(cancelled)])
    for _ in range(3):
        await world.reconcile()
    assert world.runs.records[runs[0].run_id].failure_class is FailureClass.USER_ERROR
    assert [arn for arn, _ in world.tasks.stops] == [cancelled.external_id]
    assert world.ended() == 2, "the two; the 38 are held"


async def test_s3_is_asked_for_a_lost_task_only_when_it_is_about_to_be_ended() -> None:
    runs = many(30)
    world = World(runs, [task_of(run) for run in runs[1:]])
    world.results.records[runs[0].run_id, 1, str(runs[0].external_id)] = result()
    await world.reconcile()
    assert world.results.calls == []
    await world.reconcile()
    assert world.results.calls == ["get"]
    assert world.runs.records[runs[0].run_id].status is RunStatus.SUCCEEDED


async def test_more_lost_runs_than_a_pass_ends_are_ended_by_the_next() -> None:
    gone, there = many(LOST_MAX + 50), [replace(run, run_id=f"t-{run.run_id}", cluster="x") for run in many(1200)]
    world = World([*gone, *there], [task_of(run, cluster="x") for run in there])
    for ended in (0, LOST_MAX, LOST_MAX + 50):
        await world.reconcile()
        assert world.ended() == ended


def test_a_run_that_is_listed_twice_in_one_pass_is_missed_once() -> None:
    sightings, run = MissingSightings(), running()
    sightings.begin_look()
    assert [sightings.missed(run), sightings.missed(run)] == [1, 1]
    sightings.begin_look()
    assert sightings.missed(run) == 2


def test_sightings_forget_what_is_seen_relaunched_or_not_due_any_more_and_are_bounded() -> None:
    sightings, (seen, relaunched, gone, beyond) = MissingSightings(remembered_max=3), many(4)
    sightings.begin_look()
    assert [sightings.missed(run) for run in (seen, relaunched, gone, beyond)] == [1, 1, 1, 1]
    sightings.seen(seen.run_id)
    sightings.end_turn()
    sightings.begin_look()
    assert sightings.missed(seen) == 1
    assert sightings.missed(replace(relaunched, external_id="another")) == 1
    sightings.end_turn()
    sightings.begin_look()
    assert sightings.missed(gone) == 1, "a whole turn did not miss it"


async def test_a_task_that_was_seen_in_a_pass_that_failed_later_is_not_missed_twice_in_a_row() -> None:
    runs = many(150)
    world = World(runs, [task_of(run) for run in runs[1:]], describe_concurrency=1)
    described = world.tasks.describe

    async def fails_in_the_end(*args: Any, **kwargs: Any) -> Described:
        if any(runs[0].external_id in arns for _, arns in world.tasks.described):
            raise Transient("no")
        return await described(*args, **kwargs)

    await world.reconcile()
    world.tasks.described.clear()
    world.tasks.add(task_of(runs[0]))
    world.tasks.describe = fails_in_the_end  # type: ignore[method-assign]  # from the call after the one that shows it
    with pytest.raises(Transient):
        await world.reconcile()
    world.tasks.describe = described  # type: ignore[method-assign]  # as it was
    world.tasks.forget(str(runs[0].external_id))
    await world.reconcile()
    assert world.ended() == 0


# Pace.


async def test_a_small_pass_is_immediate_and_a_large_one_is_spread_over_its_period() -> None:
    runs = many(1000)
    pace = PacePolicy(burst_calls=4, spread_s=24)
    world = World(runs, [task_of(run) for run in runs], pace=pace, describe_concurrency=2)
    await world.reconcile()
    assert world.tasks.at == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], "nothing is known of how many there are"
    world.tasks.at.clear()
    began = world.clock.monotonic() - 1000
    await world.reconcile()
    assert [at - began for at in world.tasks.at] == [0, 0, 1, 1, 4, 8, 12, 16, 20, 24]


async def test_a_lease_that_is_lost_while_the_pass_paces_itself_lets_no_further_call_out() -> None:
    runs, lease = many(200), FakePermit()
    world = World(runs, [stopped(run) for run in runs], pace=PacePolicy(burst_calls=1, calls_per_s=0.1))

    async def revoked_soon() -> PassSummary:
        await world.clock.sleep(5)
        lease.revoke()
        return await under_way

    tick = replace(tick_at(world.clock), permit=lease)
    under_way = asyncio.ensure_future(world.loop.reconcile(tick))  # noqa: TID251 - awaited by `revoked_soon`
    summary = await world.clock.run(revoked_soon())
    assert (summary.checked, len(world.tasks.at)) == (100, 1)


async def test_a_drain_does_not_wait_for_the_pace() -> None:
    runs = many(1000)
    world = World(runs, [task_of(run) for run in runs], pace=PacePolicy(burst_calls=1, calls_per_s=0.01))
    drain = Drain()

    async def drained_soon() -> PassSummary:
        await world.clock.sleep(5)
        drain.begin()
        return await under_way

    under_way = asyncio.ensure_future(world.loop.reconcile(tick_at(world.clock, drain)))  # noqa: TID251 - awaited by `drained_soon`
    summary = await world.clock.run(drained_soon())
    assert (summary.checked, world.clock.monotonic()) == (100, 1005)


@pytest.mark.parametrize(
    ("expected_calls", "policy", "gap"),
    [
        pytest.param(1000, PacePolicy(), 0, id="no pace"),
        pytest.param(0, PacePolicy(burst_calls=20, spread_s=24, calls_per_s=10), 0.1, id="unknown: as fast as allowed"),
        pytest.param(20, PacePolicy(burst_calls=20, spread_s=24, calls_per_s=10), 0.1, id="no more than the burst"),
        pytest.param(100, PacePolicy(burst_calls=20, spread_s=24, calls_per_s=10), 0.3, id="spread"),
        pytest.param(1000, PacePolicy(burst_calls=20, spread_s=24, calls_per_s=10), 0.1, id="more than the period holds"),
    ],
)  # fmt: skip
def test_the_gap_between_calls(expected_calls: int, policy: PacePolicy, gap: float) -> None:
    assert gap_s(expected_calls, policy) == pytest.approx(gap)


def test_calls_of_the_burst_are_due_at_once() -> None:
    policy = PacePolicy(burst_calls=2)
    assert [due_s(call, 0.5, policy) for call in (1, 2, 3, 4)] == [0, 0, 0.5, 1.0]


# Figures.


async def test_young_runs_are_counted_and_not_looked_at() -> None:
    world = World([*many(3), *(running(run_id=f"young-{n}", for_s=10) for n in range(4))], [])
    summary = await world.reconcile()
    assert (summary.checked, summary.skipped_young, summary.missing) == (3, 4, 3)


async def test_the_lag_is_since_the_round_began_that_last_looked_at_everything() -> None:
    runs = many(40)
    world = World(runs, [task_of(run) for run in runs], max_runs=15)
    lags: list[float | None] = []
    for _ in range(5):
        await world.clock.advance(100)
        await world.reconcile()
        lags.append(world.registry.get_sample_value("dagy_reconcile_lag_seconds"))
    assert lags == [101, 202, 203, 304, 405], "every call takes a second; the third pass completes the first round"


async def test_a_failed_pass_lets_the_lag_grow() -> None:
    world = World(many(1), [])
    await world.reconcile()
    world.runs.next_error("active", Transient("no"))
    await world.clock.advance(100)
    with pytest.raises(Transient):
        await world.reconcile()
    assert world.registry.get_sample_value("dagy_reconcile_lag_seconds") == 101


async def test_a_pass_that_ecs_refused_lets_the_lag_grow_until_one_is_answered_again() -> None:
    world = World(many(1), [])
    await world.reconcile()
    lags: list[float | None] = []
    denied = Permanent("not authorized to perform: ecs:DescribeTasks", code="AccessDeniedException")
    for world.tasks.refusal in (denied, denied, None):
        await world.clock.advance(100)
        with suppress(Permanent):
            await world.reconcile()
        lags.append(world.registry.get_sample_value("dagy_reconcile_lag_seconds"))
    assert lags == [102, 203, 1], "every call takes a second"


async def test_how_late_a_pass_found_a_stopped_task_is_told_of_those_that_it_ended() -> None:
    runs = many(3)
    tasks = [stopped(runs[0], stopped_at=NOW), stopped(runs[1]), task_of(runs[2])]
    world = World(runs, tasks)
    await world.clock.advance(100)
    await world.reconcile()
    assert world.ended() == 2
    assert world.registry.get_sample_value("dagy_reconcile_end_age_seconds_count") == 1, (
        "ECS has dated one of the stops"
    )
    assert world.registry.get_sample_value("dagy_reconcile_end_age_seconds_sum") == 101, "the call takes a second"


# A pass that no other follows.


async def test_a_pass_by_hand_looks_twice_and_ends_what_is_lost() -> None:
    runs = many(20)
    world = World(runs, [task_of(run) for run in runs[1:]], look_again_s=5)
    summary = await world.reconcile()
    assert (summary.checked, summary.missing, summary.by_outcome) == (20, 1, {"LOST": 1})
    assert [len(arns) for _, arns in world.tasks.described] == [20, 1]
    assert world.tasks.at == [0, 6], "the first look took a second"


async def test_the_second_look_finds_what_the_first_did_not() -> None:
    runs = many(20)
    world = World(runs, [task_of(run) for run in runs[1:]], look_again_s=5)

    async def shown_late() -> None:
        await world.clock.sleep(3)
        world.tasks.add(stopped(runs[0]))

    appearing = asyncio.ensure_future(shown_late())  # noqa: TID251 - awaited below
    summary = await world.reconcile()
    await appearing
    assert summary.by_outcome == {"USER_ERROR": 1}


async def test_a_task_too_young_to_be_lost_is_not_looked_at_again() -> None:
    world = World(many(20, for_s=1800), [], look_again_s=5, missing_grace_s=3600)
    summary = await world.reconcile()
    assert (summary.missing, world.ended(), world.clock.monotonic()) == (20, 0, 1001)


async def test_two_looks_do_not_make_a_wrong_cluster_true() -> None:
    runs = many(40)
    world = World(runs, [task_of(run) for run in runs[:19]], look_again_s=5)
    summary = await world.reconcile()
    assert (summary.held, world.ended()) == ("21 of 40 tasks are missing: too many to be true", 0)


async def test_a_pass_that_is_drained_between_its_looks_ends_nothing_that_is_lost() -> None:
    world = World(many(2), [], look_again_s=500)
    drain = Drain()

    async def drained() -> None:
        await world.clock.sleep(5)
        drain.begin()

    draining = asyncio.ensure_future(drained())  # noqa: TID251 - awaited below
    summary = await world.reconcile(drain)
    await draining
    assert (summary.checked, summary.missing, world.ended(), world.clock.monotonic()) == (2, 2, 0, 1005)


async def test_a_bounded_pass_says_how_many_due_runs_it_left_out() -> None:
    runs = many(40)
    world = World(runs, [task_of(run) for run in runs], max_runs=15)
    assert (await world.reconcile()).left_out == 25


async def test_what_a_failed_pass_has_done_is_in_the_summary_that_was_handed_in() -> None:
    runs = many(150)
    world = World(runs, [stopped(run) for run in runs], describe_concurrency=1)
    described = world.tasks.describe

    async def fails_later(*args: Any, **kwargs: Any) -> Described:
        if world.tasks.described:
            raise Transient("no")
        return await described(*args, **kwargs)

    summary = PassSummary()
    world.tasks.describe = fails_later  # type: ignore[method-assign]  # every call but the first fails
    with pytest.raises(Transient):
        await world.clock.run(world.loop.reconcile(tick_at(world.clock), summary))
    assert (summary.checked, summary.updated, world.ended()) == (100, 100, 100)
