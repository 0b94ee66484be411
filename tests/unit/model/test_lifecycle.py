"""Every change that a run can undergo: when it is allowed, what it writes and what it clears."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dagy_control.model.failures import CLASSES, RetryPolicy
from dagy_control.model.launch_failure import LaunchFailureKind
from dagy_control.model.lifecycle import (
    LaunchRetryPolicy,
    Refused,
    claim_attempt,
    claim_launch,
    commit_result,
    end_attempt,
    launch_failed,
    launch_not_found,
    record_stop_cause,
    record_task,
    renew_send,
    request_cancel,
)
from dagy_control.model.outcomes import Ending, Outcome
from dagy_control.model.runs import (
    TRANSITIONS_KEPT_UNTIL_VERSION,
    FailureClass,
    ResultStatus,
    Run,
    RunChange,
    RunStatus,
    StopCause,
    WorkerResult,
    applied,
    launch_token,
)
from tests.builders import (
    ARN,
    NOW,
    OTHER_ARN,
    WORKER,
    a_run,
    ago,
    committed,
    launching,
    refusal,
    result,
    running,
    stopped,
)

LAUNCH_POLICY = LaunchRetryPolicy(max_launch_tries=3, retry_delay_s=15, retry_delay_max_s=40)
RETRY = RetryPolicy(max_infra_failures=2, retry_delay_s=10)
OF_AN_ATTEMPT = (
    "external_id", "started_at", "stop_cause", "result_status", "result_attempt", "result_class", "result_message", "result_at",
    "launch_token", "launch_request", "launch_sent_at", "launching_at",
)  # fmt: skip


def after(run: Run, change: RunChange | Refused | None) -> Run:
    assert isinstance(change, RunChange), change
    return applied(run, change, "op")


def claim(run: Run) -> Run:
    return after(run, claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=NOW, by="test"))


def fail_launch(run: Run, kind: LaunchFailureKind, **values: Any) -> RunChange | None:
    return launch_failed(run, refusal(kind, **values), LAUNCH_POLICY, now=NOW, by="test")


def end(run: Run, outcome: Outcome, code: int | None = 1) -> Run:
    task = stopped(run, code)
    return after(run, end_attempt(run, outcome, RETRY, task=task, container_name=WORKER, now=NOW, by="test"))


def failed(failure_class: FailureClass) -> Outcome:
    return Outcome(ending=Ending.FAILED, rule="r", message="because", failure_class=failure_class)


# Launching.


def test_a_claim_writes_the_whole_intent() -> None:
    run = claim(a_run(attempt=2, launch_try=3, not_before=ago(1)))
    assert (run.status, run.launch_sent_at, run.launch_sends, run.active_since) == (RunStatus.LAUNCHING, NOW, 1, NOW)
    assert run.launch_token == launch_token("r1", 2, 3)
    assert (run.launch_request, run.capacity_provider, run.cluster, run.not_before) == ("{}", "FARGATE", "main", None)
    assert run.transitions[-1].to_status == "LAUNCHING"


def test_a_claim_does_not_wear_the_exit_of_the_attempt_before() -> None:
    run = claim(
        a_run(attempt=2, exit_code=137, stop_code="SpotInterruption", stopped_reason="x", evidence={"task_arn": ARN})
    )
    assert (run.exit_code, run.stop_code, run.stopped_reason) == (None, None, None)
    assert run.evidence == {"task_arn": ARN}  # names its task, and is kept for good


def test_a_renewed_send_counts_and_keeps_the_first_claims_time_and_token() -> None:
    before = launching(claimed_s_ago=900)
    run = after(before, renew_send(before, now=NOW, by="test"))
    assert (run.launch_sends, run.launch_sent_at) == (2, NOW)
    assert (run.active_since, run.launch_token, run.status) == (
        before.active_since,
        before.launch_token,
        RunStatus.LAUNCHING,
    )


def test_a_recorded_task_makes_the_run_running_but_not_yet_started() -> None:
    run = after(launching(), record_task(launching(), task_arn=ARN, why="answered", now=NOW, by="test"))
    assert (run.status, run.external_id, run.started_at, run.active_since) == (RunStatus.RUNNING, ARN, None, NOW)


@pytest.mark.parametrize("kind", LaunchFailureKind)
def test_no_failure_of_one_send_is_definite_while_an_earlier_send_is_unresolved(kind: LaunchFailureKind) -> None:
    assert fail_launch(launching(launch_sends=2), kind) is None


@pytest.mark.parametrize("launch_sends", [1, 2, 9])
def test_a_failure_that_the_token_answers_is_definite_however_often_it_was_sent(launch_sends: int) -> None:
    before = launching(launch_sends=launch_sends)
    run = after(before, fail_launch(before, LaunchFailureKind.RETRYABLE, settles_token=True))
    assert (run.status, run.launch_try, run.launch_sends) == (RunStatus.QUEUED, 2, 0)
    assert claim(run).launch_token != before.launch_token


def test_a_failure_that_the_token_answers_to_a_replay_ends_a_cancelled_launch() -> None:
    before = launching(launch_sends=2, cancel_requested_at=ago(1))
    assert after(before, fail_launch(before, LaunchFailureKind.RETRYABLE, settles_token=True)).status == "CANCELLED"


def test_the_default_launch_tries_outlast_ten_minutes_without_capacity() -> None:
    run, at = claim(a_run()), NOW
    while (
        refused := launch_failed(run, refusal(LaunchFailureKind.RETRYABLE), LaunchRetryPolicy(), now=at, by="test")
    ) is not None:
        run = applied(run, refused, "op")
        if run.status is RunStatus.FAILED:
            break
        assert run.not_before is not None
        at = run.not_before
        run = claim(run)
    assert at - NOW >= timedelta(minutes=10)


@pytest.mark.parametrize(
    ("launch_try", "wait_s"),
    [pytest.param(1, 15, id="the first wait"), pytest.param(2, 30, id="doubled")],
)
def test_a_retryable_refusal_queues_the_next_try_under_another_token(launch_try: int, wait_s: float) -> None:
    before = launching(launch_try=launch_try)
    run = after(before, fail_launch(before, LaunchFailureKind.RETRYABLE))
    assert (run.status, run.launch_try, run.attempt) == (RunStatus.QUEUED, launch_try + 1, 1)
    assert run.not_before is not None
    assert timedelta(seconds=wait_s) <= run.not_before - NOW <= timedelta(seconds=1.5 * wait_s)
    assert claim(run).launch_token != before.launch_token


def test_the_wait_between_tries_has_a_ceiling() -> None:
    before = launching(launch_try=20)
    policy = LaunchRetryPolicy(max_launch_tries=99, retry_delay_s=15, retry_delay_max_s=40)
    change = launch_failed(before, refusal(LaunchFailureKind.RETRYABLE), policy, now=NOW, by="test")
    run = after(before, change)
    assert run.not_before is not None
    assert timedelta(seconds=40) <= run.not_before - NOW <= timedelta(seconds=60)


def test_the_last_refusal_fails_the_run_in_the_words_of_the_runbook() -> None:
    before = launching(launch_try=3)
    run = after(before, fail_launch(before, LaunchFailureKind.RETRYABLE))
    assert (run.status, run.failure_class, run.completed_at) == (RunStatus.FAILED, FailureClass.CAPACITY, NOW)
    assert (
        run.error_message
        == f"ECS launch failed: ECS said no (try 3, the last). {CLASSES[FailureClass.CAPACITY].remedy}"
    )


@pytest.mark.parametrize("launch_try", [1, 3, 50])
def test_a_throttle_is_never_counted_whatever_the_try(launch_try: int) -> None:
    before = launching(launch_try=launch_try)
    run = after(before, fail_launch(before, LaunchFailureKind.THROTTLED, retry_after_s=4.0))
    assert (run.status, run.launch_try, run.launch_sends) == (RunStatus.QUEUED, launch_try, 0)
    assert run.not_before == NOW + timedelta(seconds=4)


def test_a_permanent_refusal_fails_the_run_at_once() -> None:
    change = fail_launch(launching(), LaunchFailureKind.PERMANENT, failure_class=FailureClass.LAUNCH_PERMISSION)
    run = after(launching(), change)
    assert (run.status, run.failure_class) == (RunStatus.FAILED, FailureClass.LAUNCH_PERMISSION)
    assert run.error_message == f"ECS launch failed: ECS said no. {CLASSES[FailureClass.LAUNCH_PERMISSION].remedy}"


def test_a_refusal_that_is_not_the_runs_own_fault_is_never_counted() -> None:
    held = fail_launch(launching(launch_try=3), LaunchFailureKind.HELD, retry_after_s=30.0)
    run = after(launching(launch_try=3), held)
    assert (run.status, run.launch_try, run.not_before) == (RunStatus.QUEUED, 3, NOW + timedelta(seconds=30))


@pytest.mark.parametrize("kind", LaunchFailureKind)
def test_a_definite_refusal_of_a_cancelled_launch_ends_it(kind: LaunchFailureKind) -> None:
    before = launching(cancel_requested_at=ago(1))
    assert after(before, fail_launch(before, kind)).status is RunStatus.CANCELLED


@pytest.mark.parametrize(
    ("run", "status", "launch_try"),
    [
        pytest.param(launching(launch_sends=4), RunStatus.QUEUED, 2, id="the next try, however often it was sent"),
        pytest.param(launching(launch_try=3), RunStatus.FAILED, 3, id="the last try"),
        pytest.param(launching(cancel_requested_at=ago(1)), RunStatus.CANCELLED, 1, id="cancelled"),
    ],
)
def test_a_launch_that_made_no_task(run: Run, status: RunStatus, launch_try: int) -> None:
    ended = after(run, launch_not_found(run, LAUNCH_POLICY, now=NOW, by="test"))
    assert (ended.status, ended.launch_try) == (status, launch_try)


# The worker.


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(launching(), id="before the daemon knows the task"),
        pytest.param(running(started_at=None), id="after the daemon recorded it"),
        pytest.param(running(), id="again, after a lost reply"),
    ],
)
def test_a_worker_may_claim_its_attempt(run: Run) -> None:
    claimed = after(run, claim_attempt(run, attempt=1, task_arn=ARN, now=NOW))
    assert (claimed.status, claimed.external_id, claimed.started_at) == (RunStatus.RUNNING, ARN, NOW)
    assert len(claimed.transitions) == (1 if run.status is RunStatus.LAUNCHING else 0)


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        pytest.param(a_run(RunStatus.QUEUED), "QUEUED", id="the daemon has gone on to another try"),
        pytest.param(a_run(RunStatus.FAILED), "FAILED", id="the run is over"),
        pytest.param(launching(attempt=2), "attempt 2", id="another attempt"),
        pytest.param(launching(cancel_requested_at=ago(1)), "cancel", id="a cancel is on record"),
        pytest.param(running(stop_cause=StopCause.START_TIMEOUT), "START_TIMEOUT", id="its task is being stopped"),
        pytest.param(
            running(result_status=ResultStatus.FAILED, result_attempt=1),
            "already committed",
            id="a restarted container",
        ),
        pytest.param(running(external_id=OTHER_ARN), OTHER_ARN, id="another task has the attempt"),
    ],
)
def test_a_worker_is_refused_its_attempt(run: Run, reason: str) -> None:
    refused = claim_attempt(run, attempt=1, task_arn=ARN, now=NOW)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


FAILURE = result(ResultStatus.FAILED, failure_class=FailureClass.USER_ERROR, message="ValueError: x")
SHUTDOWN = result(ResultStatus.FAILED, failure_class=FailureClass.SHUTDOWN, message="SIGTERM")
SPOILT = result(ResultStatus.FAILED, failure_class=FailureClass.ARTIFACT, message="NoSuchKey")


@pytest.mark.parametrize(
    ("word", "on_record", "status"),
    [
        pytest.param(result(), {}, "SUCCEEDED", id="success is final"),
        pytest.param(
            result(), {"cancel_requested_at": ago(1)}, "CANCELLED", id="a cancel recorded before beats success"
        ),
        pytest.param(result(), {"stop_cause": StopCause.TIMED_OUT}, "SUCCEEDED", id="success beats a time limit"),
        pytest.param(FAILURE, {}, "FAILED", id="a failure without another attempt is final"),
        pytest.param(FAILURE, {"max_attempts": 2}, "RUNNING", id="a failure that is retried waits for the task's end"),
        pytest.param(FAILURE, {"cancel_requested_at": ago(1)}, "CANCELLED", id="a cancel beats a failure"),
        pytest.param(SPOILT, {"max_attempts": 9}, "FAILED", id="a failure of a class that is never retried"),
        pytest.param(SHUTDOWN, {}, "RUNNING", id="a shutdown is a hint: ECS must tell why"),
        pytest.param(SHUTDOWN, {"cancel_requested_at": ago(1)}, "CANCELLED", id="a shutdown by a cancel"),
    ],
)
def test_a_worker_commits_its_result(word: WorkerResult, on_record: dict[str, Any], status: str) -> None:
    run = running(**on_record)
    done = after(run, commit_result(run, word, RETRY, task_arn=ARN, now=NOW))
    assert (done.status, done.result_status, done.result_attempt, done.result_at) == (status, word.status, 1, NOW)
    assert done.committed_result is not None
    assert done.status.is_terminal == (done.completed_at == NOW)
    assert done.status.is_terminal == (done.active_since is None)
    if done.status.is_terminal:
        assert done.duration_seconds == 3600
    if done.status is RunStatus.FAILED:
        assert (done.failure_class, done.error_message) == (word.failure_class, word.message)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(running(external_id=OTHER_ARN), id="another task has the attempt"),
        pytest.param(running(attempt=2), id="the run has gone on"),
        pytest.param(launching(), id="never claimed"),
        pytest.param(a_run(RunStatus.CANCELLED), id="the run is over"),
        pytest.param(running(**committed(FAILURE)), id="a result is committed already"),
    ],
)
def test_a_superseded_worker_commits_nothing(run: Run) -> None:
    assert isinstance(commit_result(run, result(), RETRY, task_arn=ARN, now=NOW), Refused)


# Cancelling and stopping.


@pytest.mark.parametrize(
    ("run", "status"),
    [
        pytest.param(a_run(RunStatus.QUEUED), "CANCELLED", id="queued ends at once"),
        pytest.param(launching(), "LAUNCHING", id="launching waits for its task"),
        pytest.param(running(), "RUNNING", id="running waits for its task's end"),
    ],
)
def test_a_cancel_is_written_down(run: Run, status: str) -> None:
    cancelled = after(run, request_cancel(run, now=NOW, by="test"))
    assert (cancelled.status, cancelled.cancel_requested_at) == (status, NOW)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(a_run(RunStatus.SUCCEEDED), id="the run is over"),
        pytest.param(running(cancel_requested_at=ago(9)), id="on record already"),
    ],
)
def test_a_cancel_changes_nothing_twice(run: Run) -> None:
    assert request_cancel(run, now=NOW, by="test") is None


def test_a_stop_cause_is_only_a_note() -> None:
    run = after(running(), record_stop_cause(running(), StopCause.TIMED_OUT, now=NOW, by="test"))
    assert (run.status, run.stop_cause, run.transitions) == (RunStatus.RUNNING, StopCause.TIMED_OUT, ())


# Ending an attempt.


def test_an_undecided_outcome_changes_nothing() -> None:
    outcome = Outcome(ending=Ending.UNDECIDED, rule="r", message="m")
    assert end_attempt(running(), outcome, RETRY, task=None, container_name=WORKER, now=NOW, by="test") is None


@pytest.mark.parametrize("ending", [Ending.SUCCEEDED, Ending.CANCELLED])
def test_an_end_keeps_what_ecs_said(ending: Ending) -> None:
    run = end(running(), Outcome(ending=ending, rule="r", message="m"), 143)
    assert run.status == ending.value
    assert (run.exit_code, run.stop_code, run.completed_at, run.active_since) == (
        143,
        "EssentialContainerExited",
        NOW,
        None,
    )
    assert run.evidence is not None
    assert run.evidence["task_arn"] == ARN


def test_a_final_failure_says_why() -> None:
    run = end(running(), failed(FailureClass.LOST))
    assert (run.status, run.failure_class, run.error_message) == (RunStatus.FAILED, FailureClass.LOST, "because")
    assert run.transitions[-1].why == "LOST: because"


@pytest.mark.parametrize(
    ("failure_class", "infra_failures"),
    [
        pytest.param(FailureClass.SPOT_INTERRUPTED, 1, id="by infrastructure"),
        pytest.param(FailureClass.USER_ERROR, 0, id="by the user"),
    ],
)
def test_another_attempt_starts_clean_and_counts_its_cause(failure_class: FailureClass, infra_failures: int) -> None:
    before = running(
        max_attempts=2,
        launch_try=3,
        launch_request="{}",
        launching_at=ago(9),
        stop_cause=StopCause.LINGERING,
        **committed(FAILURE),
    )
    run = end(before, failed(failure_class))
    assert (run.status, run.attempt, run.launch_try) == (RunStatus.QUEUED, 2, 1)
    assert (run.infra_failures, run.user_failures) == (infra_failures, 1 - infra_failures)
    assert {name: getattr(run, name) for name in OF_AN_ATTEMPT} == dict.fromkeys(OF_AN_ATTEMPT)
    assert run.launch_sends == 0
    assert run.not_before is not None
    assert run.not_before > NOW
    assert run.active_since == NOW
    assert run.evidence is not None


def test_a_failure_with_a_cancel_on_record_is_not_retried() -> None:
    run = end(running(max_attempts=5, cancel_requested_at=ago(1)), failed(FailureClass.USER_ERROR))
    assert run.status is RunStatus.FAILED


# What holds for every change.

CHANGES: dict[str, Callable[[Run], object]] = {
    "claim_launch": lambda run: claim_launch(run, request="{}", provider="p", cluster="c", now=NOW, by="test"),
    "renew_send": lambda run: renew_send(run, now=NOW, by="test"),
    "record_task": lambda run: record_task(run, task_arn=ARN, why="w", now=NOW, by="test"),
    "launch_failed": lambda run: fail_launch(run, LaunchFailureKind.RETRYABLE),
    "launch_not_found": lambda run: launch_not_found(run, LAUNCH_POLICY, now=NOW, by="test"),
    "record_stop_cause": lambda run: record_stop_cause(run, StopCause.TIMED_OUT, now=NOW, by="test"),
    "end_attempt": lambda run: end_attempt(
        run, failed(FailureClass.LOST), RETRY, task=None, container_name=WORKER, now=NOW, by="test"
    ),
}


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED])
@pytest.mark.parametrize("name", CHANGES)
def test_a_terminal_run_never_changes_not_even_by_a_mistake_of_ours(name: str, status: RunStatus) -> None:
    with pytest.raises(ValueError, match="never changes"):
        CHANGES[name](a_run(status))


def test_transitions_are_bounded_and_the_end_is_always_among_them() -> None:
    late = TRANSITIONS_KEPT_UNTIL_VERSION
    assert claim(a_run(version=late - 1)).transitions
    assert not claim(a_run(version=late)).transitions
    assert after(running(version=late), end_attempt(
        running(version=late), failed(FailureClass.LOST), RETRY, task=None, container_name=WORKER, now=NOW, by="test"
    )).transitions  # fmt: skip


def test_a_transition_says_who_when_and_why_in_a_bounded_sentence() -> None:
    before = launching()
    failure = replace(refusal(LaunchFailureKind.PERMANENT), message="x" * 9000)
    change = launch_failed(before, failure, LAUNCH_POLICY, now=NOW, by="launching")
    step = after(before, change).transitions[-1]
    assert (step.by, step.at, step.from_status, step.to_status) == ("launching", NOW, "LAUNCHING", "FAILED")
    assert len(step.why) <= 500
