"""The state machine by hand: what one end leads to."""

from dataclasses import replace

import pytest

from dagy_control.flow_engine.graph import AttemptEnd, FlowGraph, StopReason, TaskError
from dagy_control.model.flows import FlowSpec, TaskState
from dagy_control.model.outcomes import SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass, ResultStatus
from tests.flows.running import a_flow, a_task

OK = AttemptEnd(TaskState.SUCCEEDED)
BAD = AttemptEnd(TaskState.FAILED, TaskError("ValueError", "bad"))
HOPELESS = AttemptEnd(
    TaskState.FAILED, TaskError("ImportError", "gone", failure_class=FailureClass.IMPORT, retryable=False)
)
LATE = AttemptEnd(TaskState.TIMED_OUT, TaskError("TimeoutError", "late", failure_class=FailureClass.TIMED_OUT))
ENDED = AttemptEnd(TaskState.CANCELLED, TaskError("Cancelled", "stopped"))


def a_diamond(retries: int = 0, *, fail_fast: bool = False) -> FlowSpec:
    """Top to left and right, both to bottom; and one that stands alone."""
    return a_flow(
        a_task("top", "add"),
        a_task("left", "same", {"$task": "top"}, retries=retries, retry_delay_seconds=5),
        a_task("right", "same", {"$task": "top"}),
        a_task("bottom", "add", {"$task": "left"}, {"$task": "right"}),
        a_task("alone", "add"),
        fail_fast=fail_fast,
    )


def states(graph: FlowGraph) -> dict[str, str]:
    """Every task's state by its first letter's key."""
    return {key: graph.state(key).value for key in ("top", "left", "right", "bottom", "alone")}


def test_ready_tasks_come_in_the_order_of_the_flow_and_within_the_limit() -> None:
    graph = FlowGraph(a_diamond())
    assert graph.take_ready(0, 1) == ("top",)
    assert graph.take_ready(0, 9) == ("alone",)
    graph.finish("top", OK, 0)
    assert graph.take_ready(0, 9) == ("left", "right")
    graph.finish("right", OK, 0)
    assert graph.take_ready(0, 9) == ()
    graph.finish("left", OK, 0)
    assert graph.take_ready(0, 9) == ("bottom",)


@pytest.mark.parametrize(
    ("end", "retries", "failure_class"),
    [(BAD, 0, FailureClass.USER_ERROR), (LATE, 0, FailureClass.TIMED_OUT), (HOPELESS, 3, FailureClass.IMPORT)],
    ids=["failed", "timed out", "not worth a retry"],
)
def test_a_final_failure_skips_everything_downstream_and_nothing_else(
    end: AttemptEnd, retries: int, failure_class: FailureClass
) -> None:
    graph = FlowGraph(a_diamond(retries))
    graph.take_ready(0, 9)
    graph.finish("top", OK, 0)
    graph.take_ready(0, 9)
    changes = graph.finish("left", end, 0)
    assert [(change.key, change.state) for change in changes] == [("left", end.state), ("bottom", TaskState.SKIPPED)]
    graph.finish("right", OK, 0)
    graph.finish("alone", OK, 0)
    outcome = graph.outcome()
    assert (outcome.status, outcome.failed_task, outcome.failure_class) == (ResultStatus.FAILED, "left", failure_class)


def test_a_retry_waits_for_its_delay_and_the_last_failure_names_the_attempts() -> None:
    graph = FlowGraph(a_diamond(retries=1))
    graph.take_ready(0, 9)
    graph.finish("top", OK, 100)
    graph.take_ready(100, 9)
    (change,) = graph.finish("left", BAD, 100)
    assert (change.state, change.attempt, change.retry_in_s) == (TaskState.PENDING, 1, 5)
    assert graph.next_retry_s == 105
    assert graph.take_ready(104.9, 9) == ()
    assert graph.take_ready(105, 9) == ("left",)
    assert graph.next_retry_s is None
    graph.finish("left", BAD, 106)
    graph.finish("right", OK, 106)
    graph.finish("alone", OK, 106)
    assert graph.outcome().message == "Task 'left' FAILED after 2 attempts: ValueError: bad"


def test_fail_fast_cancels_what_waits_and_gives_no_more_retries() -> None:
    graph = FlowGraph(a_diamond(retries=3, fail_fast=True))
    graph.take_ready(0, 1)
    graph.finish("top", OK, 0)
    assert graph.take_ready(0, 3) == ("alone", "left", "right")
    graph.finish("right", BAD, 0)
    assert graph.stopped is StopReason.FAIL_FAST
    graph.finish("left", BAD, 0)
    graph.finish("alone", ENDED, 0)
    assert states(graph) == {
        "top": "SUCCEEDED", "left": "CANCELLED", "right": "FAILED", "bottom": "SKIPPED", "alone": "CANCELLED",
    }  # fmt: skip
    assert graph.outcome().failed_task == "right"


def test_fail_fast_cancels_a_task_that_has_not_started() -> None:
    graph = FlowGraph(a_diamond(fail_fast=True))
    graph.take_ready(0, 1)
    graph.finish("top", BAD, 0)
    assert (graph.over, graph.state("alone")) == (True, TaskState.CANCELLED)


