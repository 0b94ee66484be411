"""Every change that a run's record can undergo, as pure functions from the record to one conditional write.

The loops, the worker and the requests all change runs through these, so a rule about a run's life stands in one place.
`protocol_model.py` of the design explores this protocol's interleavings; the names of its steps are the names here.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from dagy_control.model.cost import PriceTable
from dagy_control.model.failures import Budget, RetryPolicy, next_budget, next_size, retry_delay_s
from dagy_control.model.hashing import jittered
from dagy_control.model.launch_failure import LaunchFailure, LaunchFailureKind
from dagy_control.model.outcomes import Ending, Outcome
from dagy_control.model.runs import (
    TRANSITIONS_KEPT_UNTIL_VERSION,
    ActiveRun,
    FailureClass,
    ResultStatus,
    Run,
    RunChange,
    RunStatus,
    StopCause,
    Transition,
    WorkerResult,
    launch_token,
)
from dagy_control.model.stop_evidence import Ended, ended_with
from dagy_control.model.tasks import SeenTask

_FORGET_ATTEMPT: dict[str, Any] = dict.fromkeys(
    (
        "external_id",
        "started_at",
        "stop_cause",
        "result_status",
        "result_attempt",
        "result_class",
        "result_message",
        "result_at",
        "launch_token",
        "launch_request",
        "launch_sent_at",
        "launching_at",
    )
)
"""What a new try or attempt starts without: the old task, its worker's claim and result, and the old launch."""

_THE_DAEMONS = frozenset({FailureClass.SHUTDOWN, FailureClass.OUT_OF_MEMORY})
"""Failures that a worker reports and does not judge: what comes of them is told by ECS, or by the daemon's configuration."""


def _change(
    run: ActiveRun, *, now: datetime, by: str, why: str, to: RunStatus | None = None, **values: object
) -> RunChange:
    """A change of `values`, and of the status when `to` is given, with what every change of status brings.

    Raises ValueError for a run that is over: no caller may ask for that, and here is where every change passes.
    """
    if run.status.is_terminal:
        raise ValueError(f"run {run.run_id} is {run.status}: a terminal run never changes")
    if to is None:
        return RunChange(run_id=run.run_id, expected_version=run.version, fields=values)
    values["status"] = to
    values["active_since"] = None if to.is_terminal else now
    if to.is_terminal:
        values["completed_at"] = now
        values["not_before"] = None
        if run.started_at is not None:
            values["duration_seconds"] = max(0.0, (now - run.started_at).total_seconds())
    transition = Transition(at=now, from_status=run.status, to_status=to, attempt=run.attempt, by=by, why=why[:500])
    keep = to.is_terminal or run.version < TRANSITIONS_KEPT_UNTIL_VERSION
    return RunChange(
        run_id=run.run_id, expected_version=run.version, fields=values, transition=transition if keep else None
    )


# Launching.


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRetryPolicy:
    """The bounds of launch tries. Throttling is never counted: nothing fails for it."""

    max_launch_tries: int = 7
    retry_delay_s: float = 15.0
    retry_delay_max_s: float = 300.0


def claim_launch(
    run: Run, *, request: str, provider: str, cluster: str, now: datetime, by: str, held: str = ""
) -> RunChange:
    """QUEUED → LAUNCHING: the intent, with token, exact request and time of sending, written before RunTask is called.

    `held`: what had held it back, in words; "" for nothing.
    """
    return _change(
        run,
        now=now,
        by=by,
        why=f"launch try {run.launch_try} on {provider}" + (f"; held back {held}" if held else ""),
        to=RunStatus.LAUNCHING,
        launching_at=now,
        launch_sent_at=now,
        launch_sends=1,
        launch_token=launch_token(run.run_id, run.attempt, run.launch_try),
        launch_request=request,
        capacity_provider=provider,
        cluster=cluster,
        not_before=None,
        exit_code=None,
        stop_code=None,
        stopped_reason=None,
    )


def renew_send(run: ActiveRun, *, now: datetime, by: str) -> RunChange:
    """The token is about to be sent again: from here on a failure of one send is not definite, since an earlier one is unresolved."""
    return _change(run, now=now, by=by, why="", launch_sent_at=now, launch_sends=run.launch_sends + 1)


def record_task(run: ActiveRun, *, task_arn: str, why: str, now: datetime, by: str) -> RunChange:
    """LAUNCHING → RUNNING: RunTask named the task, or it was found by `startedBy`."""
    return _change(run, now=now, by=by, why=why, to=RunStatus.RUNNING, external_id=task_arn)


