"""The queries for CloudWatch Logs Insights, over what a real daemon and its workers have written in one eventful minute."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from dagy_control.entrypoints.demo_flows import register_demo_flows
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import LocalStack, end_process
from dagy_control.entrypoints.wiring import open_ports
from dagy_control.model.runs import Run
from tests.acceptance.looking import SOON_S, all_ended, stopped_task
from tests.insights import Line, query
from tests.monitoring.shipped import INSIGHTS, ROOT

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

SLEEPER = {
    "family": "sleeper",
    "requiresCompatibilities": ["FARGATE"],
    "networkMode": "awsvpc",
    "cpu": "256",
    "memory": "512",
    "containerDefinitions": [
        {"name": "sleeper", "image": "local", "essential": True, "command": ["sleep", "600"], "stopTimeout": 2}
    ],
}
NOT_HERE = {"out-of-memory.txt": "tests/unit/worker/test_insights.py"}
"""Queries whose lines another test makes."""

everything = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Story:
    """All lines, and who is in them."""

    lines: list[Line]
    good: list[Run]
    bad: Run
    ghost: str

    def answer(self, name: str, **words: str) -> list[Line]:
        """What the shipped query answers, with its capital words replaced."""
        text = (INSIGHTS / f"{name}.txt").read_text()
        for word, by in words.items():
            assert word in text
            text = text.replace(word, by)
        return query(text, self.lines)


def lines_of(logs: Iterable[Path]) -> list[Line]:
    """Their JSON lines; what a flow prints is none."""
    texts = [line for log in logs for line in log.read_text().splitlines()]
    return [json.loads(line) for line in texts if line.startswith("{")]


async def refused(world: DemoWorld, kind: str, operation: str) -> None:
    """ECS will do this to the operation's next call."""
    url = f"{world.stack.cloud.ecs_url}/_local/faults"
    order = {"kind": kind, "operation": operation, "calls": 1}
    async with aiohttp.ClientSession() as session, session.post(url, json=order) as response:
        response.raise_for_status()


async def lived(world: DemoWorld) -> tuple[list[Run], Run, str]:
    """Runs that end well and badly, an orphan that is stopped, edits good and bad, an ECS that refuses now and then."""
    config = world.stack.config
    config.write_text(config.read_text().replace("dry_run = true", "dry_run = false"))
    text = config.read_text()
    daemon = await world.stack.start_daemon()
    await world.ports.clients.ecs.register_task_definition(**SLEEPER)  # type: ignore[arg-type] # typed as literals
    ghost = await world.start_ghost("sleeper")
    for kind, operation in (("throttle", "RunTask"), ("launch_failure", "RunTask"), ("error_not_applied", "ListTasks")):
        await refused(world, kind, operation)
    good = [await world.launch("probe", "acme", "batch-7", seconds=seconds) for seconds in (0.0, 0.5)]
    bad = await world.launch("probe", "acme", "batch-8", mode="fail")
    await all_ended(world, [*good, bad])
    await stopped_task(world, ghost)
    for edit, result in ((text.replace("interval_s = 0.5", "interval_s = 0.6"), "taken"), ("[launching", "refused")):
        config.write_text(edit)
        line = f'dagy_config_reloads_total{{result="{result}"}}'

        async def decided(line: str = line) -> bool:
            return await world.metric(daemon.url, line) > 0

        await world.until(f"the edit {result}", decided, timeout_s=SOON_S)
    await end_process(daemon.process, signal.SIGTERM)
    return good, bad, ghost


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    before = dict(os.environ)
    folder = tmp_path_factory.mktemp("cloud")
    try:
        async with LocalStack(folder, max_tasks=6) as stack, aiohttp.ClientSession() as session:
            await register_demo_flows(stack.settings(), ["acme"])
            async with open_ports(stack.settings()) as ports:
                world = DemoWorld(stack, ports, session)
                good, bad, ghost = await lived(world)
                logs = [log for log in sorted((folder / "logs").glob("*.log")) if log.name != "aws-server.log"]
                yield Story(lines_of(logs), good, bad, ghost)
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_every_query_is_held_and_explained() -> None:
    names = {path.name for path in INSIGHTS.iterdir()}
    held = {f"{name}.txt" for name in ANSWERS} | NOT_HERE.keys()
    assert names == held
    explained = (ROOT / "docs" / "monitoring.md").read_text()
    assert [name for name in sorted(names) if f"insights/{name})" not in explained] == []
    for name, elsewhere in NOT_HERE.items():
        assert name in (ROOT / elsewhere).read_text()


def failed_by_class(story: Story) -> None:
    assert story.answer("failed-runs-by-class") == [{"failure_class": "USER_ERROR", "count()": 1}]


