"""The reconciling loop over stateful fakes: lost tasks, stale pages, failures of one service or another, cancels."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typing_extensions import override

from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.telemetry import configure_logging
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import commit_result, record_stop_cause, request_cancel
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunChange, RunStatus, StopCause, applied
from dagy_control.model.tasks import SeenTask
from dagy_control.ports.tasks import Described, ReadPriority
from dagy_control.reconciling.decide import ReconcilePolicy
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import PassSummary, ReconcilingMetrics
from tests.builders import (
    ARN,
    CLUSTER,
    NOW,
    WORKER,
    ago,
    committed,
    result,
    running,
    stopped,
    task_of,
    tick_at,
    writer_of,
)
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeResults
from tests.fakes.permit import FakePermit
from tests.fakes.runs import FakeRuns
from tests.fakes.tasks import FakeTasks

LARGE = TaskSize(2048, 4096)
FAILURE = result(ResultStatus.FAILED, failure_class=FailureClass.USER_ERROR)


class World:
    """One reconciling loop; `restarted` forgets what it remembered."""

    def __init__(self, *runs: Run, tasks: list[SeenTask] | None = None, **policy: Any) -> None:
        self.clock = VirtualClock()
        self.runs = FakeRuns(*runs, page_size=policy.pop("page_size", 100))
        self.tasks = FakeTasks(*(tasks or []), stops_at_once=False)
        self.results = FakeResults()
        self.policy = ReconcilePolicy(container_name=WORKER, default_cluster=CLUSTER, **policy)
        self.loop = self.restarted()

    def restarted(self) -> ReconcilingLoop:
        effects = ReconcilingEffects(self.runs, self.tasks, self.results, writer_of(self.runs, self.clock), self.clock)
        self.loop = ReconcilingLoop(self.policy, effects, ReconcilingMetrics(CollectorRegistry()), self.clock)
        return self.loop

    async def reconcile(self, drain: Drain | None = None) -> PassSummary:
        return await self.clock.run(self.loop.reconcile(tick_at(self.clock, drain)))

    @property
    def run(self) -> Run:
        return self.runs.records["r1"]

    def write(self, change: object) -> None:
        """Another writer is faster."""
        assert isinstance(change, RunChange)
        self.runs.seed(applied(self.runs.records[change.run_id], change, "somebody"))


def many(count: int, **values: Any) -> list[Run]:
    return [running(run_id=f"run-{n:03}", external_id=f"{ARN}-{n:03}", **values) for n in range(count)]


async def test_a_task_that_failed_to_start_with_no_containers_fails_its_run() -> None:
    run = running(infra_failures=3, attempt=4)
    why = {"stop_code": "TaskFailedToStart", "stopped_reason": "CannotPullContainerError: not found"}
    world = World(run, tasks=[stopped(run, containers=(), started_at=None, **why)])
    summary = await world.reconcile()
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.IMAGE_PULL)
    assert (summary.checked, summary.updated, summary.by_outcome) == (1, 1, {"IMAGE_PULL": 1})


async def test_a_stopped_task_without_an_exit_code_ends_its_run() -> None:
    world = World(running(), tasks=[stopped(running(), None, stop_code="SpotInterruption")])
    await world.reconcile()
    assert (world.run.status, world.run.attempt, world.run.infra_failures) == (RunStatus.QUEUED, 2, 1)


async def test_a_pass_is_idempotent_and_at_rest_writes_nothing() -> None:
    world = World(running(), *many(3), tasks=[stopped(running()), *map(task_of, many(3))])
    await world.reconcile()
    writes = len(world.runs.writes)
    assert writes == 1
    await world.reconcile()
    assert len(world.runs.writes) == writes


async def test_three_hundred_tasks_take_three_calls_of_a_hundred() -> None:
    runs = many(300)
    world = World(*runs, tasks=[task_of(run) for run in runs], page_size=1000)
    summary = await world.reconcile()
    assert summary.checked == 300
    assert sum(len(arns) for _, arns in world.tasks.described) == 300
    assert max(len(arns) for _, arns in world.tasks.described) <= 100


async def test_a_task_is_asked_for_in_its_records_own_cluster() -> None:
    run = running(cluster="other")
    world = World(run, tasks=[stopped(run, cluster="other")])
    await world.reconcile()
    assert world.run.status is RunStatus.FAILED


async def test_an_attempt_out_of_memory_goes_on_with_the_next_profile_and_says_so() -> None:
    run = running(workload_profile="small", cpu=256, memory=512)
    killed = stopped(run, 137, reason="OutOfMemoryError: Container killed due to memory usage")
    world = World(run, tasks=[killed], retry=RetryPolicy(profiles={"small": TaskSize(256, 512), "large": LARGE}))
    await world.reconcile()
    assert (world.run.status, world.run.attempt, world.run.user_failures) == (RunStatus.QUEUED, 2, 0)
    assert (world.run.workload_profile, world.run.cpu, world.run.memory) == ("large", 2048, 4096)
    why = world.run.transitions[-1].why
    assert why.startswith("OUT_OF_MEMORY: ")
    assert why.endswith("; next attempt with large: 2048 CPU / 4096 MiB")


async def test_out_of_memory_that_the_surviving_worker_reports_takes_the_next_profile_too() -> None:
    policy = RetryPolicy(profiles={"small": TaskSize(256, 512), "large": LARGE})
    run = running(workload_profile="small", cpu=256, memory=512, max_attempts=1)
    word = result(ResultStatus.FAILED, failure_class=FailureClass.OUT_OF_MEMORY, message="Task hog FAILED: OutOfMemory")
    world = World(run, tasks=[stopped(run, 1)], retry=policy)
    world.write(commit_result(run, word, RetryPolicy(max_infra_failures=sys.maxsize), task_arn=ARN, now=NOW))
    assert world.run.status is RunStatus.RUNNING, "a worker does not know what sizes the daemon has"
    await world.reconcile()
    assert (world.run.status, world.run.attempt, world.run.workload_profile) == (RunStatus.QUEUED, 2, "large")


async def test_out_of_memory_without_a_larger_profile_is_final_with_the_workers_words() -> None:
    run = running(max_attempts=1)
    word = result(ResultStatus.FAILED, failure_class=FailureClass.OUT_OF_MEMORY, message="Task hog FAILED: OutOfMemory")
    world = World(run, tasks=[stopped(run, 1)])
    world.write(commit_result(run, word, world.policy.retry, task_arn=ARN, now=NOW))
    await world.reconcile()
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.OUT_OF_MEMORY)
    assert "Task hog FAILED: OutOfMemory" in (world.run.error_message or "")


# Missing.


async def test_young_missing_is_not_dead() -> None:
    world = World(running(for_s=400, launch_sent_at=ago(430)))
    for _ in range(5):
        await world.reconcile()
    assert world.run.status is RunStatus.RUNNING


async def test_old_missing_is_lost_only_when_two_passes_in_a_row_miss_it_and_is_never_relaunched() -> None:
    world = World(running(max_attempts=9))
    await world.reconcile()
    assert world.run.status is RunStatus.RUNNING
    await world.reconcile()
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.LOST)


async def test_a_task_that_reappears_between_two_passes_is_not_lost() -> None:
    world = World(running())
    await world.reconcile()
    world.tasks.add(task_of(world.run))
    await world.reconcile()
    world.tasks.forget(ARN)
    await world.reconcile()
    assert world.run.status is RunStatus.RUNNING


async def test_old_missing_with_a_result_in_s3_ends_by_that_result() -> None:
    world = World(running())
    world.results.records["r1", 1, ARN] = result()
    await world.reconcile()
    await world.reconcile()
    assert world.run.status is RunStatus.SUCCEEDED


async def test_a_pass_in_which_too_many_are_missing_ends_none_of_the_missing() -> None:
    over, *gone = many(20)
    world = World(over, *gone, tasks=[stopped(over)])
    for _ in range(4):
        await world.reconcile()
    statuses = [run.status for run in world.runs.records.values()]
    assert statuses == [RunStatus.FAILED, *[RunStatus.RUNNING] * 19]


async def test_a_task_that_ecs_will_not_look_at_is_undecided_and_spoils_no_other() -> None:
    bad, *others = many(3)
    world = World(bad, *others, tasks=[stopped(run) for run in others])
    world.tasks.unreadable.add(str(bad.external_id))
    for _ in range(3):
        await world.reconcile()
    statuses = [run.status for run in world.runs.records.values()]
    assert statuses == [RunStatus.RUNNING, RunStatus.FAILED, RunStatus.FAILED]


async def test_a_task_that_ecs_will_not_look_at_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    bad, *others = many(2)
    world = World(bad, *others)
    world.tasks.unreadable.add(str(bad.external_id))
    configure_logging(level="WARNING")
    await world.reconcile()
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines() if "UNREADABLE" in text]
    assert (line["event_type"], line["runs"], line["run_ids"]) == ("RUN_TASKS_UNREADABLE", 1, [bad.run_id])
    assert "external_id" in line["remedy"]


# Races: a page of the index is always a little old.


async def test_a_stale_index_page_never_overwrites_a_success() -> None:
    world = World(running(), tasks=[stopped(running(), 1)])
    world.runs.freeze_index()
    world.write(commit_result(world.run, result(), world.policy.retry, task_arn=ARN, now=NOW))
    summary = await world.reconcile()
    assert world.run.status is RunStatus.SUCCEEDED
    assert (summary.updated, summary.errors) == (0, 0)


async def test_a_stale_index_page_never_overwrites_a_committed_failure_that_waits_for_its_retry() -> None:
    world = World(running(max_attempts=2), tasks=[stopped(running(), 1)])
    world.runs.freeze_index()
    world.write(commit_result(world.run, FAILURE, world.policy.retry, task_arn=ARN, now=NOW))
    await world.reconcile()
    assert (world.run.status, world.run.attempt) == (RunStatus.QUEUED, 2)
    assert world.run.transitions[-1].why == "USER_ERROR: done"


async def test_a_stale_index_page_never_overlooks_a_cancel() -> None:
    world = World(running(max_attempts=5), tasks=[stopped(running(), 1)])
    world.runs.freeze_index()
    world.write(request_cancel(world.run, now=NOW, by="test"))
    summary = await world.reconcile()
    assert world.run.status is RunStatus.CANCELLED
    assert summary.by_outcome == {"CANCELLED": 1}, "what was written counts, not what the stale page had looked like"


async def test_a_stale_index_page_never_ends_the_next_attempt() -> None:
    world = World(running(), tasks=[stopped(running(), 1)])
    world.runs.freeze_index()
    world.runs.seed(running(attempt=2, external_id="arn:new", version=20))
    await world.reconcile()
    assert (world.run.status, world.run.attempt, world.run.version) == (RunStatus.RUNNING, 2, 20)


async def test_a_stale_index_page_never_forgets_a_result_in_s3() -> None:
    world = World(running(), tasks=[stopped(running(), 0)])
    world.results.records["r1", 1, ARN] = result()
    world.runs.freeze_index()
    world.write(record_stop_cause(world.run, StopCause.TIMED_OUT, now=NOW, by="test"))
    await world.reconcile()
    assert world.run.status is RunStatus.SUCCEEDED


async def test_a_write_whose_reply_was_lost_is_one_write() -> None:
    world = World(running(), tasks=[stopped(running(), None, stop_code="SpotInterruption")])
    world.runs.next_error("change", Transient("lost"), applied=True)
    summary = await world.reconcile()
    assert (world.run.attempt, len(world.runs.writes), summary.updated) == (2, 1, 1)


# Trouble with one service or another.


async def test_an_unreadable_s3_is_undecided_not_lost() -> None:
    other = running(run_id="r2", external_id=f"{ARN}-2")
    world = World(running(), other, tasks=[stopped(running(), 0), stopped(other, 1)])
    world.results.next_error("get", Permanent("AccessDenied"))
    summary = await world.reconcile()
    assert summary.errors == 1
    assert sorted(run.status for run in world.runs.records.values()) == [RunStatus.FAILED, RunStatus.RUNNING]


async def test_a_failed_describe_ends_nothing_and_loses_nothing() -> None:
    world = World(running(), tasks=[stopped(running())])
    world.tasks.next_error("describe", Transient("throttled", throttled=True), times=4)
    with pytest.raises(Transient):
        await world.reconcile()
    assert world.run.status is RunStatus.RUNNING
    await world.reconcile()
    assert world.run.status is RunStatus.FAILED


async def test_a_throttled_describe_is_repeated_within_the_pass() -> None:
    world = World(running(), tasks=[stopped(running())])
    world.tasks.next_error("describe", Transient("throttled", throttled=True), times=3)
    summary = await world.reconcile()
    assert (summary.updated, summary.errors, world.tasks.calls.count("describe")) == (1, 0, 4)


class GoneCluster(FakeTasks):
    """ECS, after the cluster `gone` was deleted."""

    @override
    async def describe(
        self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
    ) -> Described:
        if cluster == "gone":
            raise Permanent("Cluster not found.", code="ClusterNotFoundException")
        return await super().describe(cluster, arns, priority=priority, tags=tags)


@pytest.mark.parametrize("page_size", [1, 100], ids=["on a page of its own", "beside others"])
async def test_a_run_of_a_deleted_cluster_spoils_no_other_and_the_pass_says_so_in_the_end(page_size: int) -> None:
    stray, over, gone = many(3)
    world = World(replace(stray, cluster="gone"), over, gone, page_size=page_size)
    world.tasks = GoneCluster(stopped(over))
    world.restarted()
    for _ in range(2):
        with pytest.raises(Permanent, match="Cluster not found"):
            await world.reconcile()
    classes = [world.runs.records[run.run_id].failure_class for run in (stray, over, gone)]
    assert classes == [None, FailureClass.USER_ERROR, FailureClass.LOST]
    assert world.runs.records[stray.run_id].status is RunStatus.RUNNING, "unreadable means undecided"


async def test_a_failing_write_of_one_run_does_not_halt_the_others() -> None:
    runs = many(5)
    world = World(*runs, tasks=[stopped(run) for run in runs])
    world.runs.next_error("change", Permanent("item too large"))
    summary = await world.reconcile()
    assert (summary.updated, summary.errors) == (4, 1)


async def test_a_pass_that_is_drained_ends_between_two_effects() -> None:
    runs = many(5)
    world = World(*runs, tasks=[stopped(run) for run in runs])
    drain = Drain()
    drain.begin()
    summary = await world.reconcile(drain)
    assert (summary.updated, world.runs.writes, world.tasks.described) == (0, [], [])


async def test_a_drain_does_not_wait_for_the_reads_of_a_page() -> None:
    world = World(running(), tasks=[stopped(running())])
    drain = Drain()

    class Slow(FakeTasks):
        @override
        async def describe(
            self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
        ) -> Described:
            drain.begin()
            await world.clock.sleep(50)
            return await super().describe(cluster, arns, priority=priority, tags=tags)

    world.tasks = Slow(stopped(running()))
    world.restarted()
    summary = await world.reconcile(drain)
    assert (world.clock.now(), summary.checked, world.run.status) == (NOW, 0, RunStatus.RUNNING)


class FlickeringLease(FakePermit):
    """Held but for the one time when it is asked after the first describe."""

    def __init__(self, tasks: FakeTasks) -> None:
        super().__init__()
        self._tasks = tasks
        self._flickered = False

    @property
    @override
    def held(self) -> bool:
        lost_now = not self._flickered and bool(self._tasks.described)
        self._flickered = self._flickered or lost_now
        return not lost_now


async def test_a_pass_cut_short_by_a_lost_lease_ends_no_missing_run_even_if_the_lease_comes_back() -> None:
    world = World(*many(250), missing_share_min_tasks=1000, describe_concurrency=1)
    await world.reconcile()
    world.tasks.described.clear()
    summary = await world.clock.run(
        world.loop.reconcile(replace(tick_at(world.clock), permit=FlickeringLease(world.tasks)))
    )
    assert (summary.checked, summary.missing, world.runs.writes) == (100, 100, [])
    await world.reconcile()
    assert {run.status for run in world.runs.records.values()} == {RunStatus.FAILED}


# Stopping.


async def test_a_cancel_recorded_before_the_stop_ends_cancelled_whatever_the_exit() -> None:
    world = World(running(for_s=5), tasks=[task_of(running())])
    world.write(request_cancel(world.run, now=NOW, by="test"))
    summary = await world.reconcile()
    assert (summary.stopped, world.run.status, world.run.stop_cause) == (1, RunStatus.RUNNING, StopCause.CANCELLED)
    world.tasks.finish(ARN, exit_code=0, stop_code="UserInitiated")
    await world.reconcile()
    assert world.run.status is RunStatus.CANCELLED


async def test_the_stop_cause_is_on_record_before_stop_task_and_a_failed_stop_is_repeated() -> None:
    world = World(running(for_s=900, started_at=None), tasks=[task_of(running(), last_status="PENDING")])
    world.tasks.next_error("stop", Transient("no"))
    summary = await world.reconcile()
    assert (summary.errors, world.run.stop_cause, world.tasks.stops) == (1, StopCause.START_TIMEOUT, [])
    await world.reconcile()
    assert [arn for arn, _ in world.tasks.stops] == [ARN]
    await world.reconcile()
    assert len(world.tasks.stops) == 1  # it is stopping already
    world.tasks.finish(ARN, exit_code=None, stop_code="UserInitiated")
    await world.reconcile()
    assert (world.run.status, world.run.attempt, world.run.infra_failures) == (RunStatus.QUEUED, 2, 1)
    assert world.run.transitions[-1].why.startswith("START_TIMEOUT")


async def test_a_worker_that_claims_in_the_last_moment_is_not_stopped_for_a_late_start() -> None:
    world = World(running(for_s=900, started_at=None), tasks=[task_of(running())])
    world.runs.freeze_index()
    world.runs.seed(running(for_s=900, started_at=NOW, version=world.run.version + 1))
    await world.reconcile()
    assert (world.tasks.stops, world.run.stop_cause) == ([], None)


async def test_a_worker_that_outlives_its_failed_result_is_stopped_and_the_result_stands() -> None:
    run = running(max_attempts=2, **{**committed(FAILURE), "result_at": ago(500)})
    world = World(run, tasks=[task_of(run)])
    await world.reconcile()
    assert [arn for arn, _ in world.tasks.stops] == [ARN]
    world.tasks.finish(ARN, exit_code=137, stop_code="UserInitiated")
    await world.reconcile()
    assert (world.run.attempt, world.run.user_failures) == (2, 1)


async def test_a_task_of_a_record_without_cluster_is_stopped_where_it_was_found() -> None:
    run = running(cluster=None, cancel_requested_at=ago(1))
    world = World(run, tasks=[task_of(run)])
    await world.reconcile()
    assert [arn for arn, _ in world.tasks.stops] == [ARN]


async def test_the_log_line_and_the_manual_command_get_the_documented_figures() -> None:
    world = World(running(), tasks=[stopped(running())])
    summary = await world.reconcile()
    figures = {"checked": 1, "updated": 1, "errors": 0, "by_outcome": {"USER_ERROR": 1}}
    assert figures.items() <= summary.as_dict().items()