def launch_failed(
    run: ActiveRun, failure: LaunchFailure, policy: LaunchRetryPolicy, *, now: datetime, by: str
) -> RunChange | None:
    """What a RunTask without a task leads to; None when an earlier send may have made one: the launch stays open."""
    if run.launch_sends > 1 and not failure.settles_token:
        return None
    if run.cancel_requested_at is not None:
        return _cancelled(run, now=now, by=by)
    if failure.kind in (LaunchFailureKind.THROTTLED, LaunchFailureKind.HELD):
        wait_s = failure.retry_after_s or 1.0
        return _requeue(run, now=now, by=by, why=f"{failure.kind}: {failure.text}", wait_s=wait_s)
    if failure.kind is LaunchFailureKind.PERMANENT:
        return _failed(run, failure.failure_class, _with_remedy(failure.text, failure.remedy), now=now, by=by)
    return _next_try(run, failure, policy, now=now, by=by)


def launch_not_found(run: ActiveRun, policy: LaunchRetryPolicy, *, now: datetime, by: str) -> RunChange:
    """The token has expired and ECS shows no task of the attempt: the next try; a cancel on record ends it instead."""
    if run.cancel_requested_at is not None:
        return _cancelled(run, now=now, by=by)
    failure = LaunchFailure(
        kind=LaunchFailureKind.RETRYABLE,
        failure_class=FailureClass.INFRASTRUCTURE,
        message="no answer to RunTask, and no task was found",
    )
    return _next_try(run, failure, policy, now=now, by=by)


def _next_try(
    run: ActiveRun, failure: LaunchFailure, policy: LaunchRetryPolicy, *, now: datetime, by: str
) -> RunChange:
    if run.launch_try >= policy.max_launch_tries:
        text = _with_remedy(f"{failure.text} (try {run.launch_try}, the last)", failure.remedy)
        return _failed(run, failure.failure_class, text, now=now, by=by)
    delay_s = min(policy.retry_delay_s * 2 ** (run.launch_try - 1), policy.retry_delay_max_s)
    wait_s = jittered(delay_s, run.run_id, run.attempt, run.launch_try)
    why = f"{failure.failure_class}: {failure.text}"
    return _requeue(run, now=now, by=by, why=why, wait_s=wait_s, launch_try=run.launch_try + 1)


def _with_remedy(text: str, remedy: str) -> str:
    return f"{text.rstrip('.')}. {remedy}"


def _requeue(run: ActiveRun, *, now: datetime, by: str, why: str, wait_s: float, **values: object) -> RunChange:
    return _change(
        run,
        now=now,
        by=by,
        why=why,
        to=RunStatus.QUEUED,
        queued_at=now,
        not_before=now + timedelta(seconds=wait_s),
        launch_sends=0,
        **_FORGET_ATTEMPT,
        **values,
    )


def _failed(
    run: ActiveRun, failure_class: FailureClass, message: str, *, now: datetime, by: str, **values: object
) -> RunChange:
    return _change(
        run,
        now=now,
        by=by,
        why=f"{failure_class}: {message}",
        to=RunStatus.FAILED,
        failure_class=failure_class,
        error_message=message,
        **values,
    )


def _cancelled(run: ActiveRun, *, now: datetime, by: str, **values: object) -> RunChange:
    return _change(run, now=now, by=by, why="cancelled on request", to=RunStatus.CANCELLED, **values)


# The worker.


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker may not do this: another attempt, another task, a cancel. `reason` is for its log."""

    reason: str


def claim_attempt(run: Run, *, attempt: int, task_arn: str, now: datetime) -> RunChange | Refused:
    """The worker's first act: this task, and no other, runs this attempt. Refused, it must exit with code 75 and touch nothing."""
    if run.status not in (RunStatus.LAUNCHING, RunStatus.RUNNING):
        return Refused(f"the run is {run.status}")
    if run.attempt != attempt:
        return Refused(f"the run is at attempt {run.attempt}, not {attempt}")
    if run.cancel_requested_at is not None:
        return Refused("a cancel is on record")
    if run.stop_cause is not None:
        return Refused(f"the task is being stopped: {run.stop_cause}")
    if run.external_id not in (None, task_arn):
        return Refused(f"another task has this attempt: {run.external_id}")
    if run.committed_result is not None:
        return Refused("a result of this attempt is already committed")
    to = RunStatus.RUNNING if run.status is not RunStatus.RUNNING else None
    return _change(
        run, now=now, by="worker", why="the worker claimed the attempt", to=to, external_id=task_arn, started_at=now
    )


