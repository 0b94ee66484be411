"""Flows as data: what a flow's author wrote, as JSON that any later version of this program can read or refuse."""

import dataclasses
import difflib
import graphlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

from dagy_control.model.flow_reading import StrictFields
from dagy_control.model.flow_templates import FlowSpecError, Json, ParamRef, TaskRef, json_problem, references

FLOW_FORMAT = "dagy.flow/1"
SPEC_ENTRY = "flow.json"
"""The file of an artifact that holds its FlowSpec."""
FLOW_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
FLOW_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
TASK_KEY = re.compile(r"[A-Za-z0-9_.-]{1,200}")
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Isolation(StrEnum):
    """Where a task's attempt runs. PROCESS: a child that a timeout really ends. THREAD: cheap, and cannot be ended."""

    PROCESS = "process"
    THREAD = "thread"


class TaskState(StrEnum):
    """A task of a run. PENDING and RUNNING (also between two attempts) may still change, the others never do."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether the task is over for good."""
        return self not in (TaskState.PENDING, TaskState.RUNNING)


class FlowStatus(StrEnum):
    """A registered flow. RETIRED: kept for the record, refused for new runs."""

    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A parameter of a flow. `default` (any JSON) counts only when not `required`."""

    name: str
    required: bool = True
    default: Json = None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One call of a task. `key` is unique in the flow; `import_path` ("package.module:attribute") names the callable.

    `retries` counts attempts after the first. `timeout_seconds` bounds one attempt; None: no bound.
    """

    key: str
    name: str
    import_path: str
    args: tuple[Json, ...] = ()
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    retries: int = 0
    retry_delay_seconds: float = 0.0
    timeout_seconds: float | None = None
    isolation: Isolation = Isolation.PROCESS

    def references(self) -> tuple[TaskRef | ParamRef, ...]:
        """Everything that the arguments refer to, in order. Raises `FlowSpecError` for a template that is none."""
        return references([*self.args, *self.kwargs.values()])

    def upstream_keys(self) -> tuple[str, ...]:
        """Keys of the tasks whose results this one takes, each once, in order of first use."""
        return tuple(dict.fromkeys(ref.key for ref in self.references() if isinstance(ref, TaskRef)))

    def problems(self) -> Iterator[str]:
        """What is wrong with this task on its own."""
        where = f"task {self.key!r}"
        if not TASK_KEY.fullmatch(self.key):
            yield f"{where}: a key has 1 to 200 of the characters A-Z a-z 0-9 _ . -"
        if not FLOW_NAME.fullmatch(self.name):
            yield f"{where}: the name {self.name!r} must have 1 to 128 of the characters A-Z a-z 0-9 _ -; give @task(name=…)"
        if not IMPORT_PATH.fullmatch(self.import_path):
            yield f'{where}: the import path {self.import_path!r} must look like "package.module:function"'
        if not 0 <= self.retries <= 100:
            yield f"{where}: retries must be 0 to 100, not {self.retries}"
        if not 0 <= self.retry_delay_seconds <= 86_400:
            yield f"{where}: retry_delay_seconds must be 0 to 86400 (a day), not {self.retry_delay_seconds}"
        if self.timeout_seconds is not None and not 0 < self.timeout_seconds <= 604_800:
            yield f"{where}: timeout_seconds must be above 0 and at most 604800 (a week), not {self.timeout_seconds}"
        for name, template in (*((str(i), arg) for i, arg in enumerate(self.args)), *self.kwargs.items()):
            if problem := json_problem(template):
                yield f"{where}: argument {name} cannot be stored: {problem}; pass JSON values, or make the value in a task"


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """A flow: its parameters, its tasks in the order of their calls, and the template of its result.

    `fail_fast`: the first task that fails for good ends the flow; else, what does not depend on it still runs.
    `max_concurrency`: most tasks at once; None: the number of CPUs of the machine that runs it.
    """

    name: str
    version: str
    import_path: str
    parameters: tuple[ParameterSpec, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    result: Json = None
    fail_fast: bool = False
    max_concurrency: int | None = None

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal spec; equal specs give equal text."""
        document = dataclasses.asdict(self)
        document["parameters"] = [_parameter_document(parameter) for parameter in self.parameters]
        try:
            return json.dumps({"format": FLOW_FORMAT, **document}, allow_nan=False, indent=1, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise FlowSpecError(f"flow {self.name!r} cannot be written as JSON: {error}; see validate()") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> "FlowSpec":
        """Read what `to_json` wrote. Raises `FlowSpecError` for anything else: other formats, unknown or missing fields.

        Reading checks form only; `validate` checks meaning.
        """
        try:
            document = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise FlowSpecError(f"flow spec: not JSON ({error}); build the artifact again") from error
        top = StrictFields(document, "flow spec")
        found = top.take("format", str)
        if found != FLOW_FORMAT:
            raise FlowSpecError(
                f"flow spec: format {found!r} is not known here, only {FLOW_FORMAT!r}; "
                "build the artifact with this version of dagy_control, or run it with a newer one"
            )
        spec = cls(
            name=top.take("name", str),
            version=top.take("version", str),
            import_path=top.take("import_path", str),
            parameters=tuple(_read_parameter(item, i) for i, item in enumerate(top.take("parameters", list))),
            tasks=tuple(_read_task(item, i) for i, item in enumerate(top.take("tasks", list))),
            result=top.take_json("result"),
            fail_fast=top.take("fail_fast", bool),
            max_concurrency=top.take_or_none("max_concurrency", int),
        )
        top.refuse_the_rest()
        return spec

    def validate(self) -> tuple[str, ...]:
        """Everything wrong with this flow, a sentence each; empty when it can be run."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[str]:
        if not FLOW_NAME.fullmatch(self.name):
            yield f"flow name {self.name!r}: 1 to 128 of the characters A-Z a-z 0-9 _ - are allowed; give @flow(name=…)"
        if not FLOW_VERSION.fullmatch(self.version):
            yield f"flow version {self.version!r}: 1 to 128 of A-Z a-z 0-9 . _ + -, beginning with a letter or digit"
        if not IMPORT_PATH.fullmatch(self.import_path):
            yield f'flow import path {self.import_path!r}: must look like "package.module:flow"'
        if self.max_concurrency is not None and self.max_concurrency < 1:
            yield f"max_concurrency must be 1 or more, or absent, not {self.max_concurrency}"
        if not self.tasks:
            yield f"flow {self.name!r} has no tasks: call at least one @task in its body"
        for parameter in self.parameters:
            if not parameter.name.isidentifier():
                yield f"parameter {parameter.name!r}: a name must be a Python identifier"
            if problem := json_problem(parameter.default):
                yield f"parameter {parameter.name!r}: its default cannot be stored: {problem}; use a JSON value or None"
        yield from _duplicates("task key", [task.key for task in self.tasks])
        yield from _duplicates("parameter", [parameter.name for parameter in self.parameters])
        for task in self.tasks:
            yield from task.problems()
        if problem := json_problem(self.result):
            yield f"the result cannot be stored: {problem}; return JSON values and task outputs"
        yield from self._graph_problems()

    def _graph_problems(self) -> Iterator[str]:
        keys = {task.key for task in self.tasks}
        parameters = {parameter.name for parameter in self.parameters}
        edges: dict[str, tuple[str, ...]] = {}
        for task in self.tasks:
            if json_problem([*task.args, *task.kwargs.values()]):
                continue
            try:
                yield from _unknown_references(f"task {task.key!r}", task.references(), keys, parameters)
                edges[task.key] = task.upstream_keys()
            except FlowSpecError as error:
                yield f"task {task.key!r}: {error}"
        try:
            if not json_problem(self.result):
                yield from _unknown_references("the result", references(self.result), keys, parameters)
        except FlowSpecError as error:
            yield f"the result: {error}"
        try:
            graphlib.TopologicalSorter(edges).prepare()
        except graphlib.CycleError as error:
            yield f"the tasks wait for each other in a circle: {' → '.join(error.args[1])}; break one of these edges"


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """A registered flow, as DAGY_FLOWS holds it. The artifact is trusted only with this size and sha256 (hex)."""

    org_id: str
    flow_name: str
    flow_version: str
    spec: FlowSpec
    import_path: str
    artifact_s3_uri: str
    artifact_sha256: str
    artifact_size_bytes: int
    status: FlowStatus
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class ParameterResolution:
    """Values for every parameter of a flow, or what keeps them from being known; `values` is empty with problems."""

    values: Mapping[str, Json]
    problems: tuple[str, ...] = ()


def resolve_parameters(spec: FlowSpec, given: Mapping[str, Json]) -> ParameterResolution:
    """Given values over defaults. Problems: missing, unknown (with the nearest name), not JSON."""
    names = {parameter.name for parameter in spec.parameters}
    problems = [
        f"flow {spec.name!r} has no parameter {name!r}{nearest(name, names)}" for name in given if name not in names
    ]
    problems += [
        f"parameter {name!r} is not a JSON value: {problem}" for name in given if (problem := json_problem(given[name]))
    ]
    problems += [
        f"flow {spec.name!r} needs the parameter {parameter.name!r}: it has no default"
        for parameter in spec.parameters
        if parameter.required and parameter.name not in given
    ]
    if problems:
        return ParameterResolution({}, tuple(problems))
    return ParameterResolution({p.name: given.get(p.name, p.default) for p in spec.parameters})


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message that names the known name most like this one; empty when none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _unknown_references(
    where: str, found: Iterable[TaskRef | ParamRef], keys: AbstractSet[str], parameters: AbstractSet[str]
) -> Iterator[str]:
    for ref in dict.fromkeys(found):
        if isinstance(ref, TaskRef) and ref.key not in keys:
            yield f"{where} refers to an unknown task {ref.key!r}{nearest(ref.key, keys)}"
        elif isinstance(ref, ParamRef) and ref.name not in parameters:
            yield f"{where} refers to an unknown parameter {ref.name!r}{nearest(ref.name, parameters)}"


def _duplicates(what: str, names: list[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {name!r} is used {count} times; each must be unique in the flow"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _parameter_document(parameter: ParameterSpec) -> dict[str, Json]:
    return {"name": parameter.name} if parameter.required else {"name": parameter.name, "default": parameter.default}


def _read_parameter(value: Json, index: int) -> ParameterSpec:
    fields = StrictFields(value, f"flow spec, parameter {index}")
    name = fields.take("name", str)
    required = not fields.has("default")
    parameter = ParameterSpec(name, required, None if required else fields.take_json("default"))
    fields.refuse_the_rest()
    return parameter


def _read_task(value: Json, index: int) -> TaskSpec:
    fields = StrictFields(value, f"flow spec, task {index}")
    isolation = fields.take("isolation", str)
    if isolation not in tuple(Isolation):
        raise FlowSpecError(f"flow spec, task {index}: isolation must be 'process' or 'thread', not {isolation!r}")
    task = TaskSpec(
        key=fields.take("key", str),
        name=fields.take("name", str),
        import_path=fields.take("import_path", str),
        args=tuple(fields.take("args", list)),
        kwargs=fields.take("kwargs", dict),
        retries=fields.take("retries", int),
        retry_delay_seconds=fields.take_seconds("retry_delay_seconds"),
        timeout_seconds=fields.take_seconds_or_none("timeout_seconds"),
        isolation=Isolation(isolation),
    )
    fields.refuse_the_rest()
    return task
