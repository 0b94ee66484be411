"""Runs as items of DAGY_RUNS: attribute names are the dataclass' field names, as the architecture fixes them.

Reading is tolerant of absence (a record written by hand has few attributes) and of equivalents, never of nonsense: an
unknown status or a time that is none raises `UnreadableRecord` for that one item.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from dagy_control.adapters.attributes import (
    Item,
    Reader,
    UnreadableRecord,
    Value,
    check_size,
    read_attributes,
    read_enum,
    read_fraction,
    read_map,
    read_moment,
    read_text,
    read_texts,
    read_whole,
    to_item,
    to_value,
)
from dagy_control.model.runs import (
    FailureClass,
    ResultStatus,
    Run,
    RunGlance,
    RunStatus,
    StopCause,
    Transition,
    active_key,
)
from dagy_control.model.tables import flow_key

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

HANDWRITTEN: Mapping[str, Any] = {
    "org_id": "",
    "flow_name": "",
    "executor": "ecs",
    "attempt": 1,
    "launch_try": 1,
    "max_attempts": 1,
    "infra_failures": 0,
    "version": 0,
}
"""What a record means that lacks these. Version 0 is our word for "none yet": the first conditional write makes it 1."""


def run_item(run: Run) -> Item:
    """The run as an item, with what the indexes are keyed by. Raises `Permanent` when it is too large."""
    values: dict[str, Any] = {name: getattr(run, name) for name in RUN_ATTRIBUTES}
    values["transitions"] = [transition_map(each) for each in run.transitions]
    values["flow_key"] = flow_key(run.org_id, run.flow_name)
    values["correlation_root"] = run.parent_correlation_id or run.correlation_id
    if not run.status.is_terminal:
        values["active_key"] = active_key(run.executor, run.status, run.run_id)
    item = to_item(values)
    check_size(item, key=run.run_id)
    return item


def transition_map(transition: Transition) -> dict[str, Any]:
    """A transition under the names that people read: at, from, to, attempt, by, why."""
    return {
        "at": transition.at,
        "from": transition.from_status,
        "to": transition.to_status,
        "attempt": transition.attempt,
        "by": transition.by,
        "why": transition.why,
        **({} if transition.evidence is None else {"evidence": transition.evidence}),
    }


def read_run(item: Item) -> Run:
    """The run that an item of the table holds. Raises `UnreadableRecord`."""
    key = _run_id(item)
    values = {**HANDWRITTEN, **read_attributes(item, RUN_READERS, key=key)}
    if "status" not in values:
        raise UnreadableRecord(key, f"it has no status; give it one of {', '.join(RunStatus)}")
    values.setdefault("correlation_id", values["run_id"])
    values.setdefault("created_at", _oldest_time(values))
    return Run(**values)


def read_glance(item: Item) -> RunGlance:
    """As much of the run as `GLANCE_ATTRIBUTES` hold. Raises `UnreadableRecord`."""
    key = _run_id(item)
    readers = {name: RUN_READERS[name] for name in GLANCE_ATTRIBUTES}
    return RunGlance(
        **{"attempt": HANDWRITTEN["attempt"], **read_attributes(item, readers, key=key, needed=("status",))}
    )


def _run_id(item: Item) -> str:
    return str(item.get("run_id", {}).get("S", "(no run_id)"))


def _oldest_time(values: Mapping[str, Any]) -> datetime:
    """A stand-in for a missing created_at: the oldest time that the record names."""
    return min((value for value in values.values() if isinstance(value, datetime)), default=EPOCH)


def _transitions(value: Value) -> tuple[Transition, ...]:
    return tuple(_transition(read_map(each)) for each in value["L"])


def _transition(shown: Mapping[str, Any]) -> Transition:
    return Transition(
        at=read_moment(to_value(shown["at"])),
        from_status=str(shown.get("from", "")),
        to_status=str(shown.get("to", "")),
        attempt=int(shown.get("attempt", 1)),
        by=str(shown.get("by", "")),
        why=str(shown.get("why", "")),
        evidence=shown.get("evidence"),
    )


RUN_ATTRIBUTES: tuple[str, ...] = tuple(each.name for each in fields(Run))
GLANCE_ATTRIBUTES: tuple[str, ...] = tuple(each.name for each in fields(RunGlance))

_OTHERS: Mapping[str, Reader] = {
    "status": read_enum(RunStatus),
    "stop_cause": read_enum(StopCause),
    "result_status": read_enum(ResultStatus),
    "result_class": read_enum(FailureClass),
    "failure_class": read_enum(FailureClass),
    "duration_seconds": read_fraction,
    "estimated_cost_usd": read_fraction,
    "environment": read_map,
    "dep_package_slugs": read_texts,
    "evidence": read_map,
    "transitions": _transitions,
}
_BY_TYPE: Mapping[object, Reader] = {
    str: read_text,
    str | None: read_text,
    int: read_whole,
    int | None: read_whole,
    datetime: read_moment,
    datetime | None: read_moment,
}
RUN_READERS: Mapping[str, Reader] = {
    each.name: _OTHERS[each.name] if each.name in _OTHERS else _BY_TYPE[each.type] for each in fields(Run)
}
"""A reader for every attribute. A new field of another type fails right here, at import, not at the first item."""