def commit_result(
    run: Run, result: WorkerResult, policy: RetryPolicy, *, task_arn: str, now: datetime
) -> RunChange | Refused:
    """The worker's last act: its result, and the terminal status too when nothing can change it any more.

    A cancel recorded before makes it CANCELLED. Three leave the run RUNNING: a SHUTDOWN, which waits for ECS to tell why; a failure
    that will be retried, which waits for the task's end; and OUT_OF_MEMORY, as only the daemon knows whether a larger size is next.
    """
    if run.status is not RunStatus.RUNNING or run.attempt != result.attempt or run.external_id != task_arn:
        return Refused(
            f"the run is {run.status}, attempt {run.attempt}, task {run.external_id}: this worker is superseded"
        )
    if run.committed_result is not None:
        return Refused("a result of this attempt is already committed")
    values: dict[str, Any] = {
        "result_status": result.status,
        "result_attempt": result.attempt,
        "result_class": result.failure_class,
        "result_message": result.message[:2000],
        "result_at": now,
        "exit_code": result.exit_code,
    }
    if run.cancel_requested_at is not None:
        return _cancelled(run, now=now, by="worker", **values)
    if result.status is ResultStatus.SUCCEEDED:
        return _change(run, now=now, by="worker", why="the flow succeeded", to=RunStatus.SUCCEEDED, **values)
    failure_class = result.failure_class or FailureClass.USER_ERROR
    if failure_class in _THE_DAEMONS or next_budget(run, failure_class, policy) is not Budget.NONE:
        return _change(run, now=now, by="worker", why="", **values)
    return _failed(run, failure_class, result.message[:2000], now=now, by="worker", **values)


# Cancelling and stopping.


def request_cancel(run: ActiveRun, *, now: datetime, by: str) -> RunChange | None:
    """The request written down; a QUEUED run ends at once. None: the run is over, or a cancel is already on record."""
    if run.status.is_terminal or run.cancel_requested_at is not None:
        return None
    if run.status is RunStatus.QUEUED:
        return _cancelled(run, now=now, by=by, cancel_requested_at=now)
    return _change(run, now=now, by=by, why="", cancel_requested_at=now)


def record_stop_cause(run: ActiveRun, cause: StopCause, *, now: datetime, by: str) -> RunChange:
    """Why its task is about to be stopped: written before StopTask, so that the end is judged by it."""
    return _change(run, now=now, by=by, why="", stop_cause=cause)


# Ending an attempt.


def end_attempt(
    run: ActiveRun,
    outcome: Outcome,
    policy: RetryPolicy,
    *,
    task: SeenTask | None,
    container_name: str,
    now: datetime,
    by: str,
    prices: PriceTable | None = None,
) -> RunChange | None:
    """What an outcome does to its run: an end, or another attempt while a budget lasts; None while undecided.

    The sum of an attempt's cost and that of earlier ones needs the whole record: the `active` index does not show it.
    """
    ended = ended_with(run, task, container_name=container_name, prices=prices, now=now)
    match outcome.ending:
        case Ending.UNDECIDED:
            return None
        case Ending.SUCCEEDED:
            why = outcome.message or "the worker's result"
            return _change(run, now=now, by=by, why=why, to=RunStatus.SUCCEEDED, **ended.values)
        case Ending.CANCELLED:
            return _cancelled(run, now=now, by=by, **ended.values)
        case Ending.FAILED:
            return _end_failed(run, outcome, policy, ended, now=now, by=by)


def _end_failed(
    run: ActiveRun, outcome: Outcome, policy: RetryPolicy, ended: Ended, *, now: datetime, by: str
) -> RunChange:
    failure_class = outcome.failure_class or FailureClass.INFRASTRUCTURE
    budget = next_budget(run, failure_class, policy)
    if budget is Budget.NONE or run.cancel_requested_at is not None:
        return _failed(run, failure_class, outcome.message, now=now, by=by, **ended.values)
    values = dict(ended.values)
    why = f"{failure_class}: {outcome.message}"
    if (larger := next_size(run, failure_class, policy)) is not None:
        profile, size = larger
        why = f"{why[:400]}; next attempt with {profile or 'more memory'}: {size.cpu} CPU / {size.memory_mib} MiB"
        values |= {"workload_profile": profile, "cpu": size.cpu, "memory": size.memory_mib}
    change = _requeue(
        run,
        now=now,
        by=by,
        why=why,
        wait_s=jittered(retry_delay_s(run, failure_class, policy), run.run_id, run.attempt),
        attempt=run.attempt + 1,
        launch_try=1,
        infra_failures=run.infra_failures + (1 if budget is Budget.INFRASTRUCTURE else 0),
        **values,
    )
    kept = None if change.transition is None else replace(change.transition, evidence=ended.past)
    return replace(change, transition=kept)
