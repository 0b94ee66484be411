"""What a stopped or missing task means: one row for each rule and for each shape that ECS really shows."""

from datetime import timedelta
from typing import Any

import pytest

from dagy_control.model.outcomes import TASK_RULES, Ending, Outcome, Sighting, judge
from dagy_control.model.runs import FailureClass, ResultStatus, Run, StopCause, WorkerResult
from dagy_control.model.tasks import SeenContainer, SeenTask
from tests.builders import NOW, OTHER_ARN, WORKER, ago, committed, result, running, stopped, task_of

GUARD = SeenContainer(name="aws-guardduty-agent-x1", last_status="STOPPED", exit_code=0)
SHUTDOWN = result(ResultStatus.FAILED, failure_class=FailureClass.SHUTDOWN, message="SIGTERM")
USER_FAILURE = result(ResultStatus.FAILED, failure_class=FailureClass.USER_ERROR, message="ValueError: x")
DEPENDENCY = result(ResultStatus.FAILED, failure_class=FailureClass.DEPENDENCY, message="pip install failed")


def look(run: Run, task: SeenTask | None, **values: Any) -> Outcome:
    defaults: dict[str, Any] = {"now": NOW, "container_name": WORKER, "missing_grace_s": 600.0}
    return judge(Sighting(run=run, task=task, **{**defaults, **values}))


def failed_to_start(reason: str, **values: Any) -> SeenTask:
    """As ECS shows it: no containers, never started."""
    return stopped(
        running(), stop_code="TaskFailedToStart", stopped_reason=reason, containers=(), started_at=None, **values
    )


def worker_and_sidecar(exit_code: int | None, reason: str = "", sidecar: SeenContainer = GUARD) -> SeenTask:
    return stopped(running(), containers=(sidecar, SeenContainer(name=WORKER, exit_code=exit_code, reason=reason)))


