"""What `@task(…)` may be given, and how it becomes data: functions by import path, delays as numbers."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict, TypeVar, cast

from dagy_control.model.flow_tasks import HookKind, Isolation, ResultFormat, TaskHooks, TaskSpec
from dagy_control.model.flows import nearest
from dagy_control.sdk.building import FlowBuildError, import_path_of

Functions = Callable[..., object] | Iterable[Callable[..., object]]
RETRY_SETTINGS_MAX = 100
E = TypeVar("E", Isolation, ResultFormat)


class TaskOptions(TypedDict, total=False):
    """The settings of a task, all optional; `docs/writing-flows.md` tells them in full.

    `name`: the function's by default. `retries`: attempts after the first. `retry_delay_seconds`: before each of them; a list:
    one for each in turn, the last repeats; a function: called now with `retries`, gives that list. `retry_jitter_factor`: each
    wait grows by up to this share of itself. `retry_condition_fn`: given the exception, says whether to try again.
    `timeout_seconds`: of one attempt. `concurrency_limit`: most attempts at once of all tasks of this name in a run.
    `on_running`, `on_completion`, `on_failure`, `on_retry`: functions that are given a `TaskEvent`.
    `isolation`: "process" (a child that a timeout really ends, and whose memory is its own; one that is clean takes the next task),
    "fresh" (such a child for each attempt alone), or "thread" (for light tasks: much cheaper, but a timeout can only abandon it, and
    a crash takes the worker along). `result`: "pickle", or "json" for plain data.
    """

    name: str | None
    retries: int
    retry_delay_seconds: "float | Iterable[float] | Callable[[int], Iterable[float]]"
    retry_jitter_factor: float | None
    retry_condition_fn: "Callable[[BaseException], bool] | None"
    timeout_seconds: float | None
    concurrency_limit: int | None
    on_running: "Functions | None"
    on_completion: "Functions | None"
    on_failure: "Functions | None"
    on_retry: "Functions | None"
    isolation: str
    result: str


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """For `retry_delay_seconds`: `backoff_factor` seconds before the first retry, and twice the last wait before each further one."""

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**retry for retry in range(retries)]

    return delays


def task_prototype(options: Mapping[str, object]) -> TaskSpec:
    """A TaskSpec of these settings, without a key, a callable or arguments. Raises `FlowBuildError` for what is no setting."""
    known = TaskOptions.__annotations__
    for option in options:
        if option not in known:
            raise FlowBuildError(f"@task has no setting {option!r}{nearest(option, known)}")
    given = {name: value for name, value in options.items() if value is not None}
    retries = _whole(given, "retries")
    condition = given.get("retry_condition_fn")
    prototype = TaskSpec(
        key="",
        name=str(given.get("name", "")),
        import_path="",
        retries=retries or 0,
        retry_delay_seconds=_delays(given.get("retry_delay_seconds", 0.0), retries or 0),
        timeout_seconds=_seconds(given["timeout_seconds"], "timeout_seconds") if "timeout_seconds" in given else None,
        isolation=_member(Isolation, given.get("isolation", Isolation.PROCESS), "isolation"),
        retry_jitter_factor=_seconds(given.get("retry_jitter_factor", 0.0), "retry_jitter_factor"),
        concurrency_limit=_whole(given, "concurrency_limit"),
        retry_condition=None if condition is None else _path(condition, "retry_condition_fn"),
        hooks=TaskHooks(**{kind.value: _paths(given.get(kind, ()), kind) for kind in HookKind}),
        result=_member(ResultFormat, given.get("result", ResultFormat.PICKLE), "result"),
    )
    if problems := [text for text in prototype.setting_problems() if prototype.name or not text.startswith("the name")]:
        raise FlowBuildError("@task: " + "; ".join(problems))
    return prototype


def _delays(value: object, retries: int) -> float | tuple[float, ...]:
    name = "retry_delay_seconds"
    if callable(value):
        if not 0 <= retries <= RETRY_SETTINGS_MAX:
            return 0.0  # the number of retries is refused by itself
        value = cast("Callable[[int], object]", value)(retries)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return _seconds(value, name)
    return tuple(_seconds(each, name) for each in value) or 0.0


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FlowBuildError(f"@task: {name} must be a number, not {value!r}")
    return float(value)


def _whole(given: Mapping[str, object], name: str) -> int | None:
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int | None):
        raise FlowBuildError(f"@task: {name} must be a whole number, not {value!r}")
    return value


def _member(kind: type[E], value: object, name: str) -> E:
    if value not in tuple(kind):
        raise FlowBuildError(f"{name} must be {' or '.join(repr(each.value) for each in kind)}, not {value!r}")
    return kind(cast("str", value))


def _paths(value: object, what: str) -> tuple[str, ...]:
    if callable(value):
        return (_path(value, what),)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise FlowBuildError(f"@task: {what} must be a function or a list of functions, not {value!r}")
    return tuple(_path(each, what) for each in value)


def _path(value: object, what: str) -> str:
    if not callable(value) or not hasattr(value, "__qualname__"):
        raise FlowBuildError(f"@task: {what} must be a function defined at the top level of a module, not {value!r}")
    return import_path_of(value, what)
