"""Records as JSON documents, under the names that the tables use."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from dagy_control.model.runs import Run, Transition
from dagy_control.model.task_runs import TaskRun


def run_document(run: Run) -> dict[str, Any]:
    """A run for programs: what is absent in the table is absent here."""
    document = _document(run)
    document["transitions"] = [_transition(each) for each in run.transitions]
    return document


def task_run_document(task_run: TaskRun) -> dict[str, Any]:
    """A task run for programs."""
    return _document(task_run)


def _document(record: Run | TaskRun) -> dict[str, Any]:
    values = ((each.name, getattr(record, each.name)) for each in fields(record))
    return {name: _plain(value) for name, value in values if value is not None}


def _transition(transition: Transition) -> dict[str, Any]:
    return {
        "at": transition.at.isoformat(),
        "from": transition.from_status,
        "to": transition.to_status,
        "attempt": transition.attempt,
        "by": transition.by,
        "why": transition.why,
        **({} if transition.evidence is None else {"evidence": dict(transition.evidence)}),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any attribute's value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if hasattr(value, "items") else value
