"""A run's record: how a change applies, and the names and keys that other programs read."""

import pytest

from dagy_control.model.runs import (
    ACTIVE_ATTRIBUTES,
    ActiveRun,
    Run,
    RunChange,
    RunStatus,
    Transition,
    active_key,
    active_keys,
    active_view,
    applied,
    launch_token,
)
from tests.builders import NOW, a_run, committed, result, running


def test_a_change_applies_its_fields_and_adds_one_to_the_version() -> None:
    run = running(version=7)
    step = Transition(at=NOW, from_status="RUNNING", to_status="FAILED", attempt=1, by="test", why="x")
    change = RunChange(
        run_id="r1", expected_version=7, fields={"error_message": "x", "external_id": None}, transition=step
    )
    after = applied(run, change, "op-1")
    assert (after.version, after.op_id, after.error_message, after.external_id) == (8, "op-1", "x", None)
    assert after.transitions == (step,)


@pytest.mark.parametrize(("run_id", "version"), [("r1", 6), ("r1", 8), ("r2", 7)])
def test_a_change_of_another_version_or_run_does_not_apply(run_id: str, version: int) -> None:
    change = RunChange(run_id=run_id, expected_version=version, fields={})
    with pytest.raises(ValueError, match="expects version"):
        applied(running(version=7), change, "op-1")


def test_the_index_shows_a_run_without_what_only_the_record_holds() -> None:
    run = running(parameters='{"secret": 1}')
    view = active_view(run)
    assert type(view) is ActiveRun
    assert {name: getattr(view, name) for name in ACTIVE_ATTRIBUTES} == {
        name: getattr(run, name) for name in ACTIVE_ATTRIBUTES
    }
    assert not hasattr(view, "parameters")


def test_the_index_key_is_the_documented_one() -> None:
    assert active_key("ecs", "RUNNING", "123456789") == "ecs#RUNNING#06"  # CRC-32 of "123456789" is 0xCBF43926
    assert active_keys("ecs", "QUEUED")[10:12] == ("ecs#QUEUED#10", "ecs#QUEUED#11")
    assert len(set(active_keys("ecs", "QUEUED"))) == 16


def test_a_token_fits_ecs_and_differs_by_run_attempt_and_try() -> None:
    tokens = {launch_token(run_id, attempt, number) for run_id in ("a", "b") for attempt in (1, 2) for number in (1, 2)}
    assert len(tokens) == 8
    assert {len(token) for token in tokens} == {64}
    assert launch_token("a", 1, 1) in tokens


@pytest.mark.parametrize(
    ("run", "has_result"),
    [
        pytest.param(running(**committed(result())), True, id="of this attempt"),
        pytest.param(running(attempt=2, **committed(result(attempt=1))), False, id="of an earlier attempt"),
        pytest.param(running(), False, id="none"),
    ],
)
def test_only_a_result_of_the_current_attempt_counts(run: Run, has_result: bool) -> None:
    assert (run.committed_result is not None) == has_result


@pytest.mark.parametrize("status", RunStatus)
def test_three_statuses_are_terminal(status: RunStatus) -> None:
    assert a_run(status).status.is_terminal == (status in ("SUCCEEDED", "FAILED", "CANCELLED"))
