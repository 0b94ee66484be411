"""Entries of the `active` index, decoded straight from an answer of Query: what every pass reads of every run.

As tolerant as `run_codec`: a number may be text, a time epoch seconds, absent and NULL are one. Nonsense makes the one entry unreadable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, NotRequired

import msgspec
from typing_extensions import TypedDict

from dagy_control.adapters.attributes import Reader, read_attributes, read_text, to_item
from dagy_control.adapters.hot_answers import AnswerForm
from dagy_control.adapters.run_codec import HANDWRITTEN, RUN_READERS
from dagy_control.kernel.telemetry import log
from dagy_control.model.runs import ActiveRun, FailureClass, ResultStatus, RunStatus, StopCause
from dagy_control.model.tables import flow_key, split_flow_key

_LOG = log(__name__)


class _Value(msgspec.Struct, rename="upper", gc=False, frozen=True, forbid_unknown_fields=True):
    """An attribute value as this program writes it: one of a kind."""


class _Text(_Value, frozen=True):
    s: str | None = None


class _Whole(_Value, frozen=True):
    n: int | None = None


class _Moment(_Value, frozen=True):
    s: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Cause(_Value, frozen=True):
    s: StopCause | None = None


class _Result(_Value, frozen=True):
    s: ResultStatus | None = None


class _Class(_Value, frozen=True):
    s: FailureClass | None = None


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
_FROM_KEYS = ("executor", "status", "org_id", "flow_name")
"""Told by the key of the partition and by `flow_key`."""

_READ = {each.name: _VALUES[each.type] for each in fields(ActiveRun) if each.name not in _FROM_KEYS}
"""A new field of `ActiveRun` of another type fails right here, at import, not at the first item."""

_ABSENT: dict[str, Any] = {each.name: each.default for each in fields(ActiveRun) if each.default is not MISSING}
_ABSENT.update(HANDWRITTEN)
_KIND: Mapping[type[_Value], str] = {**dict.fromkeys(_VALUES.values(), "s"), _Whole: "n"}

ActiveItem: Any = msgspec.defstruct(
    "ActiveItem",
    [
        ("run_id", _Text),
        ("flow_key", _Text, _Text(flow_key("", ""))),
        *((name, value, value(_ABSENT[name])) for name, value in _READ.items() if name != "run_id"),
    ],
    gc=False,
    module=__name__,
)
"""One entry: its attributes under their names."""

_content = attrgetter(*(f"{name}.{_KIND[value]}" for name, value in _READ.items()))
_READERS: Mapping[str, Reader] = {**{name: RUN_READERS[name] for name in _READ}, "flow_key": read_text}
_Flat: Any = msgspec.defstruct("_Flat", [*_FROM_KEYS, *_READ], gc=False, module=__name__)
"""An entry without the envelopes of its values: field by field an `ActiveRun`."""


class ActivePage(TypedDict):
    """An answer of Query."""

    Items: list[ActiveItem]
    LastEvaluatedKey: NotRequired[dict[str, Any]]


def _left_out(item: Any, problem: str) -> None:  # noqa: ANN401 - any JSON value
    match item:
        case {"run_id": {"S": run_id}}:
            pass
        case _:
            run_id = None
    _LOG.error("Run record cannot be read", event_type="RUN_UNREADABLE", run_id=run_id, problem=problem)


def _mended(item: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The attributes as this program would have written them. Raises `UnreadableRecord`, or one of `UNREADABLE` for no item at all."""
    return to_item(read_attributes(item, _READERS, key=item["run_id"]["S"]))


ACTIVE_PAGE = AnswerForm("Query", ActivePage, pieces="Items", piece=ActiveItem, mend=_mended, left_out=_left_out)


def active_runs(items: Sequence[Any], *, executor: str, status: RunStatus) -> list[ActiveRun]:
    """The runs that entries (`ActiveItem`) show. `executor` and `status` are told by the key under which they were found."""
    flat = [_Flat(executor, status, *split_flow_key(item.flow_key.s), *_content(item)) for item in items]
    return msgspec.convert(flat, list[ActiveRun], from_attributes=True)
