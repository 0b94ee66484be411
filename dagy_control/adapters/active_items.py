"""Entries of the `active` index, decoded straight from an answer of Query: what every pass reads of every run.

As tolerant as `run_codec`: a number may be text, a time epoch seconds, absent and NULL are one. Nonsense makes the one entry unreadable.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, NotRequired

import msgspec
from typing_extensions import TypedDict

from dagy_control.adapters.attributes import in_utc
from dagy_control.adapters.hot_answers import AnswerForm
from dagy_control.adapters.run_codec import HANDWRITTEN
from dagy_control.kernel.telemetry import log
from dagy_control.model.runs import ActiveRun, FailureClass, ResultStatus, RunStatus, StopCause
from dagy_control.model.tables import split_flow_key

_LOG = log(__name__)


class _Value(msgspec.Struct, rename="upper", gc=False, forbid_unknown_fields=True):
    """An attribute value: `{"S": …}`, `{"N": …}` or `{"NULL": true}`."""

    null: bool | None = None


class _Text(_Value):
    s: str | None = None
    n: str | None = None


class _Whole(_Value):
    s: int | None = None
    n: int | None = None


class _Moment(_Value):
    s: datetime | None = None
    n: datetime | None = None


class _Cause(_Value):
    s: StopCause | None = None
    n: None = None


class _Result(_Value):
    s: ResultStatus | None = None
    n: None = None


class _Class(_Value):
    s: FailureClass | None = None
    n: None = None


_VALUES: Mapping[object, type[_Value]] = {
    str: _Text,
    str | None: _Text,
    int: _Whole,
    int | None: _Whole,
    datetime | None: _Moment,
    StopCause | None: _Cause,
    ResultStatus | None: _Result,
    FailureClass | None: _Class,
}
_FROM_KEY = ("executor", "status")
_READ = tuple(each for each in fields(ActiveRun) if each.name not in _FROM_KEY)
_MOMENTS = frozenset(each.name for each in _READ if _VALUES[each.type] is _Moment)
_NAMES = tuple(each.name for each in _READ)

ActiveItem: Any = msgspec.defstruct(
    "ActiveItem",
    [("flow_key", _Text | None, None), *((each.name, _VALUES[each.type] | None, None) for each in _READ)],
    gc=False,
    module=__name__,
)
"""One entry. A new field of `ActiveRun` of another type fails right here, at import, not at the first item."""


class ActivePage(TypedDict):
    """An answer of Query."""

    Items: list[ActiveItem]
    LastEvaluatedKey: NotRequired[dict[str, Any] | None]


def _left_out(item: Any, problem: str) -> None:  # noqa: ANN401 - any JSON value
    match item:
        case {"run_id": {"S": run_id}}:
            pass
        case _:
            run_id = None
    _LOG.error("Run record cannot be read", event_type="RUN_UNREADABLE", run_id=run_id, problem=problem)


ACTIVE_PAGE = AnswerForm("Query", ActivePage, pieces="Items", piece=ActiveItem, left_out=_left_out)


def active_run(item: Any, *, executor: str, status: RunStatus) -> ActiveRun:  # noqa: ANN401 - an `ActiveItem`
    """The run that an entry shows. `executor` and `status` are told by the key under which it was found."""
    values = dict(HANDWRITTEN)
    for name in _NAMES:
        shown = getattr(item, name)
        if shown is None:
            continue
        value = shown.s if shown.s is not None else shown.n
        if value is not None:
            values[name] = in_utc(value) if name in _MOMENTS else value
    values["executor"], values["status"] = executor, status
    if item.flow_key is not None:
        values["org_id"], values["flow_name"] = split_flow_key(item.flow_key.s)
    return ActiveRun(**values)
