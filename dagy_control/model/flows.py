"""Flows as data: what a flow's author wrote, as JSON that any later version of this program can read or refuse."""

import difflib
import graphlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

from dagy_control.model.flow_reading import StrictFields
from dagy_control.model.flow_task_json import is_format_1, read_task, task_document
from dagy_control.model.flow_tasks import FLOW_NAME, IMPORT_PATH, Isolation, TaskSpec, TaskState
from dagy_control.model.flow_templates import SCALARS, FlowSpecError, Json, ParamRef, TaskRef, json_problem, references

__all__ = [
    "FLOW_NAME",
    "SPEC_ENTRY",
    "FlowRecord",
    "FlowSpec",
    "FlowStatus",
    "Isolation",
    "ParameterResolution",
    "ParameterSpec",
    "SpecProblem",
    "TaskSpec",
    "TaskState",
    "nearest",
    "resolve_parameters",
]

FORMAT_1 = "dagy.flow/1"
FORMAT_2 = "dagy.flow/2"
"""Format 1 and the settings of tasks that came later. A flow that uses none of them is written in format 1."""
SPEC_ENTRY = "flow.json"
"""The file of an artifact that holds its FlowSpec."""
FLOW_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


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
class SpecProblem:
    """What is wrong with a flow, as a sentence. `task_key`: of the task that it is about; None: of the flow itself."""

    text: str
    task_key: str | None = None


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
        tasks = [task_document(task) for task in self.tasks]
        document = {
            "format": FORMAT_1 if all(map(is_format_1, tasks)) else FORMAT_2,
            "name": self.name,
            "version": self.version,
            "import_path": self.import_path,
            "parameters": [_parameter_document(parameter) for parameter in self.parameters],
            "tasks": tasks,
            "result": self.result,
            "fail_fast": self.fail_fast,
            "max_concurrency": self.max_concurrency,
        }
        try:
            return json.dumps(document, allow_nan=False, indent=1, sort_keys=True)
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
        if found not in (FORMAT_1, FORMAT_2):
            raise FlowSpecError(
                f"flow spec: format {found!r} is not known here, only {FORMAT_1!r} and {FORMAT_2!r}; "
                "build the artifact with this version of dagy_control, or run it with a newer one"
            )
        spec = cls(
            name=top.take("name", str),
            version=top.take("version", str),
            import_path=top.take("import_path", str),
            parameters=tuple(_read_parameter(item, i) for i, item in enumerate(top.take("parameters", list))),
            tasks=tuple(
                read_task(item, i, format_1=found == FORMAT_1) for i, item in enumerate(top.take("tasks", list))
            ),
            result=top.take_json("result"),
            fail_fast=top.take("fail_fast", bool),
            max_concurrency=top.take_or_none("max_concurrency", int),
        )
        top.refuse_the_rest()
        return spec

    def upstream(self) -> dict[str, tuple[str, ...]]:
        """By task key: the keys of the tasks whose results it takes. Of a valid flow."""
        return {task.key: task.upstream_keys() for task in self.tasks}

    def validate(self) -> tuple[str, ...]:
        """Everything wrong with this flow, a sentence each; empty when it can be run."""
        return tuple(problem.text for problem in self.problems())

    def problems(self) -> Iterator[SpecProblem]:
        """Everything wrong with this flow, each with the task that it is about."""
        yield from map(SpecProblem, self._own_problems())
        for task in self.tasks:
            for text in task.problems():
                yield SpecProblem(text, task.key)
        yield from self._graph_problems()

    def _own_problems(self) -> Iterator[str]:
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
        if problem := json_problem(self.result):
            yield f"the result cannot be stored: {problem}; return JSON values and task outputs"

    def _graph_problems(self) -> Iterator[SpecProblem]:
        keys = {task.key for task in self.tasks}
        parameters = {parameter.name for parameter in self.parameters}
        edges: dict[str, tuple[str, ...]] = {}
        limits: dict[str, int | None] = {}
        for task in self.tasks:
            limit = limits.setdefault(task.name, task.concurrency_limit)
            if limit != task.concurrency_limit:
                text = f"tasks named {task.name!r} ask for different concurrency limits, {limit} and {task.concurrency_limit}"
                yield SpecProblem(f"{text}; the limit belongs to the name: give one of them another name", task.key)
            found, problems = _references_of(task)
            edges[task.key] = tuple(dict.fromkeys(ref.key for ref in found if isinstance(ref, TaskRef)))
            unknown = _unknown_references(task.key, found, keys, parameters)
            yield from (SpecProblem(text, task.key) for text in (*problems, *unknown))
        try:
            if not json_problem(self.result):
                yield from map(SpecProblem, _unknown_references(None, references(self.result), keys, parameters))
        except FlowSpecError as error:
            yield SpecProblem(f"the result: {error}")
        if circle := _circle(edges):
            text = f"the tasks wait for each other in a circle: {' → '.join(circle)}; break one of these edges"
            yield SpecProblem(text, circle[0])


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


def _references_of(task: TaskSpec) -> tuple[tuple[TaskRef | ParamRef, ...], tuple[str, ...]]:
    """(what the arguments refer to, what is wrong with them). Arguments that are no JSON are told of elsewhere."""
    if any(arg.__class__ not in SCALARS and json_problem(arg) for arg in (*task.args, *task.kwargs.values())):
        return (), ()
    try:
        return task.references(), ()
    except FlowSpecError as error:
        return (), (f"task {task.key!r}: {error}",)


def _circle(edges: Mapping[str, tuple[str, ...]]) -> list[str] | None:
    """A circle of tasks, if there is one: never when each takes only from those before it, as every flow that the SDK builds."""
    before: set[str] = set()
    for key, upstream in edges.items():
        if not before.issuperset(upstream):
            break
        before.add(key)
    else:
        return None
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return None


def _unknown_references(
    task_key: str | None, found: Iterable[TaskRef | ParamRef], keys: AbstractSet[str], parameters: AbstractSet[str]
) -> Iterator[str]:
    for ref in dict.fromkeys(found):
        where = "the result" if task_key is None else f"task {task_key!r}"
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
