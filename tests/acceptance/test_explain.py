"""`runs explain` of real runs that went wrong: the story in order, whose word each step rests on, and what to do."""

import os
import re
import signal
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, end_process
from dagy_control.model.runs import FailureClass, Run, RunStatus
from dagy_control.requests.orders import LaunchOrder
from tests.acceptance.looking import at_work, ended

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

KEYS = {
    "run_id",
    "status",
    "summary",
    "moments",
    "remedy",
    "attempts",
    "infra_failures",
    "estimated_cost_usd",
    "waited_seconds",
    "waits_for",
}
"""What programs may rely on."""


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def daemon(world: DemoWorld) -> AsyncIterator[Daemon]:
    daemon = await world.stack.start_daemon()
    yield daemon
    await end_process(daemon.process, signal.SIGTERM)


async def story_of(world: DemoWorld, run: Run) -> dict[str, Any]:
    """The story as JSON, of the shape that holds for every run; the page tells the same."""
    page = await create_subprocess_exec(
        sys.executable, "-m", "dagy_control.entrypoints.cli", "runs", "explain", run.run_id, stdout=PIPE, env=os.environ
    )
    out, _ = await page.communicate()
    story = await world.command("runs", "explain", run.run_id, "--json")
    assert set(story) == KEYS
    assert all(set(each) == {"at", "attempt", "teller", "text", "facts"} for each in story["moments"])
    assert {each["teller"] for each in story["moments"]} <= {"request", "ECS", "worker", "control"}
    assert all(before["at"] <= after["at"] for before, after in pairwise(story["moments"]))
    assert story["moments"][0]["teller"] == "request"
    on_page = "".join(out.decode().split())
    assert f"run{run.run_id}:{''.join(story['summary'].split())}" in on_page, "it begins with the summary"
    assert "".join(story["remedy"].split()) in on_page
    assert "".join(story["waits_for"].split()) in on_page
    return story


def told(story: dict[str, Any]) -> str:
    return "\n".join(each["text"] for each in story["moments"])


async def test_a_failed_run(world: DemoWorld) -> None:
    run = await ended(world, await world.launch("probe", "acme", "explain", mode="fail", max_attempts=2))
    story = await story_of(world, run)
    assert (story["status"], story["attempts"], story["infra_failures"]) == ("FAILED", 2, 0)
    assert "USER_ERROR" in story["summary"]
    assert "the probe was told to fail" in told(story)
    assert story["remedy"].startswith("Read the task's error")


async def test_a_run_out_of_memory(world: DemoWorld) -> None:
    run = await ended(world, await world.launch("probe", "acme", "explain", mode="hog"))
    story = await story_of(world, run)
    assert run.failure_class is FailureClass.OUT_OF_MEMORY
    assert "larger" in story["remedy"]


async def test_a_cancelled_run(world: DemoWorld) -> None:
    run = await at_work(world, await world.launch("probe", "acme", "explain", seconds=60.0))
    await world.command("runs", "cancel", run.run_id, "--json")
    story = await story_of(world, await ended(world, run))
    assert (story["status"], story["remedy"]) == ("CANCELLED", "")
    assert "its cancel was requested" in told(story)


async def test_a_run_that_spot_took_back(world: DemoWorld) -> None:
    order = LaunchOrder(
        org_id="acme",
        flow_name="probe",
        workload_profile="small",
        parameters={"seconds": 8.0},
        extra_env_vars={"ECS_CAPACITY_PROVIDER": "FARGATE_SPOT"},
    )
    run = await at_work(world, await world.ports.launcher().submit(order))
    world.stack.cloud.driver.interrupt_spot(run.external_id or "")
    done = await ended(world, run)
    story = await story_of(world, done)
    assert (done.status, story["attempts"], story["infra_failures"]) == (RunStatus.SUCCEEDED, 2, 1)
    assert "SPOT_INTERRUPTED" in told(story)
    assert [each["attempt"] for each in story["moments"] if each["teller"] == "ECS"].count(1) >= 3


async def test_a_run_that_waits_for_another_of_its_flow(world: DemoWorld, daemon: Daemon) -> None:
    config, before = world.stack.config, world.stack.config.read_text()
    taken = 'dagy_config_reloads_total{result="taken"}'
    config.write_text(before.replace("[launching]\n", "[launching]\nmax_per_flow = 1\n"))

    async def look() -> bool:
        return await world.metric(daemon.url, taken) > 0

    await world.until("the edit", look)
    first = await at_work(world, await world.launch("probe", "acme", "explain", seconds=600.0))
    second = await world.launch("probe", "acme", "explain", seconds=0.1)
    waiting = await story_of(world, second)
    assert waiting["waits_for"] == "flow_limit: probe of acme has 1 active run, and launching.max_per_flow is 1"
    assert waiting["summary"].startswith("QUEUED since 20")
    await world.command("runs", "cancel", first.run_id, "--json")
    story = await story_of(world, await ended(world, second))
    assert re.search(r"launch try 1 on FARGATE\w*; held back \d+\.\d s by flow_limit", told(story)), told(story)
    assert (story["status"], story["waits_for"]) == ("SUCCEEDED", "")
    config.write_text(before)


async def test_a_lost_run(world: DemoWorld) -> None:
    like = await ended(world, await world.launch("probe", "acme", "explain", seconds=0.1))
    story = await story_of(world, await ended(world, await world.write_stuck_run(like)))
    assert "LOST" in story["summary"]
    assert "look at the worker's log" in story["remedy"]


async def test_a_batch(world: DemoWorld) -> None:
    runs = [await ended(world, await world.launch("probe", "acme", "together", mode=mode)) for mode in ("wait", "fail")]
    batch = await world.command("runs", "explain", "--correlation-id", runs[0].parent_correlation_id or "", "--json")
    assert batch["by_status"] == {"SUCCEEDED": 1, "FAILED": 1}
    assert batch["failures"] == {"USER_ERROR": [1, runs[1].run_id]}
