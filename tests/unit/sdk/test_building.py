"""Build mode: what a flow's body becomes, and what it must not do."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from dagy_control.model.flows import FlowSpec, Isolation
from dagy_control.sdk import FlowBuildError, FlowRunError, flow, task
from tests.flows import misuse
from tests.flows.orders import add_up, double, extract, orders


def test_calls_become_tasks_with_their_settings_and_edges() -> None:
    spec = orders.build()
    assert (spec.name, spec.version, spec.max_concurrency) == ("orders", "1.2.0", 2)
    assert spec.import_path == "tests.flows.orders:orders"
    assert [task.key for task in spec.tasks] == ["extract", "double.0", "double.1", "double.2", "add-up"]
    first, mapped, last = spec.tasks[0], spec.tasks[2], spec.tasks[4]
    assert (first.args, first.import_path) == (({"$param": "day"},), "tests.flows.orders:extract")
    assert (mapped.args, mapped.kwargs, mapped.retries, mapped.timeout_seconds) == (
        (2,),
        {"offset": {"$param": "offset"}},
        2,
        30.0,
    )
    assert (last.isolation, last.upstream_keys()) == (Isolation.THREAD, ("double.0", "double.1", "double.2", "extract"))
    assert spec.result == {"$task": "add-up"}
    assert FlowSpec.from_json(spec.to_json()) == spec
    assert orders.build() == spec


def test_outside_a_flow_tasks_and_flows_are_plain_functions() -> None:
    assert extract("ab") == [2, 3, 4]
    assert double.map([1, 2], offset=1) == [3, 5]
    assert add_up([1], {"a": 1}) == {"total": 1, "a": 1}
    assert orders("ab", offset=0) == {"total": 12, "day": "ab", "rows": [2, 3, 4]}


def test_the_same_task_called_again_gets_a_key_of_its_own() -> None:
    keys = [task.key for task in misuse.repeats.build().tasks]
    assert keys == ["double", "double-2", "double-2-2", "double-3.0", "double-3.1"]


def test_a_map_takes_literals_outputs_and_parameters() -> None:
    spec = misuse.mixed_map.build()
    assert [task.args for task in spec.tasks[1:]] == [(1,), ({"$task": "double"},), ({"$param": "n"},)]


def test_run_local_runs_the_engine_and_gives_the_result() -> None:
    assert orders.run_local(day="ab") == {"total": 27, "day": "ab", "rows": [2, 3, 4]}


def test_run_local_raises_with_the_task_and_its_traceback() -> None:
    with pytest.raises(FlowRunError, match=r"(?s)Task 'broken' FAILED: ZeroDivisionError.*return 1 / number") as caught:
        misuse.fails.run_local(number=0)
    assert caught.value.outcome.failed_task == "broken"


MISUSES: dict[str, tuple[Callable[[Any], object], str]] = {
    "if": (lambda out: 1 if out else 2, "used as a condition"),
    "not": (lambda out: not out, "used as a condition"),
    "iteration": (list, "iterated over; to fan out over a list"),
    "in": (lambda out: 3 in out, "iterated over"),
    "arithmetic": (lambda out: out + 1, "calculated with"),
    "reversed arithmetic": (lambda out: 1 - out, "calculated with"),
    "comparison": (lambda out: out == 1, "compared"),
    "index": (lambda out: out["x"], "indexed"),
    "text": (lambda out: f"{out}", "turned into text"),
    "number": (int, "turned into a number"),
    "attribute": (lambda out: out.total, "its attribute 'total' was asked for"),
    "call": (lambda out: out(), "called"),
    "map over it": (double.map, "needs a list that is known while the flow is built"),
    "a date": (lambda _: double(datetime.date(2024, 1, 1)), "holds a date, which a flow cannot store"),  # type: ignore[arg-type]  # wrong on purpose
    "odd keys": (lambda out: add_up([out], {1: 2}), "holds a dict, which a flow cannot store"),  # type: ignore[dict-item]  # likewise
    "missing argument": (lambda _: double(), "is called wrongly: missing a required argument: 'number'"),  # type: ignore[call-arg]  # likewise
    "unknown argument": (lambda out: double(out, of=1), "got an unexpected keyword argument 'of'"),  # type: ignore[call-arg]  # likewise
    "another flow": (lambda out: orders(out), "is called in the body of flow 'f'"),
}


@pytest.mark.parametrize("placeholder", ["output", "parameter"])
@pytest.mark.parametrize(("use", "says"), MISUSES.values(), ids=MISUSES.keys())
def test_using_a_value_that_does_not_exist_yet_says_what_to_do(
    use: Callable[[Any], object], says: str, placeholder: str
) -> None:
    @flow
    def f(n: int) -> None:
        use(double(n) if placeholder == "output" else n)

    with pytest.raises(FlowBuildError, match=says):
        f.build()


def test_an_output_of_another_build_is_refused() -> None:
    misuse.keeps.build()
    with pytest.raises(FlowBuildError, match="output of task 'double' of another build"):
        misuse.reuses.build()


def test_a_task_or_flow_that_a_child_could_not_import_is_refused() -> None:
    @task
    def local() -> None: ...

    @flow
    def f() -> None:
        local()

    with pytest.raises(FlowBuildError, match=r"task 'local' is defined inside a function.*top level of a module"):
        f.build()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_tasks", "has no tasks"),
        ("odd_default", "its default cannot be stored: a frozenset is no JSON value"),
        ("star_args", "parameter 'days' must be a plain named parameter"),
        ("bad_name", "flow name 'bad name'"),
        ("odd_result", "the result of flow 'odd_result' holds a object"),
    ],
)
def test_a_flow_that_cannot_be_stored_is_refused(name: str, says: str) -> None:
    with pytest.raises(FlowBuildError, match=says):
        getattr(misuse, name).build()


def yields() -> Any:
    yield 1


async def awaits() -> None:
    return None


async def does_both() -> Any:
    yield 1


@pytest.mark.parametrize("function", [yields, awaits, does_both], ids=["yields", "awaits", "both"])
def test_a_flow_that_is_no_plain_function_is_refused_where_it_is_defined(function: Callable[[], Any]) -> None:
    line = function.__code__.co_firstlineno
    with pytest.raises(FlowBuildError, match=rf"'{function.__name__}' is no plain function.*:{line}\)"):
        flow(function)


@pytest.mark.parametrize("function", [yields, does_both], ids=["yields", "both"])
def test_a_task_that_yields_is_refused_where_it_is_defined(function: Callable[[], Any]) -> None:
    line = function.__code__.co_firstlineno
    with pytest.raises(FlowBuildError, match=rf"'{function.__name__}' yields, but a task has one result.*:{line}\)"):
        task(retries=1)(function)


def test_a_method_that_is_called_as_a_task_is_told_to_be_a_function() -> None:
    class Shop:
        @task
        def sell(self) -> int:
            return 1

    @flow
    def selling() -> int:
        return Shop().sell()  # type: ignore[call-arg]  # this is what is refused

    with pytest.raises(FlowBuildError, match="'self' \\(a method cannot be a task: write a function\\)"):
        selling.build()


def test_an_isolation_that_does_not_exist_is_refused_where_it_is_written() -> None:
    with pytest.raises(FlowBuildError, match="'process' or 'fresh' or 'thread', not 'container'"):
        task(isolation="container")