FAILURES = [
    # Spot.
    (
        "spot reclaim without an exit code",
        stopped(running(), None, stop_code="SpotInterruption", stopped_reason="Your Spot Task was interrupted."),
        "SPOT_INTERRUPTED",
        "spot",
    ),
    (
        "exit 0 on a Spot SIGTERM is no success",
        stopped(running(), 0, stop_code="SpotInterruption"),
        "SPOT_INTERRUPTED",
        "spot",
    ),
    (
        "the older name of a Spot reclaim",
        stopped(running(), 143, stop_code="TerminationNotice"),
        "SPOT_INTERRUPTED",
        "spot",
    ),
    (
        "Spot by its words under an unknown code",
        stopped(running(), None, stop_code="", stopped_reason="Your Spot Task was interrupted."),
        "SPOT_INTERRUPTED",
        "spot",
    ),
    # Infrastructure.
    (
        "host terminated",
        stopped(running(), None, stop_code="", stopped_reason="Host EC2 (instance i-123) terminated."),
        "INFRASTRUCTURE",
        "infrastructure",
    ),
    (
        "retirement",
        stopped(
            running(),
            143,
            stopped_reason="ECS is performing maintenance on the underlying infrastructure hosting the task.",
        ),
        "INFRASTRUCTURE",
        "infrastructure",
    ),
    (
        "unhealthy infrastructure",
        stopped(running(), None, stop_code="InfrastructureHealth"),
        "INFRASTRUCTURE",
        "infrastructure",
    ),
    (
        "failed health checks",
        stopped(running(), 137, stopped_reason="Task failed container health checks"),
        "INFRASTRUCTURE",
        "infrastructure",
    ),
    # Never started.
    (
        "image pull",
        failed_to_start("CannotPullContainerError: pull image manifest has been retried 5 time(s)"),
        "IMAGE_PULL",
        "never_started",
    ),
    (
        "image pull in the container's reason",
        stopped(running(), None, reason="CannotPullContainerError: not found", started_at=None),
        "IMAGE_PULL",
        "never_started",
    ),
    (
        "secrets",
        failed_to_start("ResourceInitializationError: unable to pull secrets or registry auth"),
        "RESOURCE_INITIALIZATION",
        "never_started",
    ),
    (
        "initialisation that mentions a resource",
        failed_to_start("ResourceInitializationError: cannot read resource: denied"),
        "RESOURCE_INITIALIZATION",
        "never_started",
    ),
    (
        "storage",
        failed_to_start("Timeout waiting for EphemeralStorage provisioning to complete."),
        "RESOURCE_INITIALIZATION",
        "never_started",
    ),
    (
        "network interface",
        failed_to_start("Timeout waiting for network interface provisioning to complete."),
        "NETWORK",
        "never_started",
    ),
    (
        "late capacity failure",
        failed_to_start(
            "Capacity is unavailable at this time. Please try again later or in a different availability zone"
        ),
        "CAPACITY",
        "never_started",
    ),
    ("capacity as a code", failed_to_start("RESOURCE:ENI"), "CAPACITY", "never_started"),
    (
        "failed to start for words that nobody knows",
        failed_to_start("something new"),
        "INFRASTRUCTURE",
        "never_started",
    ),
    # Out of memory.
    (
        "out of memory with 137",
        worker_and_sidecar(137, "OutOfMemoryError: Container killed due to memory usage"),
        "OUT_OF_MEMORY",
        "out_of_memory",
    ),
    (
        "out of memory in other case, without a code",
        worker_and_sidecar(None, "outofmemoryerror: container KILLED due to memory usage"),
        "OUT_OF_MEMORY",
        "out_of_memory",
    ),
    (
        "out of memory in the task's own reason",
        stopped(running(), 137, stopped_reason="Task stopped due to memory exhaustion"),
        "OUT_OF_MEMORY",
        "out_of_memory",
    ),
    ("137 without memory words is any SIGKILL", stopped(running(), 137), "USER_ERROR", "exit_code"),
    (
        "a sidecar's memory is not the worker's",
        worker_and_sidecar(
            1,
            sidecar=SeenContainer(
                name="aws-guardduty-agent-x1",
                exit_code=137,
                reason="OutOfMemoryError: Container killed due to memory usage",
            ),
        ),
        "USER_ERROR",
        "exit_code",
    ),
    # Stopped by somebody.
    (
        "StopTask by a person",
        stopped(running(), 143, stop_code="UserInitiated", stopped_reason="by alice"),
        "STOPPED",
        "stopped_by_somebody",
    ),
    ("StopTask and exit 0", stopped(running(), 0, stop_code="UserInitiated"), "STOPPED", "stopped_by_somebody"),
    (
        "a person's own words are not ECS's",
        stopped(running(), 143, stop_code="UserInitiated", stopped_reason="memory usage is too high"),
        "STOPPED",
        "stopped_by_somebody",
    ),
    # Exit codes.
    ("143 without any cause", stopped(running(), 143), "USER_ERROR", "exit_code"),
    ("exit 1", stopped(running(), 1), "USER_ERROR", "exit_code"),
    (
        "words about the start in a task that did start",
        stopped(running(), 1, reason="network interface of the user's own"),
        "USER_ERROR",
        "exit_code",
    ),
    ("exit 1 behind a sidecar that exited 0", worker_and_sidecar(1), "USER_ERROR", "exit_code"),
    ("exit 0 without a result", stopped(running(), 0), "NO_RESULT", "no_result"),
    ("a claim refused: nothing has run", stopped(running(), 75), "INFRASTRUCTURE", "claim_refused"),
    # Unknown.
    (
        "an unknown stop code without exit code",
        stopped(running(), None, stop_code="SomethingNew"),
        "INFRASTRUCTURE",
        "anything_else",
    ),
    (
        "no containers and no words",
        stopped(running(), stop_code="", stopped_reason="", containers=()),
        "INFRASTRUCTURE",
        "anything_else",
    ),
    ("only a sidecar is shown", stopped(running(), containers=(GUARD,)), "INFRASTRUCTURE", "anything_else"),
    ("deleted counts as ended", stopped(running(), 1, last_status="DELETED"), "USER_ERROR", "exit_code"),
]


@pytest.mark.parametrize(("task", "failure_class", "rule"), [pytest.param(*row[1:], id=row[0]) for row in FAILURES])
def test_a_task_that_ended_without_a_word_of_its_worker(task: SeenTask, failure_class: str, rule: str) -> None:
    outcome = look(running(), task)
    assert (outcome.ending, outcome.failure_class, outcome.rule) == (Ending.FAILED, failure_class, rule)
    assert outcome.message.startswith("Reconciled: Task was STOPPED: ")


