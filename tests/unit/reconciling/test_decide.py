"""What a reconciling pass does with a chunk of running runs."""

from typing import Any

import pytest

from dagy_control.model.runs import ActiveRun, ResultStatus, Run, RunStatus, StopCause
from dagy_control.model.tasks import SeenTask
from dagy_control.reconciling.decide import (
    ChunkPlan,
    ChunkSnapshot,
    ReconcilePolicy,
    decide,
    due_filter,
    wants_result_object,
    why_held,
)
from tests.builders import (
    ARN,
    CLUSTER,
    NOW,
    OTHER_ARN,
    WORKER,
    a_run,
    ago,
    committed,
    launching,
    result,
    running,
    stopped,
    task_of,
)

POLICY = ReconcilePolicy(
    container_name=WORKER, default_cluster=CLUSTER, stale_threshold_s=300, start_timeout_s=900, result_linger_s=120
)
FAILURE = committed(result(ResultStatus.FAILED))
CANCEL = {"cancel_requested_at": ago(1)}


def plan(run: ActiveRun, *tasks: SeenTask, **values: Any) -> ChunkPlan:
    defaults: dict[str, Any] = {"missing_observations": {}, "results": {}, "unreadable": frozenset()}
    living = {task.arn: task.desired_status for task in tasks if not task.has_ended}
    over = {task.arn: task for task in tasks if task.has_ended}
    snapshot = ChunkSnapshot(runs=[run], living=living, over=over, **{**defaults, **values})
    return decide(snapshot, POLICY, NOW)


@pytest.mark.parametrize(
    ("run", "due"),
    [
        pytest.param(running(for_s=299), False, id="young"),
        pytest.param(running(for_s=300), True, id="old enough"),
        pytest.param(running(for_s=1, **CANCEL), True, id="a cancel, at any age"),
        pytest.param(running(for_s=1, stop_cause=StopCause.TIMED_OUT), True, id="a stop cause, at any age"),
        pytest.param(running(active_since=None), True, id="of unknown age"),
        pytest.param(launching(sent_s_ago=9000), False, id="launching is not ours"),
        pytest.param(a_run(RunStatus.FAILED), False, id="over"),
    ],
)
def test_a_pass_looks_at_a_run(run: ActiveRun, due: bool) -> None:
    assert due_filter(POLICY, NOW)(run) == due


def test_a_late_start_is_due_whatever_the_stale_threshold() -> None:
    policy = ReconcilePolicy(
        container_name=WORKER, default_cluster=CLUSTER, stale_threshold_s=9000, start_timeout_s=900
    )
    assert due_filter(policy, NOW)(running(for_s=900, started_at=None))
    assert not due_filter(policy, NOW)(running(for_s=899, started_at=None))


@pytest.mark.parametrize(
    ("run", "task", "wanted"),
    [
        pytest.param(running(), stopped(running()), True, id="the task is over"),
        pytest.param(running(), None, True, id="the task is gone"),
        pytest.param(running(), task_of(running()), False, id="the task runs"),
        pytest.param(running(**FAILURE), stopped(running()), False, id="the record has a result"),
        pytest.param(running(external_id=OTHER_ARN), stopped(running()), False, id="another task"),
        pytest.param(running(external_id=None), None, False, id="no task on record"),
    ],
)
def test_the_result_object_is_read_only_when_it_can_decide(run: Run, task: SeenTask | None, wanted: bool) -> None:
    assert wants_result_object(run, task) == wanted


