"""Laws of the judgement: total, and never about a task that may still run."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dagy_control.model.failures import RETRIED_AS_INFRASTRUCTURE, RetryPolicy
from dagy_control.model.lifecycle import end_attempt
from dagy_control.model.outcomes import Ending, Sighting, judge
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunStatus, StopCause, WorkerResult, applied
from dagy_control.model.stop_kinds import remedy_of
from dagy_control.model.tasks import SeenContainer, SeenTask
from tests.builders import ARN, NOW, OTHER_ARN, WORKER, ago, running, task_of

LIVING = (
    "PROVISIONING",
    "PENDING",
    "ACTIVATING",
    "RUNNING",
    "DEACTIVATING",
    "STOPPING",
    "DEPROVISIONING",
    "SOMETHING_NEW",
)
STOP_CODES = (
    "", "TaskFailedToStart", "EssentialContainerExited", "UserInitiated", "ServiceSchedulerInitiated", "SpotInterruption",
    "TerminationNotice", "InfrastructureHealth", "SomethingNew",
)  # fmt: skip
WORDS = (
    "", "OutOfMemoryError: Container killed due to memory usage", "CannotPullContainerError: x", "Your Spot Task was interrupted.",
    "ResourceInitializationError: x", "Capacity is unavailable at this time", "Host EC2 (instance i-1) terminated.",
    "ECS is performing maintenance", "Task failed container health checks", "CannotStartContainerError: exec: no such file",
    "ResourceInitializationError: failed to fetch secret arn:aws:secretsmanager:us-east-1:1:secret:x", "{thing} {0} %s \\",
)  # fmt: skip

words = st.sampled_from(WORDS) | st.text(max_size=40)
exit_codes = st.none() | st.sampled_from([0, 1, 75, 137, 143]) | st.integers(0, 255)
containers = st.builds(
    SeenContainer, name=st.sampled_from([WORKER, "aws-guardduty-agent-x"]), exit_code=exit_codes, reason=words
)
results = st.builds(
    WorkerResult,
    status=st.sampled_from(ResultStatus),
    attempt=st.integers(1, 3),
    failure_class=st.none() | st.sampled_from(FailureClass),
    message=st.text(max_size=20),
)
runs = st.builds(
    running,
    for_s=st.floats(0, 10_000),
    attempt=st.integers(1, 3),
    max_attempts=st.integers(1, 3),
    external_id=st.sampled_from([ARN, OTHER_ARN]),
    cancel_requested_at=st.none() | st.just(ago(5)),
    stop_cause=st.none() | st.sampled_from(StopCause),
    result_status=st.none() | st.sampled_from(ResultStatus),
    result_attempt=st.integers(1, 3),
    result_class=st.none() | st.sampled_from(FailureClass),
)


@st.composite
def tasks(draw: st.DrawFn, run: Run, statuses: st.SearchStrategy[str]) -> SeenTask:
    return task_of(
        run,
        arn=draw(st.sampled_from([ARN, OTHER_ARN])),
        last_status=draw(statuses),
        desired_status=draw(st.sampled_from(["RUNNING", "STOPPED"])),
        started_by=draw(st.sampled_from([f"dagy/r1/{run.attempt}", "dagy/r1/9", "", "dagy/r2/1"])),
        stop_code=draw(st.sampled_from(STOP_CODES) | st.text(max_size=20)),
        stopped_reason=draw(words),
        containers=tuple(draw(st.lists(containers, max_size=3))),
        started_at=draw(st.none() | st.just(ago(60))),
    )


def sighting(run: Run, task: SeenTask | None, stored: WorkerResult | None = None, observations: int = 0) -> Sighting:
    return Sighting(
        run=run,
        task=task,
        now=NOW,
        container_name=WORKER,
        missing_grace_s=600,
        missing_observations=observations,
        stored_result=stored,
    )


ANY_STATUS = st.sampled_from([*LIVING, "STOPPED", "DELETED"])


@given(st.data(), runs, st.none() | results, st.integers(0, 3))
def test_judge_is_total_and_its_word_can_always_be_carried_out(
    data: st.DataObject, run: Run, stored: WorkerResult | None, observations: int
) -> None:
    task = data.draw(st.none() | tasks(run, ANY_STATUS))
    outcome = judge(sighting(run, task, stored, observations))
    assert outcome.rule
    assert (outcome.ending is Ending.FAILED) == (outcome.failure_class is not None)
    change = end_attempt(run, outcome, RetryPolicy(), task=task, container_name=WORKER, now=NOW, by="test")
    assert (change is None) == (outcome.ending is Ending.UNDECIDED)


@given(st.data(), runs, st.none() | results)
def test_a_task_that_has_not_stopped_ends_nothing(data: st.DataObject, run: Run, stored: WorkerResult | None) -> None:
    task = data.draw(tasks(run, st.sampled_from(LIVING)))
    assert judge(sighting(run, task, stored)).ending is Ending.UNDECIDED


@given(st.data(), runs, st.none() | results)
def test_a_task_that_is_not_the_one_on_record_ends_nothing(
    data: st.DataObject, run: Run, stored: WorkerResult | None
) -> None:
    task = data.draw(tasks(run, ANY_STATUS))
    if task.arn != run.external_id or task.started_by in ("dagy/r1/9", "dagy/r2/1"):
        assert judge(sighting(run, task, stored)).ending is Ending.UNDECIDED


@given(st.data(), runs, st.none() | results, st.integers(0, 3))
def test_success_rests_on_a_result_of_the_current_attempt_alone(
    data: st.DataObject, run: Run, stored: WorkerResult | None, observations: int
) -> None:
    outcome = judge(sighting(run, data.draw(st.none() | tasks(run, ANY_STATUS)), stored, observations))
    words_of_workers = [word for word in (run.committed_result, stored) if word and word.attempt == run.attempt]
    if outcome.ending is Ending.SUCCEEDED:
        assert ResultStatus.SUCCEEDED in {word.status for word in words_of_workers}


@given(st.data(), runs, st.none() | results)
def test_an_acknowledged_cancel_never_ends_succeeded_unless_the_result_was_committed_first(
    data: st.DataObject, run: Run, stored: WorkerResult | None
) -> None:
    task = data.draw(st.none() | tasks(run, ANY_STATUS))
    outcome = judge(sighting(run, task, stored, 2))
    if run.cancel_requested_at is not None and run.committed_result is None:
        assert outcome.ending in (Ending.CANCELLED, Ending.UNDECIDED)


@given(runs, st.integers(0, 9), st.floats(0, 599))
def test_a_task_that_is_missing_and_young_ends_nothing(run: Run, observations: int, age_s: float) -> None:
    young = sighting(
        running(attempt=run.attempt, launch_sent_at=NOW - timedelta(seconds=age_s)), None, None, observations
    )
    assert judge(young).ending is Ending.UNDECIDED


@given(st.data(), runs, words)
def test_what_a_person_writes_to_stop_task_makes_no_failure_of_aws(data: st.DataObject, run: Run, said: str) -> None:
    """Only sentences that AWS itself begins so are believed under a stop code that says that somebody stopped the task."""
    task = replace(
        data.draw(tasks(run, st.just("STOPPED"))), stop_code="UserInitiated", stopped_reason=f"because: {said}"
    )
    outcome = judge(sighting(replace(run, stop_cause=None, result_status=None), task))
    seen = sighting(run, task)
    if outcome.failure_class in RETRIED_AS_INFRASTRUCTURE:
        assert outcome.rule in ("claim_refused", "died_before_claim")
        assert seen.exit_code is not None


@given(st.data(), runs, st.none() | results, st.integers(0, 3))
def test_every_failed_run_has_a_remedy_and_a_sentence_that_can_be_stored(
    data: st.DataObject, run: Run, stored: WorkerResult | None, observations: int
) -> None:
    task = data.draw(st.none() | tasks(run, ANY_STATUS))
    outcome = judge(sighting(run, task, stored, observations))
    change = end_attempt(run, outcome, RetryPolicy(), task=task, container_name=WORKER, now=NOW, by="test")
    after = run if change is None else applied(run, change, "op")
    assert (after.status is RunStatus.FAILED) == bool(remedy_of(after))
    assert len(outcome.message) < 3000