DECIDED = [
    # A worker that died before its claim.
    (
        "exit 1 before the claim is none of the user's failures",
        {"started_at": None},
        {"code": 1},
        "FAILED",
        "INFRASTRUCTURE",
        "died_before_claim",
    ),
    # The worker's own word.
    (
        "a committed success beats a Spot reclaim",
        committed(result()),
        {"stop_code": "SpotInterruption"},
        "SUCCEEDED",
        None,
        "worker_result",
    ),
    (
        "a committed success beats a later cancel",
        {**committed(result()), "cancel_requested_at": ago(5)},
        {},
        "SUCCEEDED",
        None,
        "worker_result",
    ),
    (
        "a committed failure keeps its class whatever the exit code",
        committed(DEPENDENCY),
        {},
        "FAILED",
        "DEPENDENCY",
        "worker_result",
    ),
    (
        "a committed failure beats our own stop of its lingering worker",
        {**committed(USER_FAILURE), "stop_cause": StopCause.LINGERING},
        {"stop_code": "UserInitiated"},
        "FAILED",
        "USER_ERROR",
        "worker_result",
    ),
    (
        "a result of an earlier attempt counts for nothing",
        {**committed(result()), "attempt": 2},
        {},
        "FAILED",
        "USER_ERROR",
        "exit_code",
    ),
    (
        "a claim refused comes before all",
        {"stop_cause": StopCause.START_TIMEOUT},
        {"code": 75},
        "FAILED",
        "INFRASTRUCTURE",
        "claim_refused",
    ),
    # A worker's shutdown is only a hint.
    ("shutdown without a better reason", committed(SHUTDOWN), {"code": 143}, "FAILED", "SHUTDOWN", "shutdown"),
    (
        "shutdown by a Spot reclaim",
        committed(SHUTDOWN),
        {"stop_code": "SpotInterruption"},
        "FAILED",
        "SPOT_INTERRUPTED",
        "spot",
    ),
    (
        "shutdown by a retirement",
        committed(SHUTDOWN),
        {"stopped_reason": "ECS is performing maintenance"},
        "FAILED",
        "INFRASTRUCTURE",
        "infrastructure",
    ),
    (
        "shutdown by a cancel",
        {**committed(SHUTDOWN), "cancel_requested_at": ago(90)},
        {},
        "CANCELLED",
        None,
        "our_cause",
    ),
    (
        "shutdown by our time limit",
        {**committed(SHUTDOWN), "stop_cause": StopCause.TIMED_OUT},
        {},
        "FAILED",
        "TIMED_OUT",
        "our_cause",
    ),
    (
        "a shutdown that lingered is still a shutdown",
        {**committed(SHUTDOWN), "stop_cause": StopCause.LINGERING},
        {"stop_code": "UserInitiated"},
        "FAILED",
        "SHUTDOWN",
        "shutdown",
    ),
    # Our own causes.
    (
        "a cancel by its cause",
        {"stop_cause": StopCause.CANCELLED},
        {"stop_code": "UserInitiated", "code": 143},
        "CANCELLED",
        None,
        "our_cause",
    ),
    (
        "a cancel requested, its task gone before we stopped it",
        {"cancel_requested_at": ago(5)},
        {"code": 0},
        "CANCELLED",
        None,
        "our_cause",
    ),
    (
        "a cancel beats a time limit",
        {"cancel_requested_at": ago(5), "stop_cause": StopCause.TIMED_OUT},
        {},
        "CANCELLED",
        None,
        "our_cause",
    ),
    ("a cancel and a refused claim", {"cancel_requested_at": ago(5)}, {"code": 75}, "CANCELLED", None, "claim_refused"),
    ("our time limit", {"stop_cause": StopCause.TIMED_OUT}, {"code": 137}, "FAILED", "TIMED_OUT", "our_cause"),
    (
        "our start timeout",
        {"stop_cause": StopCause.START_TIMEOUT},
        {"code": None},
        "FAILED",
        "START_TIMEOUT",
        "our_cause",
    ),
    ("superseded", {"stop_cause": StopCause.SUPERSEDED}, {"code": 143}, "FAILED", "INFRASTRUCTURE", "our_cause"),
]


@pytest.mark.parametrize(
    ("on_record", "seen", "ending", "failure_class", "rule"), [pytest.param(*row[1:], id=row[0]) for row in DECIDED]
)
def test_a_task_that_ended_with_something_on_record(
    on_record: dict[str, Any], seen: dict[str, Any], ending: str, failure_class: str | None, rule: str
) -> None:
    run = running(**on_record)
    seen = dict(seen)
    outcome = look(run, stopped(run, seen.pop("code", 1), **seen))
    assert (outcome.ending, outcome.failure_class, outcome.rule) == (ending, failure_class, rule)


UNDECIDED = [
    ("another ARN than the one on record", running(), stopped(running(), arn=OTHER_ARN), "another_task"),
    ("a task of another attempt", running(attempt=2), stopped(running(attempt=1), 0), "another_task"),
    ("a task of another run", running(), stopped(running(run_id="r2")), "another_task"),
    ("still running", running(), task_of(running()), "not_ended"),
    (
        "a Spot warning while the task runs",
        running(),
        task_of(running(), stop_code="SpotInterruption", desired_status="STOPPED"),
        "not_ended",
    ),
    ("stopping, with its exit code known", running(), stopped(running(), 1, last_status="DEPROVISIONING"), "not_ended"),
    ("a committed success while the task still runs", running(**committed(result())), task_of(running()), "not_ended"),
]


@pytest.mark.parametrize(("run", "task", "rule"), [pytest.param(*row[1:], id=row[0]) for row in UNDECIDED])
def test_a_task_that_says_nothing_yet(run: Run, task: SeenTask, rule: str) -> None:
    outcome = look(run, task)
    assert (outcome.ending, outcome.rule) == (Ending.UNDECIDED, rule)


