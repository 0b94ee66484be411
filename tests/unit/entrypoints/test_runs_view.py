"""Runs as people read them: whatever a user's error says comes out as it is."""

import sys
from io import StringIO

import pytest
from rich.console import RenderableType

from dagy_control.entrypoints.command import console
from dagy_control.entrypoints.runs_view import run_page, runs_table
from dagy_control.model.failures import CLASSES
from dagy_control.model.runs import FailureClass, RunStatus, Transition
from dagy_control.model.task_runs import TaskRun
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


def test_a_list_has_a_line_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [a_run(run_id=f"run-{number}") for number in range(3)]
    lines = printed(runs_table(runs), monkeypatch).splitlines()
    assert [line.split()[0] for line in lines if "run-" in line] == ["run-0", "run-1", "run-2"]
