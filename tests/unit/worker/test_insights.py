"""The runbook's Insights queries, word by word, over the lines that real attempts write."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from dagy_control.flow_engine.reporting import TaskRunState
from dagy_control.kernel.telemetry import configure_logging
from dagy_control.model.flows import TaskState
from dagy_control.worker.lines import Redactor
from dagy_control.worker.report import TaskRunReporter
from tests.builders import ARN, launching, running
from tests.fakes.clock import VirtualClock
from tests.fakes.task_runs import FakeTaskRuns
from tests.insights import Line, query
from tests.working import MODULE, Working, a_flow, a_task

SOURCE = b"""
import time


def quick():
    pass


def slow():
    time.sleep(0.2)


def eat():
    raise MemoryError("no room for 9 GiB")


def fail():
    raise LookupError("no such customer")
"""

FAILED_RUNS = """
fields @timestamp, run_id, flow_name, error
| filter status = "FAILED"
| stats count() by flow_name
"""
DURATIONS = """
fields @timestamp, run_id, duration_seconds
| filter ispresent(duration_seconds)
| stats avg(duration_seconds), max(duration_seconds), pct(duration_seconds, 95) by flow_name
"""
OUT_OF_MEMORY = (Path(__file__).parents[3] / "deploy" / "insights" / "out-of-memory.txt").read_text()
SLOWEST = """
fields @timestamp, task_run_id, task_name, duration_seconds
| filter event_type = "task_end"
| sort duration_seconds desc
| limit 20
"""
CORRELATED = "fields @timestamp, run_id, event_type, message | filter correlation_id like /batch-12345/"


@pytest.fixture(autouse=True)
def own_context() -> Iterator[None]:
    """No context outlives the test."""
    yield
    structlog.contextvars.clear_contextvars()


def as_in_the_process() -> None:
    """Log as `dagy-worker` does. In the test itself: a fixture's standard output is another one."""
    configure_logging(level="INFO", finish=Redactor(()).process)


async def lines_of(capsys: pytest.CaptureFixture[str], *functions: str, **run: Any) -> list[Line]:
    structlog.contextvars.clear_contextvars()
    as_in_the_process()
    world = Working(a_flow(*map(a_task, functions)), {f"{MODULE}.py": SOURCE}, launching(**run))
    await world.worker.run(run_id="r1", attempt=1, task_arn=ARN)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_every_line_has_what_the_queries_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(capsys, "quick", "fail")
    for line in lines:
        assert {"timestamp", "event_type", "message", "run_id", "flow_name", "correlation_id"} <= set(line), line
        if line["event_type"].startswith("task_"):
            assert {"task_run_id", "task_name", "status"} <= set(line), line
    ends = {line["task_run_id"]: line for line in lines if line["event_type"] == "task_end"}
    assert ends["0001#fail"]["error"] == "no such customer"
    assert all(line["duration_seconds"] >= 0 and line["peak_memory_mb"] > 0 for line in ends.values())


async def test_failed_runs_are_found_by_flow_and_the_runs_own_end_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = await lines_of(capsys, "quick", "fail") + await lines_of(capsys, "quick", flow_name="etl")
    (answer,) = query(FAILED_RUNS, lines)
    assert answer == {"flow_name": "etl", "count()": 2}, "the task's end, and the run's"
    of_runs = FAILED_RUNS.replace("| stats", '| filter event_type = "run_end"\n| stats')
    assert query(of_runs, lines) == [{"flow_name": "etl", "count()": 1}]


async def test_a_flow_that_succeeds_is_no_failed_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert query(FAILED_RUNS, await lines_of(capsys, "quick")) == []


async def test_durations_are_told_by_flow(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(capsys, "quick", "slow")
    (answer,) = query(DURATIONS, lines)
    assert answer["flow_name"] == "etl"
    assert answer["max(duration_seconds)"] >= answer["avg(duration_seconds)"] > 0
    assert answer["max(duration_seconds)"] == next(
        line["duration_seconds"] for line in lines if line["event_type"] == "run_end"
    ), "the run itself is the longest"


async def test_tasks_without_memory_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = query(OUT_OF_MEMORY, await lines_of(capsys, "quick", "eat", "fail"))
    assert [each["task_name"] for each in found if "task_name" in each] == ["a"]
    assert "MemoryError: no room for 9 GiB" in found[0]["message"]


async def test_a_task_that_the_kernel_killed_for_memory_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    as_in_the_process()
    reporter = TaskRunReporter(running(), FakeTaskRuns(), VirtualClock())
    await reporter.task_changed(
        TaskRunState(
            task_key="load",
            name="load",
            state=TaskState.FAILED,
            attempt=1,
            error_type="OutOfMemory",
            error_message="the kernel killed the task's process for lack of memory",
        )
    )
    (found,) = query(OUT_OF_MEMORY, [json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert found["task_name"] == "load"


async def test_the_slowest_tasks_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    found = query(SLOWEST, await lines_of(capsys, "quick", "slow"))
    assert [each["task_run_id"] for each in found] == ["0001#slow", "0001#quick"]
    assert set(found[0]) == {"@timestamp", "task_run_id", "task_name", "duration_seconds"}


async def test_a_batch_is_found_by_its_parents_correlation_id(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(capsys, "quick", correlation_id="batch-12345.7")
    assert len(query(CORRELATED, lines)) == len(lines) - sum("correlation_id" not in line for line in lines)
    assert query(CORRELATED, await lines_of(capsys, "quick", correlation_id="batch-9.7")) == []
