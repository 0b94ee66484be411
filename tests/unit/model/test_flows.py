"""FlowSpec as JSON, its validation, and the resolving of parameters."""

import dataclasses
import json
from typing import Any

import pytest

from dagy_control.model.flow_templates import FlowSpecError, Json, ParamRef, TaskRef, references
from dagy_control.model.flows import FlowSpec, Isolation, ParameterSpec, TaskSpec, resolve_parameters

TASK = TaskSpec(
    key="load-2",
    name="load",
    import_path="shop.tasks:load",
    args=({"$param": "day"}, [1, 2.5, None, True, {"k": "v"}]),
    kwargs={"rows": {"$tuple": [{"$task": "extract"}]}},
    retries=2,
    retry_delay_seconds=1.5,
    timeout_seconds=60.0,
    isolation=Isolation.THREAD,
)
SPEC = FlowSpec(
    name="orders",
    version="1.2.0",
    import_path="shop.flows:orders",
    parameters=(ParameterSpec("day"), ParameterSpec("limit", required=False, default={"n": [1]})),
    tasks=(TaskSpec(key="extract", name="extract", import_path="shop.tasks:extract"), TASK),
    result={"out": {"$task": "load-2"}},
    fail_fast=True,
    max_concurrency=4,
)


def changed(task: dict[str, Any] | None = None, **flow: Any) -> FlowSpec:
    """SPEC with other fields; `task`: those of its last task."""
    last = dataclasses.replace(SPEC.tasks[1], **(task or {}))
    return dataclasses.replace(SPEC, **{"tasks": (SPEC.tasks[0], last), **flow})


def document(**changes: Any) -> dict[str, Any]:
    """SPEC as JSON, with other fields."""
    return {**json.loads(SPEC.to_json()), **changes}


def test_a_spec_reads_back_equal_and_writes_the_same_text() -> None:
    assert FlowSpec.from_json(SPEC.to_json()) == SPEC
    assert FlowSpec.from_json(SPEC.to_json()).to_json() == SPEC.to_json()
    assert SPEC.validate() == ()


def test_a_default_of_none_is_not_a_missing_default() -> None:
    spec = changed(parameters=(ParameterSpec("day", required=False, default=None),))
    assert FlowSpec.from_json(spec.to_json()).parameters == spec.parameters


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"format": NaN}', "NaN is no JSON number"),
        ("[]", r"an object was expected, not \[\]"),
        ("{}", "field 'format' is missing; build the artifact again"),
        (json.dumps(document(format="dagy.flow/3")), "format 'dagy.flow/3' is not known here"),
        (json.dumps(document(colour="red")), "unknown field 'colour'"),
        (json.dumps(document(fail_fast=1)), "fail_fast must be a bool, not 1"),
        (json.dumps(document(max_concurrency=True)), "max_concurrency must be a int, not true"),
        (json.dumps(document(tasks=[{"key": 1}])), "task 0: the field 'isolation' is missing"),
        (
            json.dumps(document(tasks=[{**document()["tasks"][0], "isolation": "vm"}])),
            "'process' or 'fresh' or 'thread', not 'vm'",
        ),
        (json.dumps(document(tasks=[{**document()["tasks"][0], "retries": "3"}])), "retries must be a int"),
        (json.dumps(document(tasks=[{**document()["tasks"][0], "x": 3}])), "task 0: unknown field 'x'"),
        (json.dumps(document(parameters=[{"name": "a", "type": "b"}])), "parameter 0: unknown field 'type'"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_no_spec_is_refused_with_what_and_where(text: str, says: str) -> None:
    with pytest.raises(FlowSpecError, match=says):
        FlowSpec.from_json(text)


CYCLE = tuple(
    TaskSpec(key=key, name="t", import_path="m:f", args=({"$task": other},)) for key, other in [("a", "b"), ("b", "a")]
)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (changed(name="two words"), "flow name 'two words'"),
        (changed(name="x" * 129), "1 to 128"),
        (changed(version=""), "flow version ''"),
        (changed(import_path="shop.flows"), "flow import path 'shop.flows'"),
        (changed(max_concurrency=0), "max_concurrency must be 1 or more"),
        (changed(tasks=(), result=None), "has no tasks"),
        (changed(tasks=CYCLE, result=None), "wait for each other in a circle"),
        (changed({"key": "extract", "kwargs": {}}, result=None), "task key 'extract' is used 2 times"),
        (changed(parameters=(ParameterSpec("day"), ParameterSpec("day"))), "parameter 'day' is used 2 times"),
        (changed({"args": ({"$task": "extrct"},)}), "unknown task 'extrct'; did you mean 'extract'?"),
        (changed({"args": ({"$param": "dya"},)}), "unknown parameter 'dya'; did you mean 'day'?"),
        (changed(result={"$task": "nothing"}), "the result refers to an unknown task 'nothing'"),
        (changed({"args": ({"$secret": "x"},)}), "is no template"),
        (changed({"args": (object(),)}), "a object is no JSON value"),
        (changed({"kwargs": {"f": float("nan")}}), "argument f cannot be stored: nan is no JSON number"),
        (changed(parameters=(ParameterSpec("day", required=False, default={1: 2}),)), "the key 1 is not a string"),
        (changed(parameters=(ParameterSpec("2nd"), ParameterSpec("day"))), "must be a Python identifier"),
        (changed({"retries": -1}), "retries must be 0 to 100"),
        (changed({"retry_delay_seconds": -0.5}), "retry_delay_seconds must be"),
        (changed({"timeout_seconds": 0.0}), "timeout_seconds must be above 0"),
        (changed({"name": "a b"}), "the name 'a b'"),
        (changed({"import_path": "os.system"}), "must look like"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "spec",
)
def test_validation_names_each_problem(spec: FlowSpec, says: str) -> None:
    (problem,) = spec.validate()
    assert says in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(changed({"retries": -1, "args": ({"$task": "x"},)}, name="", version="").validate()) == 4


def test_a_list_inside_itself_is_a_problem_and_no_endless_loop() -> None:
    endless: list[Json] = []
    endless.append(endless)
    assert any("nested deeper" in problem for problem in changed({"args": (endless,)}, result=endless).validate())


def test_references_are_found_in_every_form_and_in_order() -> None:
    template: Json = [
        {"$task": "a"},
        {"x": {"$param": "p"}},
        {"$tuple": [{"$task": "b"}]},
        {"$dict": [["$k", {"$task": "c"}]]},
    ]
    assert references(template) == (TaskRef("a"), ParamRef("p"), TaskRef("b"), TaskRef("c"))
    assert TASK.upstream_keys() == ("extract",)


def test_given_values_win_over_defaults() -> None:
    assert resolve_parameters(SPEC, {"day": "monday"}).values == {"day": "monday", "limit": {"n": [1]}}
    assert resolve_parameters(SPEC, {"day": "monday", "limit": None}).values == {"day": "monday", "limit": None}


def test_missing_unknown_and_unserialisable_parameters_are_told_together() -> None:
    given: Any = {"dax": 1, "limit": {1, 2}}
    resolution = resolve_parameters(SPEC, given)
    assert resolution.values == {}
    assert resolution.problems == (
        "flow 'orders' has no parameter 'dax'; did you mean 'day'?",
        "parameter 'limit' is not a JSON value: a set is no JSON value",
        "flow 'orders' needs the parameter 'day': it has no default",
    )
