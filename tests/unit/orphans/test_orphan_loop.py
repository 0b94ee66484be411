"""The orphan scanner over stateful fakes: stops, failures of one of them, partial reads, races."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.drain import Drain
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import commit_result
from dagy_control.model.runs import Run, RunChange, RunGlance, RunStatus, StopCause, applied
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tasks import SeenTask
from dagy_control.orphans.effects import STOPS_IN_FLIGHT
from dagy_control.orphans.metrics import OrphanMetrics
from dagy_control.ports.tasks import Described, ReadPriority
from tests.builders import (
    ARN,
    NOW,
    OTHER_ARN,
    ago,
    launching,
    result,
    running,
    task_of,
)
from tests.fakes.clock import VirtualClock
from tests.fakes.orphans import FakeSuspicions
from tests.fakes.runs import FakeRuns
from tests.fakes.tasks import FakeTasks
from tests.unit.orphans.world import World, over


async def test_the_task_of_a_run_that_is_over_is_stopped_with_the_documented_reason() -> None:
    world = World(over(), tasks=[task_of(over())])
    data = await world.scan()
    assert world.tasks.stops == [(f"{ARN}-r1", "Orphan scan: State shows 'SUCCEEDED' but task still running")]
    assert data["summary"] == {"total_running": 1, "orphans_found": 1, "tasks_stopped": 1, "dry_run": False}


async def test_tags_map_tasks_to_their_state_tables_and_foreign_tasks_are_counted_never_stopped() -> None:
    tags = ({"model_name": "m1"}, {"strategy_id": "s1"}, {"model_name": "m2"}, {"team": "x"})
    tasks = [task_of(running(), arn=f"arn-{n}", started_by="", tags=each) for n, each in enumerate(tags)]
    stranger = task_of(running(), arn="arn-staging", started_by="staging/r1/1", started_at=ago(90_000))
    world = World(tasks=[*tasks, stranger])
    world.tables.tables["RETRAINING"] = [
        {"model_name": "m1", "status": "failed"},
        {"model_name": "m2", "status": "running"},
    ]
    world.tables.tables["TRADING"] = [{"strategy_id": "s1", "status": "terminated"}]
    data = await world.scan()
    assert sorted(world.stopped) == ["arn-0", "arn-1"]
    assert data["summary"]["total_running"] == 5


async def test_a_healthy_cluster_is_left_alone_and_nothing_is_written() -> None:
    runs = [running(run_id=f"run-{n}", external_id=f"arn-{n}") for n in range(3)]
    world = World(*runs, tasks=[task_of(run) for run in runs], page_size=2)
    await world.scan()
    assert (world.stopped, world.runs.writes, world.suspicions.records) == ([], [], {})


async def test_a_failing_stop_of_one_orphan_does_not_halt_the_others() -> None:
    runs = [over(f"run-{n}") for n in range(3)]
    world = World(*runs, tasks=[task_of(run) for run in runs])
    world.tasks.next_error("stop", Permanent("AccessDenied"))
    data = await world.scan()
    assert (len(world.stopped), data["summary"]["tasks_stopped"], data["summary"]["orphans_found"]) == (2, 2, 3)
    assert (world.metric("dagy_orphans_stopped_total"), world.metric("dagy_orphans_stop_failures_total")) == (2, 1)


async def test_a_task_that_is_gone_by_now_was_not_stopped_by_us() -> None:
    class Vanishing(FakeTasks):
        async def stop(self, cluster: str, arn: str, *, reason: str) -> None:
            self.forget(arn)
            await super().stop(cluster, arn, reason=reason)

    world = World(over())
    world.tasks = Vanishing(task_of(over()))
    world.restarted()
    data = await world.scan()
    assert (data["summary"]["orphans_found"], data["summary"]["tasks_stopped"]) == (1, 0)


# What is not known stops nothing.


class SecondCallFails(FakeTasks):
    """Of one method."""

    def __init__(self, method: str, *tasks: SeenTask) -> None:
        super().__init__(*tasks, page_size=2)
        self.method = method

    async def _begin(self, method: str) -> Exception | None:
        if method == self.method and self.calls.count(method) == 1:
            self.next_error(method, Transient("throttled", throttled=True))
        return await super()._begin(method)


async def test_a_listing_that_breaks_off_stops_nothing() -> None:
    runs = [over(f"run-{n}") for n in range(4)]
    world = World(*runs)
    world.tasks = SecondCallFails("list_running", *map(task_of, runs))
    world.restarted()
    with pytest.raises(Transient):
        await world.scan()
    assert (world.stopped, world.suspicions.records) == ([], {})


async def test_tasks_that_ecs_does_not_describe_are_not_judged_and_the_others_are() -> None:
    runs = [over(f"run-{n}") for n in range(4)]
    world = World(*runs)
    world.tasks = SecondCallFails("describe", *map(task_of, runs))
    world.restarted()
    data = await world.scan()
    assert (len(world.stopped), data["summary"]["total_running"]) == (2, 4)
    assert world.report["not_reached"] == {"tasks": 2, "why": ["2 tasks not described: throttled"]}
    assert world.metric("dagy_orphans_incomplete") == 1
    assert world.metric("dagy_orphans_tasks", verdict="keep_unread") == 2


async def test_a_task_that_ends_between_list_and_describe_does_not_run_any_more() -> None:
    class Ending(FakeTasks):
        async def describe(
            self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
        ) -> Described:
            for arn in arns:
                self.finish(arn)
            return await super().describe(cluster, arns, priority=priority, tags=tags)

    world = World(over())
    world.tasks = Ending(task_of(over()))
    world.restarted()
    data = await world.scan()
    assert (data["summary"]["total_running"], data["orphans"], world.stopped) == (0, [], [])


async def test_when_nothing_can_be_described_the_scan_fails() -> None:
    world = World(over(), tasks=[task_of(over())])
    world.tasks.next_error("describe", Permanent("AccessDenied"))
    with pytest.raises(Permanent):
        await world.scan()


@pytest.mark.parametrize(
    ("broken", "stopped"),
    [
        pytest.param("runs", ["arn-m"], id="our runs"),
        pytest.param("tables", [f"{ARN}-r1", ARN], id="a state table"),
        pytest.param("suspicions", [f"{ARN}-r1", "arn-m"], id="the suspicions"),
    ],
)
async def test_a_failed_read_spares_what_it_touches_and_nothing_else(broken: str, stopped: list[str]) -> None:
    item = task_of(running(), arn="arn-m", started_by="", tags={"model_name": "m"})
    unknown = task_of(running(run_id="gone"), arn=ARN)
    world = World(over(), tasks=[task_of(over()), item, unknown])
    world.tables.tables["RETRAINING"] = [{"model_name": "m", "status": "failed"}]
    before = Suspicion(
        task_arn=ARN,
        reason="No state record for a running task",
        first_seen=ago(600),
        last_seen=ago(300),
        expires_at=NOW + timedelta(hours=1),
    )
    world.suspicions.records[ARN] = before
    fake, method = {
        "runs": (world.runs, "glance_many"),
        "tables": (world.tables, "read"),
        "suspicions": (world.suspicions, "get_many"),
    }[broken]
    fake.next_error(method, Transient("no"))
    await world.scan()
    assert sorted(world.stopped) == sorted(stopped)
    assert world.report["success"] is True
    assert "could not be read: no" in world.report["not_reached"]["why"][0]
    if broken == "suspicions":
        assert world.suspicions.records[ARN] == before, "it does not begin anew"


async def test_a_run_whose_record_cannot_be_understood_is_not_a_run_without_a_record() -> None:
    class Garbled(FakeRuns):
        async def glance_many(self, run_ids: Sequence[str]) -> Mapping[str, RunGlance | None]:
            return dict.fromkeys(run_ids)

    world = World(tasks=[task_of(running())])
    world.runs = Garbled()
    world.restarted()
    await world.scan()
    assert (world.suspicions.records, world.report["not_reached"]["tasks"]) == ({}, 1)


async def test_a_table_that_does_not_exist_leaves_its_tasks_alone() -> None:
    item = task_of(running(), arn="arn-m", started_by="", tags={"model_name": "m"})
    world = World(over(), tasks=[task_of(over()), item])
    del world.tables.tables["RETRAINING"]
    await world.scan()
    assert world.stopped == [f"{ARN}-r1"]


async def test_suspicions_that_cannot_be_written_do_not_keep_what_is_sure_from_being_stopped() -> None:
    world = World(over(), tasks=[task_of(over()), task_of(running(run_id="gone"), arn=OTHER_ARN)])
    world.suspicions.next_error("put_many", Transient("no"))
    await world.scan()
    assert world.stopped == [f"{ARN}-r1"]


async def test_suspicions_that_take_too_long_to_write_do_not_either() -> None:
    class SlowSuspicions(FakeSuspicions):
        async def put_many(self, suspicions: Sequence[Suspicion]) -> None:
            await world.clock.sleep(3600)

    world = World(over(), tasks=[task_of(over()), task_of(running(run_id="gone"), arn=OTHER_ARN)])
    world.suspicions = SlowSuspicions()
    world.restarted()
    await world.scan()
    assert (world.stopped, world.clock.now()) == ([f"{ARN}-r1"], NOW + timedelta(seconds=60))


class Slow(FakeTasks):
    """Each call of one method takes so long."""

    def __init__(self, clock: VirtualClock, method: str, seconds: float, *tasks: SeenTask) -> None:
        super().__init__(*tasks, page_size=1)
        self.clock, self.method, self.seconds = clock, method, seconds

    async def _begin(self, method: str) -> Exception | None:
        if method == self.method:
            await self.clock.sleep(self.seconds)
        return await super()._begin(method)


async def test_a_listing_that_takes_too_long_tells_what_it_has_seen_and_stops_nothing() -> None:
    runs = [over(f"run-{n}") for n in range(6)]
    world = World(*runs)
    world.tasks = Slow(world.clock, "list_running", 10, *map(task_of, runs))
    world.restarted()
    data = await world.scan()
    assert world.stopped == []
    assert (world.report["success"], data["summary"]["orphans_found"]) == (False, 3)
    assert "did not finish within 36 s: 3 listed, 3 of them described; nothing is stopped" in world.report["error"]
    assert world.clock.now() < NOW + timedelta(seconds=60)


async def test_a_scan_whose_records_take_too_long_judges_nothing() -> None:
    class SlowRuns(FakeRuns):
        async def glance_many(self, run_ids: Sequence[str]) -> Mapping[str, RunGlance | None]:
            await world.clock.sleep(61)
            return await super().glance_many(run_ids)

    world = World(tasks=[task_of(over())])
    world.runs = SlowRuns(over())
    world.restarted()
    with pytest.raises(Transient, match="within 60 s; nothing was judged and nothing stopped"):
        await world.scan()
    assert world.stopped == []


async def test_a_task_that_appears_with_its_run_during_the_scan_is_judged_by_the_newer_record() -> None:
    world = World(tasks=[task_of(running())])

    class Late(FakeTasks):
        async def describe(self, *args: Any, **kwargs: Any) -> Any:
            world.runs.seed(running())
            return await super().describe(*args, **kwargs)

    world.tasks = Late(task_of(running()))
    world.restarted()
    await world.scan()
    assert (world.stopped, world.suspicions.records) == ([], {})


# Two scans, in whatever process.


async def test_a_task_without_a_record_is_stopped_by_the_second_scan_of_whatever_process() -> None:
    world = World(tasks=[task_of(running())])
    assert (await world.scan())["summary"]["orphans_found"] == 0
    await world.clock.advance(300)
    world.restarted()
    await world.scan()
    assert world.stopped == [ARN]


async def test_two_scans_in_a_row_are_not_yet_two() -> None:
    world = World(tasks=[task_of(running())])
    await world.scan()
    await world.scan()
    assert world.stopped == []


async def test_a_surplus_task_is_stopped_and_the_runs_own_task_is_not() -> None:
    world = World(running(external_id=OTHER_ARN), tasks=[task_of(running()), task_of(running(external_id=OTHER_ARN))])
    await world.scan()
    await world.clock.advance(300)
    await world.scan()
    assert world.stopped == [ARN]
    assert world.runs.writes == []


async def test_a_launch_under_way_is_never_an_orphan() -> None:
    world = World(launching(), tasks=[task_of(running(), started_at=ago(90_000))])
    for _ in range(3):
        await world.scan()
        await world.clock.advance(300)
    assert world.stopped == []


# Our own runs beyond their runtime.


async def test_the_runtime_limit_of_our_run_is_recorded_before_stop_task() -> None:
    world = World(running(for_s=30_000), tasks=[task_of(running(), started_at=ago(30_000))])
    world.tasks.next_error("stop", Transient("no"))
    await world.scan()
    assert (world.runs.records["r1"].stop_cause, world.stopped) == (StopCause.TIMED_OUT, [])
    await world.scan()
    assert world.stopped == [ARN]
    assert len(world.runs.writes) == 1


async def test_a_run_whose_limit_cannot_be_recorded_is_not_stopped() -> None:
    world = World(running(for_s=30_000), tasks=[task_of(running(), started_at=ago(30_000))])
    world.runs.next_error("change", Transient("no"), times=4)
    await world.scan()
    assert world.stopped == []


async def test_a_run_that_succeeds_between_scan_and_stop_keeps_its_success() -> None:
    class Raced(FakeRuns):
        async def change(self, change: RunChange, op_id: str) -> Run:
            if self.records["r1"].status is RunStatus.RUNNING:
                won = commit_result(self.records["r1"], result(), RetryPolicy(), task_arn=ARN, now=NOW)
                assert isinstance(won, RunChange)
                self.seed(applied(self.records["r1"], won, "worker"))
            return await super().change(change, op_id)

    world = World(tasks=[task_of(running(), started_at=ago(30_000))])
    world.runs = Raced(running(for_s=30_000))
    world.restarted()
    await world.scan()
    assert world.runs.records["r1"].status is RunStatus.SUCCEEDED


async def test_a_surplus_task_beyond_its_runtime_is_stopped_without_a_word_on_the_run() -> None:
    world = World(running(external_id=OTHER_ARN), tasks=[task_of(running(), started_at=ago(30_000))])
    await world.scan()
    assert (world.stopped, world.runs.writes) == ([ARN], [])


async def test_a_task_that_ecs_lists_and_will_not_describe_is_not_judged() -> None:
    hidden = task_of(over("r2"), arn=OTHER_ARN)
    world = World(over(), over("r2"), tasks=[task_of(over()), hidden])
    world.tasks.unreadable.add(OTHER_ARN)
    await world.scan()
    assert world.stopped == [f"{ARN}-r1"]
    assert world.report["not_reached"]["tasks"] == 1


# Dry run, cap, drain.


async def test_a_drain_does_not_wait_for_the_reads_of_a_scan() -> None:
    world = World(over(), tasks=[task_of(over())])
    drain = Drain()

    class Slow(FakeTasks):
        async def describe(
            self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
        ) -> Described:
            drain.begin()
            await world.clock.sleep(50)
            return await super().describe(cluster, arns, priority=priority, tags=tags)

    world.tasks = Slow(task_of(over()))
    world.restarted()
    with pytest.raises(Transient, match="nothing was judged"):
        await world.scan(drain)
    assert (world.clock.now(), world.stopped) == (NOW, [])


async def test_a_dry_run_reports_and_stops_nothing() -> None:
    world = World(over(), tasks=[task_of(over())], dry_run=True)
    data = await world.scan()
    assert data["summary"] == {"total_running": 1, "orphans_found": 1, "tasks_stopped": 0, "dry_run": True}
    assert (world.stopped, world.runs.writes) == ([], [])


async def test_more_orphans_than_the_cap_are_reported_and_not_stopped() -> None:
    runs = [over(f"run-{n}") for n in range(3)]
    world = World(*runs, tasks=[task_of(run) for run in runs], max_stops_per_scan=2)
    data = await world.scan()
    assert (data["summary"]["orphans_found"], world.stopped) == (3, [])


async def test_a_drain_that_begins_between_two_stops_ends_those_under_way_and_stops_nothing_more() -> None:
    drain = Drain()

    class Draining(FakeTasks):
        async def stop(self, cluster: str, arn: str, *, reason: str) -> None:
            drain.begin()
            await super().stop(cluster, arn, reason=reason)

    runs = [over(f"run-{n}") for n in range(20)]
    world = World(*runs, max_stop_share=1.0)
    world.tasks = Draining(*map(task_of, runs))
    world.restarted()
    data = await world.scan(drain)
    assert len(world.stopped) == data["summary"]["tasks_stopped"]
    assert 1 <= len(world.stopped) <= STOPS_IN_FLIGHT


async def test_the_documented_figures_of_each_scan_go_to_cloudwatch() -> None:
    told: list[Mapping[str, float]] = []
    runs = [over("run-1"), over("run-2")]
    world = World(*runs, running(), tasks=[*map(task_of, runs), task_of(running())])
    world.loop._metrics = OrphanMetrics(CollectorRegistry(), told.append)
    world.tasks.next_error("stop", Permanent("AccessDenied"))
    await world.scan()
    assert told == [{"RunningTasksScanned": 3, "OrphanTasksFound": 2, "OrphanTasksStopped": 1}]


async def test_a_keep_tag_that_is_no_date_keeps_its_task_and_is_warned_of_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World(over(), tasks=[task_of(over(), tags={"dagy:keep": "until friday"})])
    await world.scan()
    assert world.stopped == []
    assert world.metric("dagy_orphans_tasks", verdict="keep_unclear") == 1
    warning = next(line for line in capsys.readouterr().out.splitlines() if "keep tags that are no date" in line)
    assert f"{ARN}-r1" in warning


async def test_state_tables_without_a_name_are_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(switched_off=("retraining",))
    await world.scan()
    await world.scan()
    assert capsys.readouterr().out.count("state tables without a name") == 1