STOPS: list[Any] = [
    pytest.param(running(), {}, None, id="healthy"),
    pytest.param(running(**CANCEL), {}, "CANCELLED", id="a cancel on record"),
    pytest.param(
        running(**CANCEL, stop_cause=StopCause.CANCELLED), {}, "CANCELLED", id="a cancel whose StopTask failed"
    ),
    pytest.param(running(**CANCEL), {"desired_status": "STOPPED"}, None, id="a cancel, stopping already"),
    pytest.param(running(stop_cause=StopCause.TIMED_OUT), {}, "TIMED_OUT", id="a cause whose StopTask failed"),
    pytest.param(running(started_at=None, for_s=899), {}, None, id="not started yet"),
    pytest.param(running(started_at=None, for_s=900), {}, "START_TIMEOUT", id="not started in time"),
    pytest.param(running(for_s=90_000), {}, None, id="started long ago: the runtime limit is the orphan scanner's"),
    pytest.param(running(**{**FAILURE, "result_at": ago(119)}), {}, None, id="its result is 119 s old"),
    pytest.param(
        running(**{**FAILURE, "result_at": ago(120)}), {}, "LINGERING", id="alive two minutes after its result"
    ),
]


@pytest.mark.parametrize(("run", "seen", "cause"), STOPS)
def test_a_live_task_is_stopped_only_for_what_is_on_record_or_late(
    run: Run, seen: dict[str, Any], cause: str | None
) -> None:
    decided = plan(run, task_of(run, **seen))
    assert [stop.cause for stop in decided.stops] == ([cause] if cause else [])
    assert not decided.ends
    assert not decided.lost


def test_a_task_that_ended_ends_its_attempt_and_one_without_trace_waits_for_the_whole_pass() -> None:
    over = plan(running(), stopped(running()))
    assert [(end.run.run_id, end.outcome.ending) for end in over.ends] == [("r1", "FAILED")]
    gone = plan(running(), missing_observations={"r1": 2})
    assert not gone.ends
    assert [end.outcome.failure_class for end in gone.lost] == ["LOST"]


def test_a_stored_result_decides_and_travels_with_its_end() -> None:
    decided = plan(running(), stopped(running(), 0), results={"r1": result()})
    assert [(end.outcome.ending, end.stored_result) for end in decided.ends] == [("SUCCEEDED", result())]


@pytest.mark.parametrize(
    ("values", "tasks", "counted"),
    [
        pytest.param({"unreadable": frozenset({"r1"})}, [stopped(running(), 0)], (0, 1), id="S3 could not be read"),
        pytest.param({"unreadable": frozenset({"r1"}), "missing_observations": {"r1": 9}}, [], (0, 1), id="ECS would not look"),
        pytest.param({"missing_observations": {"r1": 1}}, [], (1, 0), id="missing once"),
        pytest.param({}, [task_of(running())], (0, 0), id="running"),
        pytest.param({}, [stopped(running(), arn=ARN, started_by="dagy/r1/9")], (0, 0), id="of another attempt"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_left_alone(
    values: dict[str, Any], tasks: list[SeenTask], counted: tuple[int, int]
) -> None:
    decided = plan(running(), *tasks, **values)
    assert decided == ChunkPlan([], [], [], [], *counted)


@pytest.mark.parametrize(
    ("lost", "looked_at", "all_looked_at", "held"),
    [
        pytest.param(9, 9, True, "", id="few runs, all of them looked at"),
        pytest.param(1, 9, False, "too few to tell", id="few of many runs looked at: even one may be a sign"),
        pytest.param(0, 9, False, "", id="few of many, none lost"),
        pytest.param(5, 10, True, "", id="half"),
        pytest.param(6, 10, True, "6 of 10 tasks are missing", id="more than half"),
        pytest.param(5, 10, False, "", id="half of a part"),
        pytest.param(6, 10, False, "6 of 10 tasks are missing", id="more than half of a part"),
        pytest.param(501, 1000, True, "too many to be true", id="more than half of many"),
    ],
)
def test_a_share_too_large_to_be_true_is_held(lost: int, looked_at: int, all_looked_at: bool, held: str) -> None:
    why = why_held(lost, looked_at, POLICY, all_looked_at=all_looked_at)
    assert held in why
    assert bool(why) == bool(held)
