"""`@task`: a function that a flow can call as a task of its own."""

import asyncio
import dataclasses
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from dagy_control.flow_engine.calls import Declared
from dagy_control.model.flow_tasks import TaskSpec
from dagy_control.sdk.building import Deferred, FlowBuild, FlowBuildError, TaskOutput, current_build, import_path_of
from dagy_control.sdk.places import place_of_function
from dagy_control.sdk.settings import TaskOptions, task_prototype

P = ParamSpec("P")
Q = ParamSpec("Q")
A = TypeVar("A")
R = TypeVar("R")


class Task(Declared, Generic[P, R]):
    """A function and how to run it. Outside a flow, calling it just calls the function.

    To a type checker a call gives what the function returns, in a flow too; while a flow is built it really gives a `TaskOutput`,
    which can only be passed on. Of an `async def` it gives the awaited value; called where an event loop runs, what is to be awaited.
    """

    def __init__(self, function: Callable[P, R | Coroutine[Any, Any, R]], prototype: TaskSpec) -> None:
        functools.update_wrapper(self, function)
        super().__init__(function)
        self.prototype = prototype

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Outside a flow: call the function. In a flow that is being built: one more task, with an edge from each output passed."""
        build = current_build()
        if build is None:
            return self._call(args, kwargs)
        return cast("R", self._record(build, build.new_key(self.prototype.name), args, kwargs))

    def map(self: "Task[Concatenate[A, Q], R]", items: Iterable[A], /, *others: Q.args, **common: Q.kwargs) -> list[R]:
        """One task for each item, given as the first argument; the rest goes to each. Items may be literals, outputs, parameters.

        Outside a flow: the list of the function's results. The list itself must be known now: an output cannot be mapped over.
        """
        if isinstance(items, Deferred):
            raise FlowBuildError(
                f"{self.prototype.name}.map needs a list that is known while the flow is built, not the {items.description}. "
                "Map over a list of known length, or loop inside one @task"
            )
        build = current_build()
        if build is None:
            return [self._call((item, *others), common) for item in items]
        prefix = build.new_key(self.prototype.name)
        outputs = [self._record(build, f"{prefix}.{i}", (item, *others), common) for i, item in enumerate(items)]
        return cast("list[R]", outputs)

    def _call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> R:
        value = self.function(*args, **kwargs)
        if inspect.iscoroutine(value) and not in_a_loop():
            value = asyncio.run(value)
        return cast("R", value)

    def _record(self, build: FlowBuild, key: str, args: tuple[object, ...], kwargs: dict[str, object]) -> TaskOutput:
        where = f"task {key!r} in flow {build.flow_name!r}"
        try:
            inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            hint = " (a method cannot be a task: write a function)" if str(error).endswith("'self'") else ""
            raise FlowBuildError(f"{where} is called wrongly: {error}{hint}") from error
        spec = dataclasses.replace(
            self.prototype,
            key=key,
            import_path=import_path_of(self.function, f"task {self.prototype.name!r}"),
            args=tuple(build.template(arg, f"argument {i} of {where}") for i, arg in enumerate(args)),
            kwargs={name: build.template(arg, f"argument {name!r} of {where}") for name, arg in kwargs.items()},
        )
        return build.add(spec)


class TaskDecorator(Protocol):
    """What `@task(…)` with settings gives: a task of a function, plain or `async def`."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(**options: Unpack[TaskOptions]) -> TaskDecorator: ...


def task(
    function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]
) -> Task[..., Any] | TaskDecorator:
    """Make a function a task, bare or with settings: see `TaskOptions`. Raises `FlowBuildError` for settings that cannot be."""
    prototype = task_prototype(options)

    def decorate(decorated: Callable[..., Any], /) -> Task[..., Any]:
        if inspect.isgeneratorfunction(decorated) or inspect.isasyncgenfunction(decorated):
            text = f"task {decorated.__name__!r} yields, but a task has one result; return a list"
            raise FlowBuildError(text, place_of_function(decorated))
        return Task(decorated, dataclasses.replace(prototype, name=prototype.name or decorated.__name__))

    return cast("TaskDecorator", decorate) if function is None else decorate(function)


def in_a_loop() -> bool:
    """An event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
