"""Build mode: while a flow's function runs once with placeholders, calls of tasks are written down instead of made."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

from dagy_control.errors import Permanent
from dagy_control.model.flow_tasks import TaskSpec
from dagy_control.model.flow_templates import NESTING_MAX, Json
from dagy_control.sdk.places import Place, place_of_call, place_of_function


class FlowBuildError(Permanent):
    """A flow's function cannot be turned into a FlowSpec. The message says what, where, and what to write instead.

    It ends with the line of the author's source that it is about, `place`: by default the one that is running.
    """

    def __init__(self, message: str, place: Place | None = None) -> None:
        self.text = message
        self.place = place or place_of_call()
        told = self.place is None or str(self.place) in message
        super().__init__(message if told else f"{message} ({self.place})")


class Deferred:
    """A value that exists only at run time. It can be passed to tasks and returned; any other use is refused at once."""

    __slots__ = ("description",)

    def __init__(self, description: str) -> None:
        self.description = description

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)  # Python's own protocols ask, and take no for an answer
        _refuse(self, f"its attribute {name!r} was asked for")


def _refuse(deferred: Deferred, use: str) -> NoReturn:
    raise FlowBuildError(
        f"the {deferred.description} has no value while the flow is built, but {use}. A flow's body only connects tasks: "
        "move this into a @task and pass the value to it"
    )


def _refusal(use: str) -> Callable[..., NoReturn]:
    def refuse(self: Deferred, *_: object) -> NoReturn:
        _refuse(self, use)

    return refuse


_MISUSES = {
    "it was used as a condition (if, while, and, or, not)": "bool",
    "it was iterated over; to fan out over a list that is known now, use task.map([...])": "iter len contains reversed next",
    "it was indexed or assigned into": "getitem setitem delitem",
    "it was compared": "eq ne lt le gt ge",
    "it was calculated with": (
        "add radd sub rsub mul rmul matmul rmatmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow "
        "and rand or ror xor rxor lshift rlshift rshift rrshift neg pos abs invert round"
    ),
    "it was turned into a number": "int float complex index",
    "it was turned into text": "str format bytes",
    "it was called": "call",
    "it was awaited": "await",
    "it was used in a with statement": "enter exit aenter aexit",
}
for _use, _names in _MISUSES.items():
    for _name in _names.split():
        setattr(Deferred, f"__{_name}__", _refusal(_use))


class TaskOutput(Deferred):
    """The result of a task call, to be passed to other tasks or returned."""

    __slots__ = ("build", "key")

    def __init__(self, key: str, build: "FlowBuild") -> None:
        super().__init__(f"output of task {key!r}")
        self.key = key
        self.build = build


class ParameterPlaceholder(Deferred):
    """A parameter of the flow, to be passed to tasks or returned."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__(f"parameter {name!r}")
        self.name = name


class FlowBuild:
    """The tasks written down so far."""

    def __init__(self, flow_name: str) -> None:
        self.flow_name = flow_name
        self.tasks: list[TaskSpec] = []
        self.places: dict[str, Place | None] = {}
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def new_key(self, name: str) -> str:
        """The name itself the first time, then name-2, name-3 and so on."""
        key = name
        while key in self._taken:
            self._counts[name] = self._counts.get(name, 1) + 1
            key = f"{name}-{self._counts[name]}"
        self._taken.add(key)
        return key

    def add(self, task: TaskSpec) -> TaskOutput:
        """Write a task down, and where it is called."""
        self.tasks.append(task)
        self.places[task.key] = place_of_call()
        return TaskOutput(task.key, self)

    def template(self, value: object, where: str, depth: int = 0) -> Json:
        """The template that stands for a value. Raises `FlowBuildError` for what JSON has not."""
        if depth > NESTING_MAX:
            raise FlowBuildError(f"{where} is nested deeper than {NESTING_MAX} levels; make it in a task")
        if isinstance(value, TaskOutput):
            if value.build is not self:
                raise FlowBuildError(
                    f"{where} holds the {value.description} of another build; call the task in this flow's own body"
                )
            return {"$task": value.key}
        if isinstance(value, ParameterPlaceholder):
            return {"$param": value.name}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list | tuple):
            items: list[Json] = [self.template(item, where, depth + 1) for item in value]
            return {"$tuple": items} if isinstance(value, tuple) else items
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            pairs = {key: self.template(item, where, depth + 1) for key, item in value.items()}
            if any(key.startswith("$") for key in pairs):
                return {"$dict": [[key, item] for key, item in pairs.items()]}
            return pairs
        raise FlowBuildError(
            f"{where} holds a {type(value).__name__}, which a flow cannot store. Pass None, bool, int, float, str, lists, "
            "tuples and dicts with string keys, or make the value in a @task"
        )


_current: ContextVar[FlowBuild | None] = ContextVar("dagy_flow_build", default=None)


def current_build() -> FlowBuild | None:
    """The flow that is being built in this context, if any."""
    return _current.get()


@contextmanager
def building(flow_name: str) -> Iterator[FlowBuild]:
    """Build mode, for the time of the block."""
    build = FlowBuild(flow_name)
    token = _current.set(build)
    try:
        yield build
    finally:
        _current.reset(token)


def import_path_of(function: Callable[..., object], what: str) -> str:
    """The "package.module:name" by which a child process finds this function. Raises `FlowBuildError` if there is none."""
    name = function.__qualname__
    if "<" in name:
        raise FlowBuildError(
            f"{what} is defined inside a function or is a lambda ({name}); its own process could not import it. "
            "Define it at the top level of a module",
            place_of_function(function),
        )
    return f"{_module_of(function, what)}:{name}"


def _module_of(function: Callable[..., object], what: str) -> str:
    if function.__module__ != "__main__":
        return function.__module__
    main = sys.modules["__main__"]
    if (spec := getattr(main, "__spec__", None)) is not None:  # python -m package.module
        return str(spec.name)
    if (file := getattr(main, "__file__", None)) is not None:  # python folder/module.py, whose folder is on sys.path
        return Path(file).stem
    raise FlowBuildError(
        f"{what} was typed into an interactive session; put it into a file, so that its process can import it",
        place_of_function(function),
    )
