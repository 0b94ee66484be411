"""The worker's first act and its last: who may claim, and where a result ends up when the world is in trouble."""

from datetime import timedelta
from typing import Any

import pytest
from typing_extensions import override

from dagy_control.errors import DagyError, Permanent, Transient
from dagy_control.model.lifecycle import Refused, request_cancel
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunStatus, StopCause, WorkerResult, applied
from dagy_control.worker.claim import CLAIM_TRIES, claim
from dagy_control.worker.result import ResultLost, commit
from tests.builders import ARN, NOW, OTHER_ARN, a_run, ago, committed, launching, result, running, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeResults
from tests.fakes.runs import FakeRuns

DOWN = Transient("the table is down")
FAILED = result(ResultStatus.FAILED, failure_class=FailureClass.USER_ERROR, message="no such customer")
TIMEOUT_S = 30.0


class World:
    """One run, one worker, a clock."""

    def __init__(self, *runs: Run) -> None:
        self.clock = VirtualClock()
        self.runs = FakeRuns(*runs)
        self.results = FakeResults()
        self.writer = writer_of(self.runs, self.clock)

    @property
    def run(self) -> Run:
        return self.runs.records["r1"]

    async def claim(self, *, attempt: int = 1, task_arn: str = ARN) -> Run | Refused:
        return await self.clock.run(
            claim(self.runs, self.writer, self.clock, run_id="r1", attempt=attempt, task_arn=task_arn), limit_s=600
        )

    async def commit(self, word: WorkerResult, run: Run | None = None) -> Run | Refused | None:
        return await self.clock.run(
            commit(
                run or self.run,
                word,
                writer=self.writer,
                results=self.results,
                clock=self.clock,
                timeout_s=TIMEOUT_S,
            ),
            limit_s=600,
        )


# The claim.


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(launching(), id="launching: the daemon has no reply yet"),
        pytest.param(running(started_at=None), id="running: the daemon was first"),
    ],
)
async def test_a_claim_makes_the_run_running_with_this_task(run: Run) -> None:
    world = World(run)
    claimed = await world.claim()
    assert claimed == world.run
    assert (world.run.status, world.run.external_id, world.run.started_at) == (RunStatus.RUNNING, ARN, NOW)


@pytest.mark.parametrize(
    ("run", "attempt", "why"),
    [
        pytest.param(a_run(), 1, "QUEUED", id="queued again"),
        pytest.param(a_run(RunStatus.SUCCEEDED), 1, "SUCCEEDED", id="over"),
        pytest.param(a_run(RunStatus.CANCELLED), 1, "CANCELLED", id="cancelled"),
        pytest.param(running(attempt=2), 1, "attempt 2", id="a later attempt"),
        pytest.param(running(), 2, "attempt 1", id="an attempt that never was"),
        pytest.param(launching(cancel_requested_at=ago(1)), 1, "cancel", id="a cancel on record"),
        pytest.param(launching(stop_cause=StopCause.START_TIMEOUT), 1, "START_TIMEOUT", id="being stopped"),
        pytest.param(running(external_id=OTHER_ARN), 1, OTHER_ARN, id="another task has it"),
    ],
)
async def test_a_claim_is_refused_with_the_reason_and_writes_nothing(run: Run, attempt: int, why: str) -> None:
    world = World(run)
    refused = await world.claim(attempt=attempt)
    assert isinstance(refused, Refused)
    assert why in refused.reason
    assert world.run == run
    assert world.runs.writes == []


async def test_a_run_that_does_not_exist_cannot_be_claimed() -> None:
    assert await World().claim() == Refused("there is no run r1")


async def test_a_lost_reply_of_the_claim_is_still_our_claim() -> None:
    world = World(launching())
    world.runs.next_error("change", DOWN, applied=True)
    assert await world.claim() == world.run
    assert len(world.runs.writes) == 1


async def test_a_claim_that_meets_the_daemons_record_of_the_same_task_decides_again() -> None:
    """The daemon's write of the ARN lands between the worker's read and its write."""
    world = World(launching())
    stale = world.run
    world.runs.seed(running(started_at=None, version=8))
    world.runs.get = _returning(stale)  # type: ignore[method-assign]  # the one stale read that the race needs
    claimed = await world.claim()
    assert isinstance(claimed, Run)
    assert claimed.version == 9


