"""A task of a flow as JSON: what is written, and what is read or refused.

What `dagy.flow/1` could say is always written as it said it, and the rest only where a task uses it: a flow that uses nothing
newer runs on a worker that knows only format 1.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from dagy_control.model.flow_reading import StrictFields
from dagy_control.model.flow_tasks import NO_HOOKS, HookKind, Isolation, ResultFormat, TaskHooks, TaskSpec
from dagy_control.model.flow_templates import FlowSpecError, Json

E = TypeVar("E", bound=StrEnum)
SINCE_2 = ("retry_jitter_factor", "concurrency_limit", "retry_condition", "hooks", "result")


def task_document(task: TaskSpec) -> dict[str, Json]:
    """The task as a JSON object."""
    delays = task.retry_delay_seconds
    document: dict[str, Json] = {
        "key": task.key,
        "name": task.name,
        "import_path": task.import_path,
        "args": list(task.args),
        "kwargs": dict(task.kwargs),
        "retries": task.retries,
        "retry_delay_seconds": list(delays) if isinstance(delays, tuple) else delays,
        "timeout_seconds": task.timeout_seconds,
        "isolation": task.isolation,
    }
    if task.retry_jitter_factor:
        document["retry_jitter_factor"] = task.retry_jitter_factor
    if task.concurrency_limit is not None:
        document["concurrency_limit"] = task.concurrency_limit
    if task.retry_condition is not None:
        document["retry_condition"] = task.retry_condition
    if task.hooks != NO_HOOKS:
        document["hooks"] = {kind.value: list(task.hooks.of(kind)) for kind in HookKind if task.hooks.of(kind)}
    if task.result is not ResultFormat.PICKLE:
        document["result"] = task.result
    return document


def is_format_1(document: Mapping[str, Json]) -> bool:
    """A worker that knows only `dagy.flow/1` can read this task."""
    delays, isolation = document["retry_delay_seconds"], document["isolation"]
    return not isinstance(delays, list) and isolation != Isolation.FRESH and document.keys().isdisjoint(SINCE_2)


def read_task(value: Json, index: int, *, format_1: bool) -> TaskSpec:
    """Read what `task_document` wrote, in format 1 without what came later. Raises `FlowSpecError` for anything else."""
    where = f"flow spec, task {index}"
    found = StrictFields(value, where)
    isolation = _member(Isolation, found.take("isolation", str), f"{where}: isolation")
    newer = StrictFields({} if format_1 else found.take_known(SINCE_2), where)
    task = TaskSpec(
        key=found.take("key", str),
        name=found.take("name", str),
        import_path=found.take("import_path", str),
        args=tuple(found.take("args", list)),
        kwargs=found.take("kwargs", dict),
        retries=found.take("retries", int),
        retry_delay_seconds=_delays(found, format_1=format_1),
        timeout_seconds=found.take_seconds_or_none("timeout_seconds"),
        isolation=isolation,
        retry_jitter_factor=newer.take_seconds("retry_jitter_factor") if newer.has("retry_jitter_factor") else 0.0,
        concurrency_limit=newer.take("concurrency_limit", int) if newer.has("concurrency_limit") else None,
        retry_condition=newer.take("retry_condition", str) if newer.has("retry_condition") else None,
        hooks=_hooks(newer.take_json("hooks"), where) if newer.has("hooks") else NO_HOOKS,
        result=_member(ResultFormat, newer.take("result", str), f"{where}: result")
        if newer.has("result")
        else ResultFormat.PICKLE,
    )
    found.refuse_the_rest()
    return task


def _delays(found: StrictFields, *, format_1: bool) -> float | tuple[float, ...]:
    if not format_1 and found.holds("retry_delay_seconds", list):
        return tuple(found.take_list_of_seconds("retry_delay_seconds"))
    return found.take_seconds("retry_delay_seconds")


def _hooks(value: Json, where: str) -> TaskHooks:
    found = StrictFields(value, f"{where}, hooks")
    paths = {kind.value: tuple(found.take_texts(kind)) for kind in HookKind if found.has(kind)}
    found.refuse_the_rest()
    return TaskHooks(**paths)


def _member(kind: type[E], text: str, what: str) -> E:
    if text not in tuple(kind):
        raise FlowSpecError(f"{what} must be {' or '.join(repr(each.value) for each in kind)}, not {text!r}")
    return kind(text)