def failed_by_flow(story: Story) -> None:
    assert story.answer("failed-runs-by-flow") == [{"flow_name": "probe", "count()": 1}]


def failed(story: Story) -> None:
    (found,) = story.answer("failed-runs")
    assert (found["run_id"], found["org_id"], found["failure_class"]) == (story.bad.run_id, "acme", "USER_ERROR")
    assert "the probe was told to fail" in found["error"]


def durations(story: Story) -> None:
    (found,) = story.answer("durations-by-flow")
    assert (found["flow_name"], found["count()"]) == ("probe", 3)
    assert found["max(duration_seconds)"] >= 0.5


def slowest_tasks(story: Story) -> None:
    found = story.answer("slowest-tasks")
    assert found[0]["run_id"] == story.good[1].run_id
    assert set(found[0]) == {
        "@timestamp", "run_id", "task_run_id", "task_name", "status", "duration_seconds", "peak_memory_mb",
    }  # fmt: skip


def slowest_starts(story: Story) -> None:
    found = story.answer("slowest-starts")
    seconds = [each["first_task_seconds"] for each in found]
    assert len(seconds) == 3
    assert seconds == sorted(seconds, reverse=True)
    phases = {"interpreter_seconds", "claim_seconds", "artifact_seconds", "dependencies_seconds", "import_seconds"}
    assert {"@timestamp", "run_id", "flow_name", "first_task_seconds", *phases} == set(found[0])


def one_run(story: Story) -> None:
    found = story.answer("one-run", RUN_ID=story.bad.run_id)
    said = [each["message"] for each in found]
    assert "launched" in said, "by the daemon"
    assert [each["event_type"] for each in found].count("RUN_LAUNCHED") == 1
    assert found[-1]["status"] == "FAILED", "by its worker, last"
    assert [each["@timestamp"] for each in found] == sorted(each["@timestamp"] for each in found)


def one_batch(story: Story) -> None:
    found = story.answer("one-batch", CORRELATION_ID="batch-7")
    assert {each["run_id"] for each in found} == {run.run_id for run in story.good}
    by_daemon = [each["run_id"] for each in found if each["event_type"] == "RUN_LAUNCHED"]
    assert sorted(by_daemon) == sorted(run.run_id for run in story.good)


def refused_launches(story: Story) -> None:
    assert {each["kind"]: each["count()"] for each in story.answer("refused-launches")} == {
        "throttled": 1,
        "retryable": 1,
    }


def throttled(story: Story) -> None:
    (found,) = story.answer("throttled")
    assert "RunTask" in found["error"]


def aws_failures(story: Story) -> None:
    (found,) = story.answer("aws-failures")
    assert (found["service"], found["operation"], found["reason"]) == ("ecs", "ListTasks", "ServerException")
    assert found["aws_request_id"]


def loop_errors(story: Story) -> None:
    found = story.answer("loop-errors")
    assert {(each["loop"], each["outcome"]) for each in found} == {("orphans", "transient")}
    errors = [each["error"] for each in found if "the process stops" not in each["error"]]  # a scan cut by the end
    assert errors
    assert all("ListTasks" in error for error in errors)


def orphans_stopped(story: Story) -> None:
    (found,) = story.answer("orphans-stopped")
    assert found["task_arn"] == story.ghost
    assert found["reason"]


def configuration_edits(story: Story) -> None:
    found = story.answer("configuration-edits")
    assert [each["event_type"] for each in found] == ["CONFIG_REFUSED", "CONFIG_TAKEN"]
    assert found[0]["@message"]["problems"]
    assert any("launching.interval_s" in change for change in found[1]["@message"]["changes"])


def leases(story: Story) -> None:
    held = {each["lease"].rpartition("/")[2] for each in story.answer("leases") if each["event_type"] == "LEASE_HELD"}
    assert held == {"launching", "reconciling", "orphans"}


ANSWERS = {
    "failed-runs-by-class": failed_by_class,
    "failed-runs-by-flow": failed_by_flow,
    "failed-runs": failed,
    "durations-by-flow": durations,
    "slowest-tasks": slowest_tasks,
    "slowest-starts": slowest_starts,
    "one-run": one_run,
    "one-batch": one_batch,
    "refused-launches": refused_launches,
    "throttled": throttled,
    "aws-failures": aws_failures,
    "loop-errors": loop_errors,
    "orphans-stopped": orphans_stopped,
    "configuration-edits": configuration_edits,
    "leases": leases,
}


@pytest.mark.long
@everything
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_query_finds_what_happened_and_nothing_else(story: Story, name: str) -> None:
    ANSWERS[name](story)