async def test_a_claim_that_meets_a_cancel_is_refused() -> None:
    world = World(launching())
    stale = world.run
    change = request_cancel(stale, now=NOW, by="request")
    assert change is not None
    world.runs.seed(applied(stale, change, "op-cancel"))
    world.runs.get = _returning(stale)  # type: ignore[method-assign]  # the one stale read that the race needs
    assert await world.claim() == Refused("a cancel is on record")


def _returning(run: Run) -> Any:
    async def get(_run_id: str) -> Run:
        return run

    return get


async def test_a_table_that_comes_back_in_time_is_waited_for() -> None:
    world = World(launching())
    world.runs.next_error("get", DOWN, times=CLAIM_TRIES - 1)
    assert isinstance(await world.claim(), Run)


@pytest.mark.parametrize("method", ["get", "change"])
async def test_a_table_that_stays_down_ends_the_claim_by_raising(method: str) -> None:
    world = World(launching())
    world.runs.next_error(method, DOWN, times=99)
    with pytest.raises(Transient):
        await world.claim()
    assert world.runs.writes == []
    assert world.clock.now() - NOW < timedelta(minutes=1), "a task that does nothing is paid for"


# The result.


@pytest.mark.parametrize(
    ("word", "status"),
    [
        pytest.param(result(), RunStatus.SUCCEEDED, id="success"),
        pytest.param(FAILED, RunStatus.FAILED, id="failure of the user's, no budget left"),
        pytest.param(
            result(ResultStatus.FAILED, failure_class=FailureClass.SHUTDOWN), RunStatus.RUNNING, id="shutdown: a hint"
        ),
    ],
)
async def test_a_result_is_committed_with_the_status_that_it_makes_final(word: WorkerResult, status: RunStatus) -> None:
    world = World(running())
    written = await world.commit(word)
    assert written == world.run
    assert world.run.status is status
    assert world.run.committed_result == word
    assert world.results.records == {}


async def test_a_failure_with_budget_left_leaves_the_run_to_whoever_starts_the_next_attempt() -> None:
    world = World(running(max_attempts=2))
    await world.commit(FAILED)
    assert world.run.status is RunStatus.RUNNING
    assert world.run.committed_result == FAILED


@pytest.mark.parametrize("infra_failures", [0, 3, 50])
async def test_how_many_infrastructure_failures_are_borne_is_the_daemons_to_say(infra_failures: int) -> None:
    """The bound is a setting of the daemon (reconciling.max_infra_failures), of which a worker knows nothing."""
    world = World(running(attempt=infra_failures + 1, infra_failures=infra_failures))
    word = result(ResultStatus.FAILED, attempt=infra_failures + 1, failure_class=FailureClass.INFRASTRUCTURE)
    await world.commit(word)
    assert world.run.status is RunStatus.RUNNING
    assert world.run.committed_result == word


async def test_a_result_after_a_cancel_makes_the_run_cancelled_and_is_kept() -> None:
    world = World(running())
    claimed = world.run
    change = request_cancel(claimed, now=NOW, by="request")
    assert change is not None
    world.runs.seed(applied(claimed, change, "op-cancel"))
    await world.commit(result(), claimed)
    assert world.run.status is RunStatus.CANCELLED
    assert world.run.result_status is ResultStatus.SUCCEEDED


@pytest.mark.parametrize(
    "now_it_is",
    [
        pytest.param(running(version=9, external_id=OTHER_ARN), id="another task"),
        pytest.param(running(version=9, attempt=2), id="another attempt"),
        pytest.param(a_run(version=9), id="queued again"),
        pytest.param(a_run(RunStatus.FAILED, version=9, external_id=ARN), id="ended by the reconciler"),
        pytest.param(running(version=9, **committed(FAILED)), id="a result is on record"),
    ],
)
async def test_the_result_of_a_superseded_worker_is_refused_and_changes_nothing(now_it_is: Run) -> None:
    world = World(now_it_is)
    refused = await world.commit(result(), running())
    assert isinstance(refused, Refused)
    assert world.run == now_it_is
    assert world.results.records == {}, "a refused result must not come back by way of S3"


async def test_a_lost_reply_of_the_commit_is_a_success_and_written_once() -> None:
    world = World(running())
    world.runs.next_error("change", DOWN, applied=True)
    assert await world.commit(result()) == world.run
    assert world.run.status is RunStatus.SUCCEEDED
    assert len(world.runs.writes) == 1
    assert world.results.records == {}


