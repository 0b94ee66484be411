"""One attempt's call: find the callable, fill in its arguments, call it, and turn whatever happens into plain bytes and text.

The same code runs in a task's child process and in a task's thread. A result travels pickled and is unpickled only where
another task takes it, so that no object of the user's is made in the worker for a process task.
"""

import asyncio
import importlib
import inspect
import json
import pickle
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from types import ModuleType

from dagy_control.flow_engine.graph import TaskError
from dagy_control.model.flow_templates import Json, template_operator
from dagy_control.model.flows import nearest
from dagy_control.model.runs import FailureClass

MESSAGE_CHARS_MAX = 4_000
TRACEBACK_CHARS_MAX = 32_000


class UnresolvedCallableError(Exception):
    """A task's callable cannot be had. The message says what was looked for, where, and what is there instead."""


@dataclass(frozen=True, slots=True)
class Call:
    """Everything that an attempt needs. `results`: the pickled results that the templates refer to, by task key."""

    task_key: str
    import_path: str
    args: tuple[Json, ...]
    kwargs: Mapping[str, Json]
    parameters: Mapping[str, Json]
    results: Mapping[str, bytes]
    result_bytes_max: int


@dataclass(frozen=True, slots=True)
class CallEnd:
    """What came of a call: the pickled result, or an error."""

    result: bytes | None = None
    error: TaskError | None = None

    def to_bytes(self) -> bytes:
        """For the pipe out of a child process. An error travels as JSON, a result as it is."""
        if self.error is None:
            return b"R" + (self.result or b"")
        return b"E" + json.dumps(asdict(self.error)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "CallEnd":
        """Read what `to_bytes` wrote."""
        if data[:1] == b"R":
            return cls(result=data[1:])
        fields = json.loads(data[1:])
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
        if inspect.iscoroutine(value):
            value = _run_coroutine(value)
    except BaseException as error:  # noqa: BLE001 - a task may raise anything, and all of it is the task's failure
        return CallEnd(error=TaskError(type(error).__name__, _message(error), _trace(error)))
    return _pack(value, call)


def fill(template: Json, parameters: Mapping[str, Json], results: Mapping[str, bytes]) -> object:
    """The value that a template stands for. Unpickles the results that it names; raises what unpickling raises."""
    if isinstance(template, list):
        return [fill(item, parameters, results) for item in template]
    if not isinstance(template, dict):
        return template
    match template_operator(template):
        case ("$task", str(key)):
            return pickle.loads(results[key])  # noqa: S301 - written by our own child of the same run
        case ("$param", str(name)):
            return parameters[name]
        case ("$tuple", list(items)):
            return tuple(fill(item, parameters, results) for item in items)
        case ("$dict", list(pairs)):
            return {pair[0]: fill(pair[1], parameters, results) for pair in pairs if isinstance(pair, list)}
    return {name: fill(item, parameters, results) for name, item in template.items()}


def resolve_callable(import_path: str, task_key: str) -> Callable[..., object]:
    """Import "package.module:attribute". Raises `UnresolvedCallableError`, with the module's own exception as cause if it raised."""
    start = f"Could not resolve callable for task {task_key!r} ({import_path})"
    module_name, _, attribute = import_path.partition(":")
    try:
        module = importlib.import_module(module_name)
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
    found: object = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UnresolvedCallableError(f"{start}: {_what_is_there(module, found, name)}")
        found = getattr(found, name)
    if not callable(found):
        raise UnresolvedCallableError(
            f"{start}: {attribute!r} in module {module_name!r} is a {type(found).__name__}, not a callable"
        )
    return found


def _pack(value: object, call: Call) -> CallEnd:
    try:
        packed = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - __reduce__ and __getstate__ are user code
        message = (
            f"the result of task {call.task_key!r} (a {type(value).__name__}) cannot be pickled: {_message(error)}. "
            "Return plain data; open connections and files inside the task that uses them"
        )
        return CallEnd(error=TaskError("UnpicklableResult", message, _trace(error), retryable=False))
    if len(packed) > call.result_bytes_max:
        message = (
            f"the result of task {call.task_key!r} has {len(packed):,} bytes, more than the {call.result_bytes_max:,} allowed. "
            "Write it to S3 and return its address"
        )
        return CallEnd(error=TaskError("ResultTooLarge", message, retryable=False))
    return CallEnd(result=packed)


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
