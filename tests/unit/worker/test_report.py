"""Task rows: many changes, few writes; a table in trouble delays rows and never the flow."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from dagy_control.errors import DagyError, Permanent, Transient
from dagy_control.flow_engine.reporting import TaskRunState
from dagy_control.kernel.tasks import background
from dagy_control.model.flows import TaskState
from dagy_control.model.task_runs import TaskRun
from dagy_control.worker.report import ERROR_MAX_CHARACTERS, FLUSH_INTERVAL_S, TaskRunReporter
from dagy_control.worker.traces import TRACES_MAX, Traces
from tests.builders import NOW, running
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeArtifacts
from tests.fakes.task_runs import FakeTaskRuns


class World:
    """A reporter that flushes in the background."""

    def __init__(self, table: FakeTaskRuns | None = None) -> None:
        self.clock = VirtualClock()
        self.table = table or FakeTaskRuns()
        self.reporter = TaskRunReporter(running(attempt=2), self.table, self.clock)

    @asynccontextmanager
    async def flushing(self) -> AsyncIterator[None]:
        async with background(self.reporter.flush_for_ever(), name="task runs"):
            yield

    async def change(self, key: str, state: TaskState, **values: Any) -> None:
        await self.reporter.task_changed(
            TaskRunState(task_key=key, name=key.split(".")[0], state=state, attempt=1, **values)
        )

    def statuses(self) -> dict[str, str]:
        return {key: row.status for (_, key), row in self.table.records.items()}


async def test_many_changes_are_few_writes_and_the_last_state_wins() -> None:
    world = World()
    async with world.flushing():
        for number in range(100):
            await world.change(f"load.{number}", TaskState.RUNNING)
            await world.change(f"load.{number}", TaskState.SUCCEEDED)
        assert world.table.calls == []
        await world.clock.advance(FLUSH_INTERVAL_S)
        await world.change("load.0", TaskState.FAILED)
        await world.clock.advance(FLUSH_INTERVAL_S)
    assert world.table.calls == ["put_many", "put_many"]
    assert len(world.table.records) == 100
    assert world.statuses()["0002#load.0"] == TaskState.FAILED
    assert world.statuses()["0002#load.99"] == TaskState.SUCCEEDED


async def test_without_changes_nothing_is_written() -> None:
    world = World()
    async with world.flushing():
        await world.clock.advance(10 * FLUSH_INTERVAL_S)
    await world.reporter.flush()
    assert world.table.calls == []


@pytest.mark.parametrize("error", [Transient("down"), Permanent("refused")], ids=["down", "refused"])
async def test_a_table_in_trouble_delays_the_rows_and_never_fails_the_flow(error: DagyError) -> None:
    world = World()
    world.table.next_error("put_many", error, times=3)
    async with world.flushing():
        await world.change("load", TaskState.RUNNING)
        await world.clock.advance(3 * FLUSH_INTERVAL_S)
        assert world.table.records == {}
        await world.clock.advance(FLUSH_INTERVAL_S)
        assert world.statuses() == {"0002#load": TaskState.RUNNING}


class SlowTaskRuns(FakeTaskRuns):
    """Takes a while for each write, during which the flow goes on."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock

    @override
    async def put_many(self, rows: Sequence[TaskRun]) -> None:
        await self.clock.sleep(5)
        await super().put_many(rows)


async def test_a_change_during_a_write_is_not_forgotten() -> None:
    world = World()
    world.table = SlowTaskRuns(world.clock)
    world.reporter = TaskRunReporter(running(attempt=2), world.table, world.clock)
    async with world.flushing():
        await world.change("load", TaskState.RUNNING)
        await world.clock.advance(FLUSH_INTERVAL_S + 2)  # the write of RUNNING is under way
        await world.change("load", TaskState.SUCCEEDED)
        await world.clock.advance(20)
    assert world.statuses() == {"0002#load": TaskState.SUCCEEDED}


async def test_a_write_that_the_flows_end_interrupts_is_made_again_by_the_last_flush() -> None:
    world = World()
    world.table = SlowTaskRuns(world.clock)
    world.reporter = TaskRunReporter(running(attempt=2), world.table, world.clock)
    async with world.flushing():
        await world.change("load", TaskState.SUCCEEDED)
        await world.clock.advance(FLUSH_INTERVAL_S + 2)
    assert world.table.records == {}
    await world.clock.run(world.reporter.flush(), limit_s=10)
    assert world.statuses() == {"0002#load": TaskState.SUCCEEDED}


async def test_a_row_tells_times_memory_and_error_with_the_runs_ids() -> None:
    world = World()
    await world.change(
        "load.3",
        TaskState.FAILED,
        started_at=NOW,
        ended_at=NOW,
        duration_s=1.23456,
        peak_memory_mb=99.99,
        error_type="LookupError",
        error_message="x" * 5000,
    )
    await world.reporter.flush()
    row = world.table.records["r1", "0002#load.3"]
    assert row == TaskRun(
        run_id="r1",
        task_run_id="0002#load.3",
        org_id="acme",
        task_name="load",
        status=TaskState.FAILED,
        attempts=1,
        run_attempt=2,
        started_at=NOW,
        completed_at=NOW,
        duration_seconds=1.235,
        peak_memory_mb=100.0,
        error_type="LookupError",
        error_message="x" * ERROR_MAX_CHARACTERS,
    )


