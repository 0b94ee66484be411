"""Runs as people read them: whatever a user's error says comes out as it is."""

import sys
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import RenderableType

from dagy_control.entrypoints.command import console
from dagy_control.entrypoints.runs_view import replay_note, run_page, runs_table
from dagy_control.model.failures import CLASSES
from dagy_control.model.runs import FailureClass, RunStatus, Transition
from dagy_control.model.task_runs import TaskRun
from dagy_control.requests.orders import LaunchOrder
from tests.builders import NOW, a_run

MARKUP = "ValueError: no [/b] and no [red]list[0]"


def printed(what: RenderableType, monkeypatch: pytest.MonkeyPatch) -> str:
    out = StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    console().print(what)
    return out.getvalue()


def test_an_error_text_that_looks_like_markup_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    why = Transition(at=NOW, from_status="RUNNING", to_status="FAILED", attempt=1, by="worker", why=MARKUP)
    run = a_run(RunStatus.FAILED, error_message=MARKUP, failure_class=FailureClass.USER_ERROR, transitions=(why,))
    task = TaskRun(
        run_id="r1",
        task_run_id="0001#t",
        task_name="t",
        status="FAILED",
        attempts=1,
        run_attempt=1,
        error_message=MARKUP,
    )
    assert printed(run_page(run, [task]), monkeypatch).count(MARKUP) == 3


def test_a_failed_runs_page_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(RunStatus.FAILED, failure_class=FailureClass.LOST, error_message="gone")
    page = printed(run_page(run, []), monkeypatch)
    assert "etl of acme, run r1: FAILED" in page
    assert CLASSES[FailureClass.LOST].remedy[:60] in page
    assert "Tasks" not in page, "it has none"


def test_the_remedy_is_that_of_what_ecs_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "CannotPullContainerError: write /tmp/layer: no space left on device"
    run = a_run(RunStatus.FAILED, failure_class=FailureClass.IMAGE_PULL, stopped_reason=said)
    assert "ephemeral_storage_gib" in printed(run_page(run, []), monkeypatch)


def test_a_cost_is_shown_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = a_run(RunStatus.SUCCEEDED, estimated_cost_usd=0.04937)
    assert "about 0.049370 USD" in printed(run_page(known, []), monkeypatch)
    assert "USD" not in printed(run_page(a_run(RunStatus.SUCCEEDED), []), monkeypatch)


def test_a_list_has_a_line_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [a_run(run_id=f"run-{number}") for number in range(3)]
    lines = printed(runs_table(runs), monkeypatch).splitlines()
    assert [line.split()[0] for line in lines if "run-" in line] == ["run-0", "run-1", "run-2"]


def test_each_line_of_an_error_stands_below_its_first(monkeypatch: pytest.MonkeyPatch) -> None:
    page = printed(run_page(a_run(RunStatus.FAILED, error_message="first\nsecond"), []), monkeypatch)
    first, second = (line for line in page.splitlines() if "first" in line or "second" in line)
    assert first.index("first") == second.index("second")


@pytest.mark.parametrize(
    ("lost", "told"),
    [(0, "2 (the flow may have 2)"), (1, "2 (the flow may have 2, and 1 not counted)")],
)
def test_attempts_lost_to_infrastructure_are_told_apart(lost: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(RunStatus.RUNNING, attempt=2, max_attempts=2, infra_failures=lost)
    assert told in printed(run_page(run, []), monkeypatch)


@pytest.mark.parametrize(
    ("status", "run_attempt", "cut_off"),
    [
        pytest.param(RunStatus.RUNNING, 2, False, id="its attempt goes on"),
        pytest.param(RunStatus.RUNNING, 1, True, id="a later attempt is on"),
        pytest.param(RunStatus.FAILED, 2, True, id="the run has ended"),
    ],
)
def test_a_task_without_an_end_is_told_apart_from_one_that_runs(
    status: RunStatus, run_attempt: int, cut_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TaskRun(run_id="r1", task_run_id="x#t", task_name="t", status="RUNNING", attempts=1, run_attempt=run_attempt)
    page = printed(run_page(a_run(status, attempt=2), [task]), monkeypatch)
    assert ("its worker ended first" in page) is cut_off


def test_a_key_that_was_used_for_something_else_is_noted() -> None:
    run = a_run(idempotency_key="nightly", parameters='{"day": "1"}')
    order = LaunchOrder(org_id=run.org_id, flow_name=run.flow_name, parameters={"day": "1"})
    assert replay_note(run, order) == ""
    other = replay_note(run, replace(order, parameters={"day": "2"}))
    assert (
        '\'nightly\' was used before, for etl with parameters {"day": "1"}, not {"day": "2"}: this is that run' in other
    )
    assert replay_note(run, replace(order, flow_name="other")) != ""


def test_a_retry_shows_which_run_it_is_a_retry_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "retry of         r0" in printed(run_page(a_run(retry_of="r0"), []), monkeypatch)
    assert "retry of" not in printed(run_page(a_run(), []), monkeypatch)


def test_a_failed_tasks_trace_and_the_runs_packages_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TaskRun(
        run_id="r1",
        task_run_id="0001#t",
        task_name="t",
        status="FAILED",
        attempts=1,
        run_attempt=1,
        error_message="no such customer",
        trace_uri="s3://b/traces/r1/0001/t.1.txt",
    )
    page = printed(run_page(a_run(RunStatus.FAILED, dep_package_slugs=("pandas-2", "acme/own")), [task]), monkeypatch)
    assert "no such customer" in page
    assert "trace: s3://b/traces/r1/0001/t.1.txt" in page
    assert "pandas-2, acme/own" in page
