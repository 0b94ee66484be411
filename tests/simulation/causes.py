"""Invariants about causes: what an attempt is said to have ended by, and what a task is stopped for, is true."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from dagy_control.model.runs import FailureClass, Run, RunChange, StopCause
from tests.simulation.truth import Truth
from tests.simulation.violation import check

USERS_OWN = frozenset({FailureClass.USER_ERROR, FailureClass.NO_RESULT, FailureClass.SHUTDOWN})
"""Failures that need a worker past its claim: before it, nothing of the user's has run."""

NO_TASK = frozenset({FailureClass.LAUNCH_PERMISSION, FailureClass.LAUNCH_CONFIGURATION})
"""Failures that say that ECS has made no task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the policies of the daemons allow, as the invariants know it by themselves. Times in seconds.

    `clocks_differ_s`: by so much two daemons' wall clocks may differ.
    """

    installation: str
    max_stops: int
    max_stop_share: float
    min_running_for_share: int
    max_runtime_s: float
    start_timeout_s: float
    result_linger_s: float
    clocks_differ_s: float


def check_class(truth: Truth, run: Run, *, claimed: Collection[str], made: Collection[str]) -> None:
    """10: the failure class is true. `claimed`, `made`: the tasks that have claimed the attempt, and those made for its last try."""
    check(
        bool(claimed) or run.failure_class not in USERS_OWN,
        f"10: {run.run_id} is {run.failure_class}, but nothing has run",
    )
    if run.failure_class in NO_TASK:
        check(not made, f"10: {run.run_id} is {run.failure_class}, but RunTask had made a task")
    if run.external_id is None:
        return
    if run.failure_class is FailureClass.LOST:
        check(not truth.is_known(run.external_id), f"10: {run.run_id} is LOST, but ECS knows its task")
    if run.failure_class is FailureClass.SHUTDOWN:
        reclaimed = truth.was_reclaimed(run.external_id)
        check(not reclaimed, f"10: {run.run_id} is SHUTDOWN, but Spot reclaimed its task")


def check_end(truth: Truth, before: Run, after: Run, change: RunChange) -> None:
    """10: what an attempt is said to have ended by is what it has ended by, where nothing else is on record.

    A SHUTDOWN of the worker is only a hint: ECS says why it was told to stop.
    """
    arn, left, committed = before.external_id, truth.left(before), before.committed_result
    decided = before.stop_cause is not None or before.cancel_requested_at is not None
    if arn is None or decided or change.transition is None:
        return
    if "result_status" in change.fields:
        return  # the worker's own word, which may take effect when ECS has ended its task for another reason meanwhile
    if any(result is not None and result.failure_class is not FailureClass.SHUTDOWN for result in (left, committed)):
        return
    means = truth.end_of(arn)
    if means is FailureClass.STOPPED and left is not None:
        return  # one that only lies in S3 may have come after the task was judged
    if means is FailureClass.STOPPED and committed is not None:
        means = FailureClass.SHUTDOWN
    said = change.transition.why.partition(":")[0]
    check(
        means is None or said in (means, FailureClass.LOST), f"10: {after.run_id} has ended by {means}, not by {said}"
    )


def check_stop_cause(truth: Truth, limits: Limits, run: Run, cause: StopCause) -> None:
    """3: a task is stopped for what is so. The run is as it was before the cause was written."""
    run_s = truth.running_for_s(run.external_id or "")
    late_s = _since_s(truth, run.active_since)
    lingers_s = _since_s(truth, run.result_at)
    holds = {
        StopCause.CANCELLED: run.cancel_requested_at is not None,
        StopCause.TIMED_OUT: run_s > limits.max_runtime_s - limits.clocks_differ_s,
        StopCause.START_TIMEOUT: run.started_at is None and late_s >= limits.start_timeout_s - limits.clocks_differ_s,
        StopCause.LINGERING: run.committed_result is not None
        and lingers_s >= limits.result_linger_s - limits.clocks_differ_s,
    }
    check(
        holds.get(cause, False),
        f"3: {run.run_id} is to be stopped as {cause}: its task runs for {run_s:.0f} s, the run for {late_s:.0f} s, "
        f"its result is {lingers_s:.0f} s old",
    )


def _since_s(truth: Truth, moment: datetime | None) -> float:
    return 0.0 if moment is None else (truth.now() - moment).total_seconds()
