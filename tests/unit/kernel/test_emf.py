"""Lines in CloudWatch's embedded metric format."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from dagy_control.kernel.drain import Drain
from dagy_control.kernel.emf import UNITS, EmbeddedMetrics, Figure
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.model.lifecycle import record_stop_cause, request_cancel
from dagy_control.model.runs import RunStatus, StopCause
from tests.builders import NOW, a_run, running
from tests.fakes.clock import VirtualClock
from tests.fakes.runs import FakeRuns

DIMENSIONS = {"Installation": "dagy", "Environment": "prod"}
CLOUDWATCH_UNITS = {"Seconds", "Milliseconds", "Count", "Bytes", "Percent", "Count/Second", "None"}


class Lines(list[str]):
    """What was written."""

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self]


def metrics(clock: VirtualClock | None = None) -> tuple[EmbeddedMetrics, Lines]:
    lines = Lines()
    return EmbeddedMetrics(clock or VirtualClock(), namespace="Dagy", dimensions=DIMENSIONS, write=lines.append), lines


def check_against_the_specification(root: Mapping[str, Any]) -> None:
    """The JSON schema of "Specification: Embedded metric format" (CloudWatch User Guide), by hand."""
    assert set(root["_aws"]) == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(root["_aws"]["Timestamp"], int)
    for directive in root["_aws"]["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 1024
        assert directive["Dimensions"]
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 30
            for name in dimensions:
                assert isinstance(root[name], str)
                assert 1 <= len(root[name]) <= 1024
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) <= {"Name", "Unit", "StorageResolution"}
            assert metric["Unit"] in CLOUDWATCH_UNITS
            assert type(root[metric["Name"]]) in (int, float)


def test_a_line_is_one_json_object_that_keeps_to_the_specification() -> None:
    gathered, lines = metrics()
    gathered.run_ended(a_run(RunStatus.FAILED))
    gathered.reconcile_lag(12.5)
    gathered.flush()
    (line,) = lines
    assert line.endswith("}\n")
    assert "\n" not in line[:-1]
    (root,) = lines.documents
    check_against_the_specification(root)
    assert root["_aws"]["Timestamp"] == int(NOW.timestamp() * 1000)
    assert {figure: root[figure] for figure in Figure} == {
        "Alive": 1,
        "RunsEnded": 1,
        "RunsFailed": 1,
        "ReconcileLag": 12.5,
    }
    assert {name: root[name] for name in DIMENSIONS} == DIMENSIONS


def test_every_figure_has_a_unit() -> None:
    assert set(UNITS) == set(Figure)


def test_counts_begin_anew_with_each_line_and_zero_is_written() -> None:
    gathered, lines = metrics()
    gathered.run_ended(a_run(RunStatus.SUCCEEDED))
    gathered.run_ended(a_run(RunStatus.CANCELLED))
    gathered.flush()
    gathered.flush()
    assert [(root["RunsEnded"], root["RunsFailed"]) for root in lines.documents] == [(2, 0), (0, 0)]


def test_a_worker_writes_only_of_a_run_that_has_ended() -> None:
    gathered, lines = metrics()
    gathered.flush(alive=False)
    assert lines == []
    gathered.run_ended(a_run(RunStatus.FAILED))
    gathered.flush(alive=False)
    (root,) = lines.documents
    check_against_the_specification(root)
    assert (root["RunsFailed"], "Alive" in root) == (1, False)


def test_a_lag_is_written_only_where_a_pass_was_made() -> None:
    gathered, lines = metrics()
    gathered.reconcile_lag(float("inf"))
    gathered.flush()
    (root,) = lines.documents
    check_against_the_specification(root)
    assert "ReconcileLag" not in root


async def test_a_line_a_minute_and_a_last_one_at_the_drain() -> None:
    clock, drain = VirtualClock(), Drain()
    gathered, lines = metrics(clock)
    service = asyncio.ensure_future(gathered.run(drain))  # noqa: TID251 - awaited below
    await clock.advance(150)
    assert [root["Alive"] for root in lines.documents] == [1, 1]
    gathered.run_ended(a_run(RunStatus.FAILED))
    drain.begin()
    await service
    assert lines.documents[-1]["RunsFailed"] == 1


@pytest.mark.parametrize("dimensions", [{"Environment": ""}, {f"D{n}": "v" for n in range(31)}])
def test_dimensions_that_cloudwatch_would_drop_are_refused(dimensions: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="dimensions"):
        EmbeddedMetrics(VirtualClock(), namespace="Dagy", dimensions=dimensions)


async def test_the_writer_tells_of_each_end_once_and_of_nothing_else() -> None:
    clock, ended = VirtualClock(), list[RunStatus]()
    runs = FakeRuns(running(), a_run(run_id="r2"))
    numbers = iter(range(9))
    writer = RecordWriter(runs, clock, lambda: f"op-{next(numbers)}", on_end=lambda run: ended.append(run.status))
    await clock.run(writer.write(record_stop_cause(running(), StopCause.TIMED_OUT, now=NOW, by="test")))
    assert ended == []
    cancel = request_cancel(a_run(run_id="r2"), now=NOW, by="test")
    assert cancel is not None
    await clock.run(writer.write(cancel))
    assert ended == [RunStatus.CANCELLED]


def test_what_happens_seldom_is_a_line_of_its_own_with_the_dimensions_that_were_asked_for() -> None:
    gathered, lines = metrics()
    gathered.tell({"OrphanTasksFound": 3}, part="OrphanScanning", dimensions=("Environment",))
    (root,) = lines.documents
    check_against_the_specification(root)
    (directive,) = root["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Dagy/OrphanScanning", [["Environment"]])
    assert (root["Environment"], root["OrphanTasksFound"]) == ("prod", 3)
    assert "Installation" not in root