def test_a_shutdown_cancels_what_waits_and_is_the_outcome() -> None:
    graph = FlowGraph(a_diamond(retries=1))
    graph.take_ready(0, 1)
    assert len(graph.stop(StopReason.SHUTDOWN)) == 4
    assert graph.stop(StopReason.SHUTDOWN) == ()
    graph.finish("top", OK, 0)
    outcome = graph.outcome()
    assert (outcome.failure_class, outcome.message, outcome.failed_task) == (
        FailureClass.SHUTDOWN,
        SHUTDOWN_MESSAGE,
        None,
    )


def test_a_shutdown_that_finds_the_last_task_succeeding_is_a_success() -> None:
    graph = FlowGraph(a_flow(a_task("only", "add")))
    graph.take_ready(0, 1)
    graph.stop(StopReason.SHUTDOWN)
    graph.finish("only", OK, 0)
    assert graph.outcome().status is ResultStatus.SUCCEEDED


def test_a_failure_with_retries_left_during_a_shutdown_is_the_shutdowns_doing() -> None:
    graph = FlowGraph(a_flow(a_task("only", "add", retries=1)))
    graph.take_ready(0, 1)
    graph.stop(StopReason.SHUTDOWN)
    (change,) = graph.finish("only", BAD, 0)
    assert change.state is TaskState.CANCELLED
    assert graph.outcome().failure_class is FailureClass.SHUTDOWN


def test_what_cannot_happen_is_an_error() -> None:
    graph = FlowGraph(a_diamond())
    with pytest.raises(ValueError, match="'top' is PENDING"):
        graph.finish("top", OK, 0)
    graph.take_ready(0, 1)
    with pytest.raises(ValueError, match="cannot end as RUNNING"):
        graph.finish("top", AttemptEnd(TaskState.RUNNING), 0)
    with pytest.raises(ValueError, match="5 tasks are not over"):
        graph.outcome()


def drained(graph: FlowGraph, limit: int = 9) -> list[tuple[str, ...]]:
    """What is taken at once, until all is over, each round ended well."""
    rounds = []
    while taken := graph.take_ready(0, limit):
        rounds.append(taken)
        for key in taken:
            graph.finish(key, OK, 0)
    return rounds


def test_a_name_at_its_limit_waits_and_holds_up_nobody_else() -> None:
    calls = [a_task(f"call-{n}", "add") for n in range(3)]
    calls = [replace(call, name="call", concurrency_limit=2) for call in calls]
    graph = FlowGraph(a_flow(*calls, a_task("other", "add"), a_task("last", "add")))
    assert graph.take_ready(0, 9) == ("call-0", "call-1", "other", "last")
    assert graph.take_ready(0, 9) == ()
    graph.finish("call-1", BAD, 0)
    assert graph.take_ready(0, 9) == ("call-2",)


def test_what_waited_for_its_name_goes_before_what_was_ready_later() -> None:
    calls = [replace(a_task(f"call-{n}", "add"), name="call", concurrency_limit=1) for n in range(3)]
    graph = FlowGraph(a_flow(*calls, *(a_task(f"t{n}", "add") for n in range(3))))
    assert drained(graph, 2) == [("call-0", "t0"), ("call-1", "t1"), ("call-2", "t2")]


def test_a_task_that_waits_for_its_retry_gives_its_place_to_another_of_its_name() -> None:
    calls = [
        replace(a_task(f"call-{n}", "add", retries=1, retry_delay_seconds=5.0), name="call", concurrency_limit=1)
        for n in range(2)
    ]
    graph = FlowGraph(a_flow(*calls))
    assert graph.take_ready(0, 9) == ("call-0",)
    graph.finish("call-0", BAD, 0)
    assert graph.take_ready(0, 9) == ("call-1",)
    assert graph.take_ready(5, 9) == ()
    graph.finish("call-1", OK, 5)
    assert graph.take_ready(5, 9) == ("call-0",)


def test_a_stop_ends_what_waits_for_its_name() -> None:
    calls = [replace(a_task(f"call-{n}", "add"), name="call", concurrency_limit=1) for n in range(2)]
    graph = FlowGraph(a_flow(*calls))
    graph.take_ready(0, 9)
    graph.stop(StopReason.SHUTDOWN)
    graph.finish("call-0", OK, 0)
    ended = [graph.state(key) for key in ("call-0", "call-1")]
    assert (graph.over, ended) == (True, [TaskState.SUCCEEDED, TaskState.CANCELLED])


def test_a_task_that_is_given_back_was_never_taken() -> None:
    tasks = [replace(a_task(key, "add"), name="t", concurrency_limit=1) for key in ("a", "b")]
    graph = FlowGraph(a_flow(*tasks))
    assert graph.take_ready(0, 1) == ("a",)
    graph.give_back("a")
    assert (graph.state("a"), graph.attempt("a")) == (TaskState.PENDING, 0)
    assert drained(graph) == [("a",), ("b",)]


def test_the_wait_before_a_retry_follows_the_list_and_the_runs_own_jitter() -> None:
    task = a_task("a", "add", retries=2, retry_delay_seconds=(1.0, 8.0), retry_jitter_factor=1.0)
    waits = []
    for salt in ("run-1", "run-2"):
        graph, now_s = FlowGraph(a_flow(task), salt=salt), 0.0
        for _ in range(2):
            graph.take_ready(now_s, 1)
            (change,) = graph.finish("a", BAD, now_s)
            waits.append(change.retry_in_s or 0.0)
            now_s = graph.next_retry_s or 0.0
    assert [1.0 <= waits[n] < 2.0 and 8.0 <= waits[n + 1] < 16.0 for n in (0, 2)] == [True, True]
    assert waits[:2] != waits[2:]
