"""Records as JSON documents, under the names that the tables use."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, cast

from dagy_control.model.deployments import Deployment
from dagy_control.model.flow_templates import Json
from dagy_control.model.runs import Run, Transition
from dagy_control.model.task_runs import TaskRun
from dagy_control.worker.lines import REDACTED, Redactor


def hiding(run: Run, redact_keys: Iterable[str]) -> Run:
    """The run as it may be shown: without the values of parameters and variables under such names (`worker.redact_keys`).

    Without its launch request too: that has every variable of the worker in it, the installation's own among them.
    """
    redactor = Redactor(redact_keys)
    return replace(
        run,
        parameters=_hiding_parameters(run.parameters, redactor),
        environment={name: str(value) for name, value in redactor.hidden(run.environment).items()},
        launch_request=None,
    )


def hiding_defaults(deployment: Deployment, redact_keys: Iterable[str]) -> Deployment:
    """The deployment as it may be shown, likewise."""
    redactor = Redactor(redact_keys)
    environment = {name: str(value) for name, value in redactor.hidden(deployment.environment).items()}
    parameters = cast("dict[str, Json]", redactor.hidden(deployment.parameters))
    return replace(deployment, parameters=parameters, environment=environment)


def _hiding_parameters(text: str, redactor: Redactor) -> str:
    try:
        parameters = json.loads(text)
    except ValueError:
        return REDACTED  # not ours: nobody can tell names from values
    return json.dumps(redactor.hidden(parameters)) if isinstance(parameters, Mapping) else REDACTED


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
