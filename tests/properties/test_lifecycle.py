"""Laws of a run's life: its end stands, and its budgets end it."""

from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagy_control.model.failures import RETRIED_AS_INFRASTRUCTURE, RetryPolicy
from dagy_control.model.launch_failure import LaunchFailure, LaunchFailureKind
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
    FailureClass,
    ResultStatus,
    Run,
    RunChange,
    RunStatus,
    StopCause,
    WorkerResult,
    applied,
)
from tests.builders import ARN, NOW, WORKER, a_run

RETRY = RetryPolicy(max_infra_failures=2)
LAUNCH = LaunchRetryPolicy(max_launch_tries=3)
TERMINAL = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)
ACTS = (
    "claim launch", "renew", "record", "refused", "not found", "claim", "commit", "cancel", "stop", "end",
)  # fmt: skip
classes = st.sampled_from(FailureClass)
kinds = st.sampled_from(LaunchFailureKind)
outcomes = st.builds(
    Outcome, ending=st.sampled_from(Ending), rule=st.just("r"), message=st.just("m"), failure_class=classes
)


def act(data: st.DataObject, name: str, run: Run, now: datetime) -> RunChange | Refused | None:
    """One act of whoever may write to a run, in whatever state it is, with whatever outcome."""
    by = "test"
    match name:
        case "claim launch":
            return claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=now, by=by)
        case "renew":
            return renew_send(run, now=now, by=by)
        case "record":
            return record_task(run, task_arn=ARN, why="w", now=now, by=by)
        case "refused":
            failure = LaunchFailure(
                kind=data.draw(kinds),
                failure_class=data.draw(classes),
                message="m",
                settles_token=data.draw(st.booleans()),
            )
            return launch_failed(run, failure, LAUNCH, now=now, by=by)
        case "not found":
            return launch_not_found(run, LAUNCH, now=now, by=by)
        case "claim":
            return claim_attempt(run, attempt=run.attempt, task_arn=ARN, now=now)
        case "commit":
            status = data.draw(st.sampled_from(ResultStatus))
            failure_class = data.draw(classes) if status is ResultStatus.FAILED else None
            word = WorkerResult(status=status, attempt=run.attempt, failure_class=failure_class)
            return commit_result(run, word, RETRY, task_arn=ARN, now=now)
        case "cancel":
            return request_cancel(run, now=now, by=by)
        case "stop":
            return record_stop_cause(run, data.draw(st.sampled_from(StopCause)), now=now, by=by)
        case _:
            return end_attempt(run, data.draw(outcomes), RETRY, task=None, container_name=WORKER, now=now, by=by)


@given(st.data(), st.sampled_from(TERMINAL), st.sampled_from(ACTS))
def test_no_act_touches_a_run_that_is_over(data: st.DataObject, status: RunStatus, name: str) -> None:
    run = a_run(status, external_id=ARN)
    try:
        change = act(data, name, run, NOW)
    except ValueError:
        return
    assert not isinstance(change, RunChange)


@given(st.data(), st.lists(st.sampled_from(ACTS), max_size=40), st.integers(1, 3))
def test_whatever_is_done_to_a_run_its_record_stays_sound(
    data: st.DataObject, names: list[str], max_attempts: int
) -> None:
    run = a_run(max_attempts=max_attempts)
    for step, name in enumerate(names):
        if run.status.is_terminal:
            break
        before = run
        change = act(data, name, run, NOW + timedelta(seconds=step))
        if not isinstance(change, RunChange):
            continue
        run = applied(run, change, f"op-{step}")
        assert run.version == before.version + 1
        assert run.status.is_terminal == (run.active_since is None) == (run.completed_at is not None)
        assert run.infra_failures <= RETRY.max_infra_failures
        assert 0 <= run.user_failures < max_attempts
        assert run.attempt >= before.attempt
        if run.attempt > before.attempt:
            assert (run.external_id, run.started_at, run.committed_result, run.stop_cause) == (None, None, None, None)
            assert (run.launch_try, run.launch_sends, run.launch_token) == (1, 0, None)
        if run.status is RunStatus.FAILED:
            assert run.failure_class is not None
        if run.status is not before.status:
            assert run.transitions[-1].to_status == run.status


