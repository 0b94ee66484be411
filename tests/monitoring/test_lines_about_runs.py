"""Every line that the daemon writes about a run carries the worker's keys: one query finds a run, or a batch, in both logs."""

import ast
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.about import about, learned
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.telemetry import configure_logging, log
from dagy_control.model.launch_failure import LaunchFailureKind
from dagy_control.model.lifecycle import claim_attempt
from dagy_control.model.runs import ActiveRun, active_view
from tests.builders import NOW, OTHER_ARN, a_run, ago, refusal, running, stopped, task_of
from tests.insights import Line, query
from tests.launch_bed import LaunchBed
from tests.monitoring.shipped import INSIGHTS, ROOT
from tests.unit.events.test_event_loop import World as EventWorld
from tests.unit.orphans.world import World as OrphanWorld
from tests.unit.orphans.world import over
from tests.unit.reconciling.test_reconciling_loop import World as ReconcilingWorld

OF_TASK = {"run_id": "r1", "run_attempt": 1}
"""What a task's `startedBy` tells; nothing is read for a log line."""
OF_INDEX = {**OF_TASK, "flow_name": "etl", "org_id": "acme"}
"""What the `active` index tells."""
WHOLE = {**OF_INDEX, "correlation_id": "batch-1.1"}
"""What the worker's lines carry."""


async def launched() -> None:
    await LaunchBed(a_run()).tick()


async def launch_failed() -> None:
    bed = LaunchBed(a_run())
    bed.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE))
    await bed.tick()


async def launch_undecided() -> None:
    bed = LaunchBed(a_run())
    bed.tasks.next_error("run_task", Transient("the reply was lost"))
    with suppress(Transient):
        await bed.tick()


async def surplus_task() -> None:
    bed = LaunchBed(a_run())
    bed.tasks.while_sending = lambda _: bed.write(claim_attempt(bed.run, attempt=1, task_arn=OTHER_ARN, now=NOW))
    await bed.tick()


async def reconciled() -> None:
    await ReconcilingWorld(running(max_attempts=2), tasks=[stopped(running(), 1)]).reconcile()


async def reconcile_failed() -> None:
    world = ReconcilingWorld(running(), tasks=[stopped(running(), 1)])
    world.runs.next_error("change", Permanent("AccessDenied"))
    await world.reconcile()


async def task_stopped() -> None:
    late = running(started_at=None, active_since=ago(7200), launch_sent_at=ago(7200))
    await ReconcilingWorld(late, tasks=[task_of(late)]).reconcile()


async def result_unreadable() -> None:
    world = ReconcilingWorld(running(), tasks=[stopped(running(), 0)])
    world.results.next_error("get", Transient("no"))
    await world.reconcile()


async def ended_by_event() -> None:
    world = EventWorld(running(max_attempts=2))
    world.queue.put(stopped(world.run, 1))
    await world.tick()


async def event_failed() -> None:
    world = EventWorld(running())
    world.queue.put(stopped(world.run))
    world.runs.next_error("get", Permanent("AccessDenied"))
    await world.tick()


async def own_orphan_stopped() -> None:
    run = running(for_s=7 * 3600)
    await OrphanWorld(run, tasks=[task_of(run, started_at=ago(7 * 3600))]).scan()


async def orphan_of_an_ended_run_stopped() -> None:
    await OrphanWorld(over(), tasks=[task_of(over(), started_at=ago(3600))]).scan()


async def orphan_not_stopped() -> None:
    world = OrphanWorld(over(), tasks=[task_of(over(), started_at=ago(3600))])
    world.tasks.next_error("stop", Permanent("AccessDenied"))
    await world.scan()


LINES: list[tuple[str, Callable[[], Awaitable[None]], Line]] = [
    ("RUN_LAUNCHED", launched, WHOLE),
    ("RUN_LAUNCH_FAILED", launch_failed, WHOLE),
    ("RUN_LAUNCH_UNDECIDED", launch_undecided, WHOLE),
    ("RUN_SURPLUS_TASK", surplus_task, WHOLE),
    ("RUN_RECONCILED", reconciled, WHOLE),
    ("RUN_RECONCILE_FAILED", reconcile_failed, OF_INDEX),
    ("RUN_TASK_STOPPED", task_stopped, WHOLE),
    ("RUN_RESULT_UNREADABLE", result_unreadable, OF_INDEX),
    ("RUN_ENDED_BY_EVENT", ended_by_event, WHOLE),
    ("EVENT_FAILED", event_failed, OF_TASK),
    ("ORPHAN_STOPPED", own_orphan_stopped, WHOLE),
    ("ORPHAN_STOPPED", orphan_of_an_ended_run_stopped, OF_TASK),
    ("ORPHAN_NOT_STOPPED", orphan_not_stopped, OF_TASK),
]


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[Line]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("event_type", "happens", "keys"), [pytest.param(*each, id=each[1].__name__) for each in LINES]
)
async def test_a_line_about_a_run_carries_the_workers_keys(
    event_type: str, happens: Callable[[], Awaitable[None]], keys: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="INFO")
    await happens()
    lines = lines_of(capsys)
    assert all("event_type" in line for line in lines)
    (line,) = [line for line in lines if line["event_type"] == event_type]
    assert {key: line.get(key) for key in WHOLE} == {key: keys.get(key) for key in WHOLE}
    assert "attempt" not in line, "of a flow's task, in the worker's lines"


async def test_the_shipped_queries_find_what_the_daemon_did(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO")
    for happens in (launched, reconciled, ended_by_event, task_stopped):
        await happens()
    lines = lines_of(capsys)
    for name, word, by in (("one-run", "RUN_ID", "r1"), ("one-batch", "CORRELATION_ID", "batch-1")):
        text = (INSIGHTS / f"{name}.txt").read_text().replace(word, by)
        told = {each.get("event_type") for each in query(text, lines)}
        assert told == {"RUN_LAUNCHED", "RUN_RECONCILED", "RUN_ENDED_BY_EVENT", "RUN_TASK_STOPPED"}, name


async def test_what_is_at_hand_ends_with_its_block_and_is_each_workers_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(level="INFO")

    async def work(run: ActiveRun) -> None:
        with about(active_view(run)):
            log("x").info("from the index")
            learned(a_run(run_id=run.run_id))
            log("x").info("whole", flow_name="another")

    await run_bounded([a_run(run_id=f"r{n}") for n in range(3)], work, limit=2, name="work")
    log("x").info("after")
    lines = lines_of(capsys)
    told = {(line["run_id"], line["message"], line.get("correlation_id")) for line in lines[:-1]}
    assert told == {(f"r{n}", *each) for n in range(3) for each in (("from the index", None), ("whole", "batch-1.1"))}
    assert {line["flow_name"] for line in lines if line["message"] == "whole"} == {"another"}, "a line's own word wins"
    assert "run_id" not in lines[-1]


LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def calls_without_a_type() -> list[str]:
    """Where the product writes a line without an `event_type` (a mapping that is handed over may hold it)."""
    found = []
    for path in sorted((ROOT / "dagy_control").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logger = ast.unparse(node.func.value)
                named = {keyword.arg for keyword in node.keywords}
                if logger.lower().removeprefix("self.") in {"_log", "log(__name__)"} and not named & {
                    "event_type",
                    None,
                }:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def test_every_line_says_what_kind_of_line_it_is() -> None:
    assert calls_without_a_type() == []
