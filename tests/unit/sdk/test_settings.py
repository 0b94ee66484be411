"""What `@task(…)` may be given, what it becomes, and where a mistake is said to be."""

import functools
from pathlib import Path
from typing import Any

import pytest

from dagy_control.flow_engine.hooks import TaskEvent
from dagy_control.model.flow_tasks import ResultFormat, TaskHooks, TaskSpec
from dagy_control.model.flows import FlowSpec
from dagy_control.sdk import FlowBuildError, FlowRunError, exponential_backoff, flow, task
from tests.flows import misplaced
from tests.flows.orders import double

NOTES: list[TaskEvent] = []


def note(event: TaskEvent) -> None:
    NOTES.append(event)


def also_note(event: TaskEvent) -> None:
    NOTES.append(event)


def is_odd(error: BaseException) -> bool:
    return str(error) == "odd"


def built(**options: Any) -> TaskSpec:
    """The data of one task with these settings."""
    decorated: Any = task(**options)(plain)

    @flow
    def one() -> None:
        decorated(1)

    one.function.__qualname__ = "one"
    return one.build().tasks[0]


def plain(number: int) -> int:
    if number > 1:
        raise ValueError("odd" if number % 2 else "even")
    return number


def test_every_setting_becomes_data() -> None:
    spec = built(
        name="load",
        retries=3,
        retry_delay_seconds=[1, 2.5],
        retry_jitter_factor=0.5,
        retry_condition_fn=is_odd,
        timeout_seconds=60,
        concurrency_limit=2,
        on_running=note,
        on_completion=[note, also_note],
        on_failure=(note,),
        on_retry=None,
        isolation="thread",
        result="json",
    )
    module = __name__
    assert (spec.name, spec.retries, spec.retry_delay_seconds, spec.retry_jitter_factor) == ("load", 3, (1.0, 2.5), 0.5)
    assert (spec.timeout_seconds, spec.concurrency_limit, spec.isolation) == (60.0, 2, "thread")
    assert spec.retry_condition == f"{module}:is_odd"
    assert spec.hooks == TaskHooks(
        on_running=(f"{module}:note",),
        on_completion=(f"{module}:note", f"{module}:also_note"),
        on_failure=(f"{module}:note",),
    )
    assert spec.result is ResultFormat.JSON


@pytest.mark.parametrize(
    ("delay", "becomes"),
    [
        (3, 3.0),
        ([], 0.0),
        ([1, 2, 3], (1.0, 2.0, 3.0)),
        (exponential_backoff(10), (10.0, 20.0, 40.0)),
        (lambda retries: (n / 2 for n in range(retries)), (0.0, 0.5, 1.0)),
    ],
    ids=["number", "empty", "list", "backoff", "function"],
)
def test_a_delay_is_a_number_a_list_or_a_function_that_is_asked_once(delay: Any, becomes: object) -> None:
    assert built(retries=3, retry_delay_seconds=delay).retry_delay_seconds == becomes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retires": 3}, "@task has no setting 'retires'; did you mean 'retries'?"),
        ({"retries": "3"}, "retries must be a whole number, not '3'"),
        ({"retries": True}, "retries must be a whole number, not True"),
        ({"retries": -1}, "retries must be 0 to 100, not -1"),
        ({"retries": 101, "retry_delay_seconds": exponential_backoff(1)}, "retries must be 0 to 100, not 101"),
        ({"retry_delay_seconds": "1"}, "retry_delay_seconds must be a number, not '1'"),
        ({"retries": 2, "retry_delay_seconds": [1, None]}, "retry_delay_seconds must be a number, not None"),
        ({"retries": 1, "retry_delay_seconds": [1, 2]}, "names 2 delays for 1 retries"),
        ({"retry_jitter_factor": 11}, "retry_jitter_factor must be 0 to 10"),
        ({"concurrency_limit": 0}, "concurrency_limit must be 1 or more"),
        ({"timeout_seconds": 0}, "timeout_seconds must be above 0"),
        ({"name": "two words"}, "the name 'two words'"),
        ({"result": "arrow"}, "result must be 'pickle' or 'json', not 'arrow'"),
        ({"on_failure": "pager:page"}, "on_failure must be a function or a list of functions, not 'pager:page'"),
        ({"on_failure": [3]}, "on_failure must be a function defined at the top level"),
        ({"on_retry": functools.partial(note)}, "on_retry must be a function defined at the top level"),
        ({"retry_condition_fn": lambda _: True}, "retry_condition_fn is defined inside a function or is a lambda"),
    ],
    ids=lambda value: value[:45] if isinstance(value, str) else next(iter(value)),
)
def test_a_wrong_setting_is_refused_where_it_is_written(options: dict[str, Any], says: str) -> None:
    with pytest.raises(FlowBuildError) as caught:
        task(**options)
    assert says in str(caught.value)
    assert caught.value.place is not None
    assert caught.value.place.file == __file__


MISPLACED = {
    "condition": "used as a condition",
    "argument": "argument 0 of task 'total' in flow 'argument' holds a set",
    "in_a_helper": "it was calculated with",
    "through_the_library": "it was calculated with",
    "default": "parameter 'days': its default cannot be stored",
    "star": "must be a plain named parameter",
    "result": "holds a object",
    "nothing": "has no tasks",
    "wrong_call": "is called wrongly",
    "too_deep": "nested deeper than 64 levels",
}


@pytest.mark.parametrize(("name", "says"), MISPLACED.items(), ids=MISPLACED.keys())
def test_a_mistake_is_told_with_its_file_and_line(name: str, says: str) -> None:
    wrong = getattr(misplaced, name)
    lines = Path(misplaced.__file__).read_text().splitlines()
    first = (
        wrong.function.__code__.co_firstlineno if name != "in_a_helper" else misplaced.helper.__code__.co_firstlineno
    )
    here = next(number for number, line in enumerate(lines, 1) if number >= first and "# HERE" in line)
    with pytest.raises(FlowBuildError) as caught:
        wrong.build()
    assert says in str(caught.value)
    assert str(caught.value).endswith(f" ({misplaced.__file__}:{here})")


def test_several_mistakes_are_told_together_each_with_its_own_line() -> None:
    same_name = task(name="double", concurrency_limit=2)(plain)

    @flow(name="two words")
    def f() -> None:
        double(1)
        same_name(2)

    f.function.__qualname__ = "f"
    with pytest.raises(FlowBuildError) as caught:
        f.build()
    start = f.function.__code__.co_firstlineno
    assert (
        f"flow name 'two words': 1 to 128 of the characters A-Z a-z 0-9 _ - are allowed; give @flow(name=…) ({__file__}:{start})"
        in str(caught.value)
    )
    assert f"give one of them another name ({__file__}:{start + 3})" in str(caught.value)


@task(isolation="thread", on_completion=note, on_retry=also_note, retries=1, retry_condition_fn=is_odd)
def listened(number: int) -> int:
    return plain(number)


@flow
def listens(n: int) -> int:
    return listened(n)


def test_hooks_and_conditions_work_in_run_local() -> None:
    NOTES.clear()
    assert listens.run_local(n=1) == 1
    with pytest.raises(FlowRunError, match="even"):
        listens.run_local(n=2)
    with pytest.raises(FlowRunError, match="after 2 attempts: ValueError: odd"):
        listens.run_local(n=3)
    assert [(event.kind, event.attempt, event.error_message) for event in NOTES] == [
        ("on_completion", 1, None),
        ("on_retry", 1, "odd"),
    ]
    assert FlowSpec.from_json(listens.build().to_json()) == listens.build()