async def test_a_reply_lost_until_every_try_of_one_write_is_over_is_still_a_success() -> None:
    """After four tries the write is decided anew, with a new id: the result on record is then our own."""
    world = World(running())
    world.runs.next_error("change", DOWN, applied=True)
    world.runs.next_error("change", DOWN, times=3)
    written = await world.commit(result())
    assert world.run.status is RunStatus.SUCCEEDED
    assert isinstance(written, Run), "our own result must not be called superseded"


@pytest.mark.parametrize("error", [DOWN, Permanent("access denied")], ids=["down", "refused"])
async def test_a_table_that_cannot_be_written_leaves_the_result_in_s3(error: DagyError) -> None:
    world = World(running())
    world.runs.next_error("change", error, times=999)
    assert await world.commit(FAILED) is None
    assert world.results.records == {("r1", 1, ARN): FAILED}
    assert world.clock.now() - NOW <= timedelta(seconds=TIMEOUT_S)


async def test_an_endless_message_is_cut_before_it_is_kept_anywhere() -> None:
    """The S3 object of a result is read up to a limit; beyond it a run would stay undecided for ever."""
    world = World(running())
    world.runs.next_error("change", DOWN, times=999)
    await world.commit(result(ResultStatus.FAILED, message="x" * 1_000_000))
    (kept,) = world.results.records.values()
    assert len(kept.message) == 2000


async def test_a_message_that_no_utf8_can_hold_is_kept_with_question_marks() -> None:
    world = World(running())
    await world.commit(result(ResultStatus.FAILED, message="no file \udcff.csv"))
    assert world.run.result_message == world.run.error_message == "no file ?.csv"


class HangingRuns(FakeRuns):
    """A table that never answers a write."""

    clock: VirtualClock

    @override
    async def change(self, change: Any, op_id: str) -> Run:
        await self.clock.sleep(10_000)
        return await super().change(change, op_id)


async def test_a_table_that_hangs_leaves_the_result_in_s3_when_the_time_is_over() -> None:
    world = World(running())
    hanging = HangingRuns(running())
    hanging.clock = world.clock
    world.writer = writer_of(hanging, world.clock)
    assert await world.commit(FAILED) is None
    assert world.results.records == {("r1", 1, ARN): FAILED}
    assert world.clock.now() - NOW == timedelta(seconds=TIMEOUT_S)


async def test_with_table_and_s3_down_for_good_the_commit_raises() -> None:
    world = World(running())
    world.runs.next_error("change", DOWN, times=9999)
    world.results.next_error("put", Transient("S3 is down"), times=9999)
    with pytest.raises(ResultLost, match="S3"):
        await world.commit(FAILED)
    assert world.run.committed_result is None
    assert world.clock.now() - NOW > timedelta(minutes=2), "a result is worth the wait"


@pytest.mark.parametrize(
    ("table_calls", "s3_calls"), [(45, 9999), (9999, 6)], ids=["the table comes back", "S3 comes back"]
)
async def test_with_both_down_for_a_while_the_result_is_kept_by_whichever_comes_back(
    table_calls: int, s3_calls: int
) -> None:
    world = World(running())
    world.runs.next_error("change", DOWN, times=table_calls)
    world.results.next_error("put", Transient("S3 is down"), times=s3_calls)
    await world.commit(FAILED)
    assert world.clock.now() - NOW > timedelta(seconds=TIMEOUT_S)
    kept = [word for word in (world.run.committed_result, *world.results.records.values()) if word]
    assert kept == [FAILED]


@pytest.mark.parametrize("status", [ResultStatus.SUCCEEDED, ResultStatus.FAILED])
async def test_a_throttled_table_takes_the_result_in_the_end(status: ResultStatus) -> None:
    world = World(running())
    world.runs.next_error("change", Transient("slow down", throttled=True), times=12)
    await world.commit(result(status))
    assert world.run.result_status is status
    assert world.results.records == {}


class HangingResults(FakeResults):
    """An S3 that never answers."""

    clock: VirtualClock

    @override
    async def put(self, run_id: str, task_arn: str, result: WorkerResult) -> None:
        await self.clock.sleep(10_000)
        await super().put(run_id, task_arn, result)


async def test_an_s3_that_hangs_gives_the_table_its_next_turn() -> None:
    world = World(running())
    world.results = hanging = HangingResults()
    hanging.clock = world.clock
    world.runs.next_error("change", DOWN, times=30)
    await world.commit(FAILED)
    assert world.run.committed_result == FAILED
