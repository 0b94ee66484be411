"""A message of the task-state queue as people may be shown it: without the values of the run's environment. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from dagy_control.model.tasks import unsigned

HIDDEN = "[redacted]"
CUT = "… [redacted]"
_ENVIRONMENT = "environment"


def without_values(body: str) -> str:
    """The message with every variable's name and without its value, and without the signatures of addresses.

    RunTask's overrides come back in each task-state change ("Amazon ECS task state change events": `overrides`,
    `containerOverrides`, `environment`). Something may have wrapped the event as text in another JSON object (SNS does): such
    texts are looked through too. What is no JSON ends where it begins to speak of an environment.
    """
    try:
        message = json.loads(body)
        return unsigned(json.dumps(_shown(message), ensure_ascii=False))
    except (ValueError, RecursionError):
        before, found, _ = body.partition(_ENVIRONMENT)
        return unsigned(before + (found + CUT if found else ""))


def _shown(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, Mapping):
        return {name: _variables(each) if name == _ENVIRONMENT else _shown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return without_values(value) if isinstance(value, str) and _ENVIRONMENT in value else value


def _variables(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """`[{"name": …, "value": …}]` with the names only; nothing of what has another shape."""
    if not isinstance(value, list):
        return HIDDEN
    return [
        {name: each if name == "name" else HIDDEN for name, each in variable.items()}
        if isinstance(variable, Mapping)
        else HIDDEN
        for variable in value
    ]
