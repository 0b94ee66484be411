"""One attempt's call: find the callable, fill in its arguments, call it, and turn whatever happens into plain bytes and text.

The same code runs in a task's child process and in a task's thread. A result travels pickled and is unpickled only where
another task takes it, so that no object of the user's is made in the worker for a process task.
"""

import asyncio
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import asdict
from types import ModuleType
from typing import NamedTuple

from dagy_control.flow_engine.graph import TaskError
from dagy_control.flow_engine.packing import PackedResult, Packing, ResultFile, UnpackableError, pack, unpack
from dagy_control.model.flow_templates import Json, template_operator
from dagy_control.model.flows import nearest
from dagy_control.model.runs import FailureClass

MESSAGE_CHARS_MAX = 4_000
TRACEBACK_CHARS_MAX = 32_000


class UnresolvedCallableError(Exception):
    """A task's callable cannot be had. The message says what was looked for, where, and what is there instead."""


class Declared:
    """Stands in a module for a function, as a decorator leaves it: what an attempt calls is `function`."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function


class Call(NamedTuple):
    """Everything that an attempt needs. `results`: the packed results that the templates refer to, by task key.

    `retry_condition`: import path of the function that is asked about an exception; None: every exception is worth a retry.
    """

    task_key: str
    import_path: str
    args: tuple[Json, ...]
    kwargs: Mapping[str, Json]
    parameters: Mapping[str, Json]
    results: Mapping[str, PackedResult]
    packing: Packing
    retry_condition: str | None = None


class CallEnd(NamedTuple):
    """What came of a call: the packed result, or an error. `used_loop`: the callable was a coroutine's; it does not travel."""

    result: PackedResult | None = None
    error: TaskError | None = None
    used_loop: bool = False

    def to_bytes(self) -> bytes:
        """For the pipe out of a child process. An error travels as JSON, a result as it is, of a file only the size."""
        if self.error is not None:
            return b"E" + json.dumps(asdict(self.error)).encode()
        if isinstance(self.result, ResultFile):
            return b"F%d" % self.result.size
        return b"R" + (self.result or b"")

    @classmethod
    def from_bytes(cls, data: bytes, packing: Packing) -> "CallEnd":
        """Read what `to_bytes` wrote. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        kind, rest = data[:1], data[1:]
        if kind == b"R":
            return cls(result=rest)
        if kind == b"F":
            return cls(result=ResultFile(packing.file, int(rest)))
        fields = json.loads(rest)
        return cls(error=TaskError(**{**fields, "failure_class": FailureClass(fields["failure_class"])}))


def perform(call: Call) -> CallEnd:
    """Make the call. Never raises: whatever the user's code raises, SystemExit included, becomes the error."""
    try:
        function = resolve_callable(call.import_path, call.task_key)
    except UnresolvedCallableError as failure:
        cause = failure.__cause__
        error = TaskError(
            "ImportError", str(failure)[:MESSAGE_CHARS_MAX], _trace(cause), FailureClass.IMPORT, retryable=False
        )
        return CallEnd(error=error)
    try:
        args = [fill(template, call.parameters, call.results) for template in call.args]
        kwargs = {name: fill(template, call.parameters, call.results) for name, template in call.kwargs.items()}
        value = function(*args, **kwargs)
        if used_loop := inspect.iscoroutine(value):
            value = _run_coroutine(value)
    except BaseException as error:  # noqa: BLE001 - a task may raise anything, and all of it is the task's failure
        return CallEnd(error=_task_error(error, call))
    try:
        return CallEnd(result=pack(value, call.packing), used_loop=used_loop)
    except UnpackableError as error:
        message = f"the result of task {call.task_key!r} (a {type(value).__name__}) {error}"
        trace = _trace(error.__cause__)
        return CallEnd(error=TaskError(error.type, message[:MESSAGE_CHARS_MAX], trace, retryable=False))


def fill(template: Json, parameters: Mapping[str, Json], results: Mapping[str, PackedResult]) -> object:
    """The value that a template stands for. Unpacks the results that it names; raises what unpacking raises."""
    if isinstance(template, list):
        return [fill(item, parameters, results) for item in template]
    if not isinstance(template, dict):
        return template
    match template_operator(template):
        case ("$task", str(key)):
            return unpack(results[key])
        case ("$param", str(name)):
            return parameters[name]
        case ("$tuple", list(items)):
            return tuple(fill(item, parameters, results) for item in items)
        case ("$dict", list(pairs)):
            return {pair[0]: fill(pair[1], parameters, results) for pair in pairs if isinstance(pair, list)}
    return {name: fill(item, parameters, results) for name, item in template.items()}