YOUNG, OLD = {"launch_sent_at": ago(599)}, {"launch_sent_at": ago(600)}
MISSING = [
    ("young", YOUNG, 9, "UNDECIDED", None, "missing_young"),
    ("young, even with a cancel", {**YOUNG, "cancel_requested_at": ago(5)}, 9, "UNDECIDED", None, "missing_young"),
    ("old, seen missing once", OLD, 1, "UNDECIDED", None, "missing_young"),
    ("old, seen missing twice", OLD, 2, "FAILED", "LOST", "missing_lost"),
    (
        "never sent by the record: by the time since it runs",
        {"launch_sent_at": None, "active_since": ago(300)},
        9,
        "UNDECIDED",
        None,
        "missing_young",
    ),
    ("a committed failure", {**OLD, **committed(USER_FAILURE)}, 2, "FAILED", "USER_ERROR", "missing_result"),
    (
        "a cancel that nobody could enforce",
        {**OLD, "cancel_requested_at": ago(5)},
        2,
        "CANCELLED",
        None,
        "missing_cancelled",
    ),
    ("a shutdown whose cause ECS has forgotten", {**OLD, **committed(SHUTDOWN)}, 2, "FAILED", "LOST", "missing_lost"),
]


@pytest.mark.parametrize(
    ("on_record", "observations", "ending", "failure_class", "rule"),
    [pytest.param(*row[1:], id=row[0]) for row in MISSING],
)
def test_a_task_that_ecs_calls_missing(
    on_record: dict[str, Any], observations: int, ending: str, failure_class: str | None, rule: str
) -> None:
    outcome = look(running(**on_record), None, missing_observations=observations)
    assert (outcome.ending, outcome.failure_class, outcome.rule) == (ending, failure_class, rule)


STORED = [
    ("counts", {}, result(), "SUCCEEDED", "worker_result"),
    ("of another attempt counts for nothing", {}, result(attempt=2), "FAILED", "exit_code"),
    ("is beaten by a cancel", {"cancel_requested_at": ago(900)}, result(), "CANCELLED", "our_cause"),
    ("is beaten by a cancel's cause", {"stop_cause": StopCause.CANCELLED}, result(), "CANCELLED", "our_cause"),
    ("counts beside our own time limit", {"stop_cause": StopCause.TIMED_OUT}, result(), "SUCCEEDED", "worker_result"),
    ("is beaten by the record's own", committed(USER_FAILURE), result(), "FAILED", "worker_result"),
]


@pytest.mark.parametrize(
    ("on_record", "stored", "ending", "rule"), [pytest.param(*row[1:], id=row[0]) for row in STORED]
)
def test_a_result_that_only_lies_in_s3(on_record: dict[str, Any], stored: WorkerResult, ending: str, rule: str) -> None:
    run = running(**on_record)
    outcome = look(run, stopped(run), stored_result=stored)
    assert (outcome.ending, outcome.rule) == (ending, rule)


def test_a_result_in_s3_ends_a_run_whose_task_ecs_has_forgotten() -> None:
    outcome = look(running(), None, stored_result=result(), missing_observations=2)
    assert (outcome.ending, outcome.rule) == (Ending.SUCCEEDED, "missing_result")


def test_a_message_says_what_ecs_said_in_the_words_of_the_runbook() -> None:
    memory = look(running(), worker_and_sidecar(137, "OutOfMemoryError: Container killed due to memory usage"))
    assert "Container was killed" in memory.message
    assert "memory exhaustion" in memory.message
    assert "OutOfMemoryError" in memory.message
    assert (
        look(running(**committed(SHUTDOWN)), stopped(running(), 143)).message == "Worker shutdown requested via SIGTERM"
    )
    assert (
        "by alice" in look(running(), stopped(running(), stop_code="UserInitiated", stopped_reason="by alice")).message
    )
    unknown = look(running(), stopped(running(), None, stop_code="SomethingNew", stopped_reason="words of 2031"))
    assert "SomethingNew: words of 2031" in unknown.message


def test_every_rule_for_a_shown_task_has_a_row() -> None:
    rows = {row[-1] for row in (*FAILURES, *DECIDED, *UNDECIDED)}
    assert rows == {name for name, _ in TASK_RULES}


def test_a_missing_task_is_lost_only_from_the_very_end_of_its_grace_on() -> None:
    run = running(launch_sent_at=NOW)
    for seconds, ending in ((599.9, Ending.UNDECIDED), (600, Ending.FAILED)):
        at = NOW + timedelta(seconds=seconds)
        assert look(run, None, now=at, missing_observations=2).ending is ending