async def test_an_error_that_no_utf8_can_hold_does_not_spoil_the_batch_of_its_row() -> None:
    world = World()
    await world.change("load", TaskState.FAILED, error_type="E\udcff", error_message="no file \udcff.csv")
    await world.reporter.flush()
    row = world.table.records["r1", "0002#load"]
    assert (row.error_type, row.error_message) == ("E?", "no file ?.csv")


async def test_a_task_between_two_attempts_has_not_completed() -> None:
    world = World()
    await world.change("load", TaskState.PENDING, ended_at=NOW, retry_at=NOW, error_type="LookupError")
    await world.reporter.flush()
    assert world.table.records["r1", "0002#load"].completed_at is None


# Traces.


class Traced(World):
    """A reporter that stores traces."""

    def __init__(self, table: FakeTaskRuns | None = None, **values: Any) -> None:
        super().__init__(table)
        self.store = FakeArtifacts()
        run = running(attempt=2)
        traces = Traces(run, self.store, "traces/")
        self.reporter = TaskRunReporter(run, self.table, self.clock, traces=traces, **values)

    async def fail(self, key: str, trace: str = "Traceback …", **values: Any) -> None:
        given = {"error_type": "LookupError", "error_message": "none", "error_traceback": trace, **values}
        await self.change(key, TaskState.FAILED, **given)


async def test_a_trace_is_stored_and_its_uri_stands_on_the_tasks_row() -> None:
    world = Traced()
    await world.fail("load.3")
    await world.reporter.flush()
    uri = "s3://dagy-artifacts/traces/r1/0002/load.3.1.txt"
    assert world.store.objects == {uri: "Traceback …".encode()}
    assert world.table.records["r1", "0002#load.3"].trace_uri == uri


async def test_the_trace_of_an_earlier_try_stays_on_the_row_of_a_task_that_then_succeeds() -> None:
    world = Traced()
    await world.change("load", TaskState.PENDING, retry_at=NOW, error_type="E", error_message="e", error_traceback="T")
    await world.reporter.flush()
    await world.change("load", TaskState.SUCCEEDED)
    await world.reporter.flush()
    row = world.table.records["r1", "0002#load"]
    assert (row.status, row.trace_uri) == (TaskState.SUCCEEDED, "s3://dagy-artifacts/traces/r1/0002/load.1.txt")


async def test_a_store_in_trouble_delays_the_trace_and_not_the_row() -> None:
    world = Traced()
    world.store.next_error("upload", Transient("down"))
    await world.fail("load")
    await world.reporter.flush()
    assert world.statuses() == {"0002#load": TaskState.FAILED}
    assert world.table.records["r1", "0002#load"].trace_uri is None
    await world.reporter.flush()
    assert world.table.records["r1", "0002#load"].trace_uri is not None
    calls = list(world.store.calls)
    await world.reporter.flush()
    assert world.store.calls == calls, "stored once"


async def test_a_table_in_trouble_keeps_the_traces_for_later() -> None:
    world = Traced()
    world.table.next_error("put_many", Transient("down"))
    await world.fail("load")
    await world.reporter.flush()
    assert world.store.objects == {}
    await world.reporter.flush()
    assert world.table.records["r1", "0002#load"].trace_uri is not None


async def test_thousands_of_failures_make_a_bounded_number_of_objects_and_all_rows() -> None:
    world = Traced()
    for number in range(3 * TRACES_MAX):
        await world.fail(f"load.{number}")
    await world.reporter.flush()
    assert len(world.store.objects) == TRACES_MAX
    assert len(world.table.records) == 3 * TRACES_MAX
    assert sum(row.trace_uri is not None for row in world.table.records.values()) == TRACES_MAX


async def test_what_must_not_be_told_is_in_no_row_no_trace_and_no_line() -> None:
    world = Traced(told=lambda text: text.replace("hunter22", "***"))
    with capture_logs() as lines:
        await world.fail("load", "Traceback hunter22", error_message="with hunter22")
    await world.reporter.flush()
    assert world.table.records["r1", "0002#load"].error_message == "with ***"
    assert list(world.store.objects.values()) == [b"Traceback ***"]
    assert "hunter22" not in str(lines)


async def test_the_first_task_is_told_of_once_it_begins() -> None:
    told: list[str] = []
    world = Traced(on_first_task=lambda: told.append("now"))
    await world.change("later", TaskState.CANCELLED)
    assert told == []
    await world.change("load", TaskState.RUNNING)
    assert told == ["now"]


@pytest.mark.parametrize(
    ("state", "error", "level"),
    [
        pytest.param(TaskState.RUNNING, None, "info", id="started"),
        pytest.param(TaskState.SUCCEEDED, None, "info", id="succeeded"),
        pytest.param(TaskState.SKIPPED, None, "info", id="skipped"),
        pytest.param(TaskState.FAILED, "Traceback …", "error", id="failed with a trace"),
        pytest.param(TaskState.FAILED, None, "error", id="failed without a trace: its process was killed"),
        pytest.param(TaskState.TIMED_OUT, None, "error", id="timed out"),
    ],
)
async def test_the_log_tells_of_each_change_at_its_level(state: TaskState, error: str | None, level: str) -> None:
    with capture_logs() as lines:
        await World().change("load", state, error_traceback=error)
    (line,) = lines
    assert line["log_level"] == level
    assert line["task_run_id"] == "0002#load"
    assert line.get("trace") == error