def resolve_callable(import_path: str, task_key: str) -> Callable[..., object]:
    """Import "package.module:attribute". Raises `UnresolvedCallableError`, with the module's own exception as cause if it raised."""
    module_name, _, attribute = import_path.partition(":")
    module = _imported.get(module_name)
    if module is None or sys.modules.get(module_name) is not module:
        module = _imported[module_name] = _import(module_name, import_path, task_key)
    found: object = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UnresolvedCallableError(f"{_start(import_path, task_key)}: {_what_is_there(module, found, name)}")
        found = getattr(found, name)
    if isinstance(found, Declared):
        return found.function
    if not callable(found):
        raise UnresolvedCallableError(
            f"{_start(import_path, task_key)}: {attribute!r} in module {module_name!r} is a {type(found).__name__}, not a callable"
        )
    return found


_imported: dict[str, ModuleType] = {}
"""Modules whose import has succeeded here: asking Python again costs more than a light task."""

_importing: ContextVar[bool] = ContextVar("dagy_importing_a_flow", default=False)


def importing_a_flow() -> bool:
    """A flow's module is being imported for its tasks: whatever runs now is written outside of its functions."""
    return _importing.get()


def import_flow_module(name: str) -> ModuleType:
    """Import a module for a flow's tasks. Raises whatever it raises."""
    token = _importing.set(True)
    try:
        return importlib.import_module(name)
    finally:
        _importing.reset(token)


def _start(import_path: str, task_key: str) -> str:
    return f"Could not resolve callable for task {task_key!r} ({import_path})"


def _import(module_name: str, import_path: str, task_key: str) -> ModuleType:
    start = _start(import_path, task_key)
    try:
        return import_flow_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(missing + "."):
            raise UnresolvedCallableError(
                f"{start}: there is no module {missing!r}. {_surroundings(missing)}"
            ) from error
        raise UnresolvedCallableError(
            f"{start}: importing {module_name!r} failed: ImportError: {error}. "
            "Add the missing package to the flow's dependency packages or artifact"
        ) from error
    except BaseException as error:  # a user's module may raise anything while it is imported, SystemExit too
        raise UnresolvedCallableError(
            f"{start}: importing {module_name!r} failed: {type(error).__name__}: {_message(error)}"
        ) from error


def _task_error(error: BaseException, call: Call) -> TaskError:
    failure_class = FailureClass.OUT_OF_MEMORY if isinstance(error, MemoryError) else FailureClass.USER_ERROR
    retryable = call.retry_condition is None or _worth_a_retry(error, call.retry_condition, call.task_key)
    return TaskError(type(error).__name__, _message(error), _trace(error), failure_class, retryable)


def _worth_a_retry(error: BaseException, condition: str, task_key: str) -> bool:
    """Ask the user's function. One that fails itself is told of on standard error, and counts as a no."""
    try:
        return bool(resolve_callable(condition, task_key)(error))
    except BaseException as failure:  # noqa: BLE001 - it is user code, and the task has failed already
        text = f"retry_condition_fn {condition} of task {task_key!r} failed; the task is not tried again:\n{_trace(failure)}"
        sys.stderr.write(text.rstrip() + "\n")
        return False


def _run_coroutine(coroutine: Coroutine[object, object, object]) -> object:
    return asyncio.run(coroutine)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - __str__ is user code
        text = "(its message cannot be shown)"
    return text if len(text) <= MESSAGE_CHARS_MAX else text[:MESSAGE_CHARS_MAX] + " …"


def _trace(error: BaseException | None) -> str:
    """The traceback from the user's first frame on; the end is kept when it is long, as that is where it broke."""
    if error is None:
        return ""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__ and frames.tb_next is not None:
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # noqa: BLE001 - formatting calls user code (__str__, __notes__)
        text = f"{type(error).__name__} (its traceback cannot be shown)"
    return text[-TRACEBACK_CHARS_MAX:]


def _surroundings(missing: str) -> str:
    parent, _, _ = missing.rpartition(".")
    if parent and (package := sys.modules.get(parent)) is not None:
        folders = list(getattr(package, "__path__", []))
        if not folders:
            return f"{parent!r} is a module ({getattr(package, '__file__', None)}), not a package"
        return f"Looked in {folders}; an __init__.py or the file may be missing from the artifact"
    places = [place for place in sys.path if place][:8]
    return f"Looked in {places}; add it to the artifact or to the deployment's dependency packages"


def _what_is_there(module: ModuleType, owner: object, name: str) -> str:
    public = [known for known in dir(owner) if not known.startswith("_")]
    place = f"module {module.__name__!r} ({getattr(module, '__file__', 'built in')})"
    within = place if owner is module else f"{getattr(owner, '__qualname__', owner)} in {place}"
    return f"{within} has no {name!r}{nearest(name, public)}. It has: {', '.join(public[:20]) or 'nothing public'}"