@given(st.data(), st.integers(1, 4))
def test_a_run_of_nothing_but_failures_ends_within_its_budgets(data: st.DataObject, max_attempts: int) -> None:
    run = a_run(max_attempts=max_attempts)
    attempts = max_attempts + RETRY.max_infra_failures
    bound = attempts * LAUNCH.max_launch_tries * 3 + 1
    steps = 0
    while not run.status.is_terminal:
        steps += 1
        assert steps <= bound, f"still {run.status} after {steps} steps"
        match run.status:
            case RunStatus.QUEUED:
                name = "claim launch"
            case RunStatus.LAUNCHING:
                name = data.draw(st.sampled_from(["record", "counted refusal", "not found"]))
            case _:
                name = "failure"
        if name == "counted refusal":
            failure = LaunchFailure(kind=LaunchFailureKind.RETRYABLE, failure_class=data.draw(classes), message="m")
            change: RunChange | Refused | None = launch_failed(run, failure, LAUNCH, now=NOW, by="test")
        elif name == "failure":
            outcome = Outcome(ending=Ending.FAILED, rule="r", message="m", failure_class=data.draw(classes))
            change = end_attempt(run, outcome, RETRY, task=None, container_name=WORKER, now=NOW, by="test")
        else:
            change = act(data, name, run, NOW)
        assert isinstance(change, RunChange)
        run = applied(run, change, f"op-{steps}")
    assert run.status is RunStatus.FAILED
    assert run.attempt <= attempts


@given(st.integers(1, 1000), classes)
def test_throttling_alone_never_ends_a_run_and_never_changes_its_token(
    throttles: int, failure_class: FailureClass
) -> None:
    run = a_run()
    tokens = set()
    for step in range(min(throttles, 50)):
        claimed = applied(run, claim_launch(run, request="{}", provider="p", cluster="c", now=NOW, by="t"), f"a{step}")
        tokens.add(claimed.launch_token)
        failure = LaunchFailure(kind=LaunchFailureKind.THROTTLED, failure_class=failure_class, message="Rate exceeded")
        change = launch_failed(claimed, failure, LAUNCH, now=NOW, by="t")
        assert change is not None
        run = applied(claimed, change, f"b{step}")
        assert run.status is RunStatus.QUEUED
    assert len(tokens) == 1


def test_the_bound_of_the_test_above_is_reached_by_the_longest_possible_run() -> None:
    run = a_run(max_attempts=2)
    attempts = 0
    for failure_class in (*[FailureClass.SPOT_INTERRUPTED] * 2, *[FailureClass.USER_ERROR] * 2):
        run = applied(run, claim_launch(run, request="{}", provider="p", cluster="c", now=NOW, by="t"), "a")
        run = applied(run, record_task(run, task_arn=ARN, why="w", now=NOW, by="t"), "b")
        outcome = Outcome(ending=Ending.FAILED, rule="r", message="m", failure_class=failure_class)
        change = end_attempt(run, outcome, RETRY, task=None, container_name=WORKER, now=NOW, by="t")
        assert change is not None
        run = applied(run, change, "c")
        attempts += 1
    assert (run.status, run.attempt, attempts) == (RunStatus.FAILED, 4, 4)
    with pytest.raises(ValueError, match="never changes"):
        renew_send(run, now=NOW, by="t")


def _waits_s(run_id: str, policy: RetryPolicy, failure_classes: list[FailureClass]) -> list[float]:
    """What a run waits after each of these failures, the task of every attempt having ended at once."""
    run, waits_s = a_run(run_id=run_id), []
    for number, failure_class in enumerate(failure_classes):
        claim = claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=NOW, by="test")
        run = applied(run, claim, f"claim-{number}")
        run = applied(run, record_task(run, task_arn=ARN, why="w", now=NOW, by="test"), f"record-{number}")
        outcome = Outcome(ending=Ending.FAILED, rule="r", message="m", failure_class=failure_class)
        end = end_attempt(run, outcome, policy, task=None, container_name=WORKER, now=NOW, by="test")
        assert isinstance(end, RunChange)
        run = applied(run, end, f"end-{number}")
        assert run.not_before is not None
        waits_s.append((run.not_before - NOW).total_seconds())
    return waits_s


@given(
    st.lists(st.sampled_from(sorted(RETRIED_AS_INFRASTRUCTURE)), min_size=2, max_size=12),
    st.floats(1, 60),
    st.floats(1, 1000),
    st.lists(st.uuids(), min_size=2, max_size=2, unique=True),
)
def test_delays_after_infrastructure_failures_grow_are_bounded_and_differ_between_runs(
    failure_classes: list[FailureClass], first_s: float, factor: float, run_ids: list[UUID]
) -> None:
    most_s = first_s * factor
    policy = RetryPolicy(max_infra_failures=12, retry_delay_s=first_s, retry_delay_max_s=most_s)
    waits_s, others_s = (_waits_s(str(run_id), policy, failure_classes) for run_id in run_ids)
    rounding_s = 1e-6  # datetimes hold no less
    assert first_s - rounding_s <= waits_s[0] <= 1.5 * first_s + rounding_s
    for before_s, after_s in pairwise(waits_s):
        assert after_s > before_s or after_s >= most_s - rounding_s
    assert max(waits_s) <= 1.5 * most_s + rounding_s
    assert waits_s != others_s
