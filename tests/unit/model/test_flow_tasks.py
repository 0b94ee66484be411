"""What a task's settings become as data, and which versions can read them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dagy_control.model.flow_tasks import Isolation, ResultFormat, TaskHooks, TaskSpec
from dagy_control.model.flow_templates import FlowSpecError
from dagy_control.model.flows import FlowSpec
from dagy_control.model.runs import ResultStatus
from tests.flows.orders import orders
from tests.flows.running import Run, a_flow

STORED = Path(__file__).parents[2] / "flows" / "specs" / "orders-format-1.json"
PLAIN = TaskSpec(key="load", name="load", import_path="shop:load", retries=3)
NEWER = dataclasses.replace(
    PLAIN,
    retry_delay_seconds=(1.0, 2.5),
    retry_jitter_factor=0.5,
    concurrency_limit=2,
    retry_condition="shop:worth_it",
    hooks=TaskHooks(on_failure=("shop:page", "shop:mail"), on_retry=("shop:note",)),
    result=ResultFormat.JSON,
)


def written(*tasks: TaskSpec) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(a_flow(*tasks).to_json())
    return document


async def test_a_spec_of_an_earlier_version_still_runs() -> None:
    spec = FlowSpec.from_json(STORED.read_bytes())
    run = Run(spec, {"day": "ab"})
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == {"total": 27, "day": "ab", "rows": [2, 3, 4]}


def test_a_flow_that_uses_nothing_newer_is_written_as_the_earlier_version_wrote_it() -> None:
    assert orders.build().to_json() + "\n" == STORED.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"retry_delay_seconds": (1.0,)},
        {"retry_jitter_factor": 0.1},
        {"concurrency_limit": 1},
        {"retry_condition": "shop:worth_it"},
        {"hooks": TaskHooks(on_running=("shop:note",))},
        {"result": ResultFormat.JSON},
        {"isolation": Isolation.FRESH},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_newer_setting_makes_the_spec_a_newer_format_that_reads_back_equal(changes: dict[str, Any]) -> None:
    spec = a_flow(dataclasses.replace(PLAIN, **changes))
    assert written(PLAIN)["format"] == "dagy.flow/1"
    assert json.loads(spec.to_json())["format"] == "dagy.flow/2"
    assert FlowSpec.from_json(spec.to_json()) == spec
    assert spec.validate() == ()


def test_all_settings_together_read_back_equal() -> None:
    spec = a_flow(NEWER)
    assert FlowSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "dagy.flow/1"}, "task 0: retry_delay_seconds must be a float"),
        (
            {"format": "dagy.flow/1", "retry_delay_seconds": 1.0},
            "task 0: unknown field 'concurrency_limit'; was it written by a newer",
        ),
        ({"format": "dagy.flow/3"}, "only 'dagy.flow/1' and 'dagy.flow/2'"),
        ({"cache": "a day"}, "task 0: unknown field 'cache'; was it written by a newer version?"),
        ({"hooks": {"on_crash": ["m:f"]}}, "task 0, hooks: unknown field 'on_crash'"),
        ({"hooks": {"on_retry": "m:f"}}, "on_retry must be a list"),
        ({"hooks": {"on_retry": [1]}}, "on_retry must be a str, not 1"),
        ({"result": "arrow"}, "result must be 'pickle' or 'json', not 'arrow'"),
        ({"retry_delay_seconds": ["1"]}, "retry_delay_seconds must be a float"),
        ({"concurrency_limit": 1.5}, "concurrency_limit must be a int"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "spec",
)
def test_what_a_version_does_not_know_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    document = written(NEWER)
    document["format"] = changes.get("format", "dagy.flow/2")
    document["tasks"][0].update({name: value for name, value in changes.items() if name != "format"})
    with pytest.raises(FlowSpecError, match=says):
        FlowSpec.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"retry_delay_seconds": ()}, "names 0 delays for 3 retries"),
        ({"retry_delay_seconds": (1.0,) * 4}, "names 4 delays for 3 retries"),
        ({"retry_delay_seconds": (1.0, -1.0)}, "0 to 86400 (a day), not -1.0"),
        ({"retry_jitter_factor": -0.1}, "retry_jitter_factor must be 0 to 10"),
        ({"concurrency_limit": 0}, "concurrency_limit must be 1 or more"),
        ({"retry_condition": "nowhere"}, "the import path 'nowhere' of retry_condition_fn"),
        ({"hooks": TaskHooks(on_failure=("a.b",))}, "the import path 'a.b' of on_failure"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else next(iter(value)),
)
def test_a_setting_that_cannot_be_is_told(changes: dict[str, Any], says: str) -> None:
    (problem,) = a_flow(dataclasses.replace(PLAIN, **changes)).validate()
    assert problem.startswith("task 'load': ")
    assert says in problem


def test_one_name_has_one_concurrency_limit() -> None:
    other = dataclasses.replace(PLAIN, key="load-2", concurrency_limit=2)
    (problem,) = a_flow(PLAIN, other).validate()
    assert "tasks named 'load' ask for different concurrency limits, None and 2" in problem


def test_delays_come_in_turn_and_the_last_repeats() -> None:
    task = dataclasses.replace(PLAIN, retry_delay_seconds=(1.0, 5.0))
    assert [task.retry_delay_s(attempt) for attempt in (1, 2, 3)] == [1.0, 5.0, 5.0]


def test_jitter_only_lengthens_a_wait_is_the_same_each_time_and_another_for_each_run_task_and_attempt() -> None:
    task = dataclasses.replace(PLAIN, retry_delay_seconds=10.0, retry_jitter_factor=0.5)
    waits = [
        each.retry_delay_s(attempt, salt)
        for each in (task, dataclasses.replace(task, key="other"))
        for attempt in (1, 2, 3)
        for salt in ("run-1", "run-2")
    ]
    assert len(set(waits)) == len(waits)
    assert all(10.0 <= wait < 15.0 for wait in waits)
    assert task.retry_delay_s(1, "run-1") == waits[0]
