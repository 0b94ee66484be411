"""A real daemon, real workers and the embedded cloud: what happens to runs when things go wrong at any moment."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, end_process
from dagy_control.model.hashing import hashed_fraction
from dagy_control.model.runs import FailureClass, RunStatus
from tests.acceptance.looking import SOON_S, all_ended, at_work, configured, ended, stopped_task

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(loop_scope="module")
async def daemon(world: DemoWorld) -> AsyncIterator[Daemon]:
    daemon = await world.stack.start_daemon()
    yield daemon
    await end_process(daemon.process, signal.SIGKILL)


async def test_a_run_goes_from_queued_to_succeeded_within_seconds(world: DemoWorld, daemon: Daemon) -> None:
    run = await world.launch("daily_sales", "acme", "happy", day="2026-11-21")
    done = await ended(world, run)
    assert done.status is RunStatus.SUCCEEDED, done.error_message
    assert [each.to_status for each in done.transitions] == ["QUEUED", "LAUNCHING", "RUNNING", "SUCCEEDED"]
    assert done.correlation_id.startswith("happy")
    rows = await world.ports.task_runs.of_run(run.run_id)
    assert {row.status for row in rows} == {"SUCCEEDED"}
    assert len(rows) == 7


@pytest.mark.long
async def test_a_daemon_killed_at_any_moment_loses_no_run_and_launches_none_twice(world: DemoWorld) -> None:
    async with configured(world, "[leases]", "[leases]\nenabled = false"):  # or most would be killed standing by
        runs = [await world.launch("probe", "acme", "kills", seconds=0.2) for _ in range(10)]
        for kill in range(6):
            daemon = await world.stack.start_daemon()
            await world.ports.clock.sleep(2 * hashed_fraction("kill", kill))
            await end_process(daemon.process, signal.SIGKILL)
        last = await world.stack.start_daemon()
        try:
            done = await all_ended(world, runs)
        finally:
            await end_process(last.process, signal.SIGTERM)
    assert [(run.status, run.attempt, run.error_message) for run in done] == [(RunStatus.SUCCEEDED, 1, None)] * 10
    by_attempt = await world.tasks_by_attempt()
    assert {by_attempt[f"dagy/{run.run_id}/1"] for run in runs} == {1}


async def test_a_cancelled_run_ends_cancelled_and_its_worker_stops(world: DemoWorld, daemon: Daemon) -> None:
    run = await at_work(world, await world.launch("probe", "acme", "cancel", seconds=60.0))
    answer = await world.command("runs", "cancel", run.run_id, "--json")
    assert answer["cancel_requested_at"]
    done = await ended(world, run)
    assert done.status is RunStatus.CANCELLED
    task = await stopped_task(world, run.external_id or "")
    assert task["stop_code"] == "UserInitiated"


async def test_a_task_that_somebody_stops_fails_its_run_by_shutdown(world: DemoWorld, daemon: Daemon) -> None:
    run = await at_work(world, await world.launch("probe", "acme", "stop", seconds=60.0))
    await world.ports.tasks.stop(world.stack.cloud.cluster, run.external_id or "", reason="by hand")
    done = await ended(world, run)
    assert (done.status, done.failure_class) == (RunStatus.FAILED, FailureClass.SHUTDOWN)
    assert done.error_message == "Worker shutdown requested via SIGTERM"
    rows = await world.ports.task_runs.of_run(run.run_id)
    assert {row.status for row in rows} == {"CANCELLED"}


async def test_a_failed_host_is_known_by_its_class_and_the_run_tried_again(world: DemoWorld, daemon: Daemon) -> None:
    run = await at_work(world, await world.launch("probe", "acme", "spot", seconds=6.0))
    world.stack.cloud.driver.fail_host(run.external_id or "")
    done = await ended(world, run)
    assert (done.status, done.attempt, done.infra_failures) == (RunStatus.SUCCEEDED, 2, 1)
    assert any("INFRASTRUCTURE" in each.why for each in done.transitions)


async def test_without_events_polling_ends_a_killed_run(world: DemoWorld) -> None:
    async with configured(world, "[events]", "[events]\nenabled = false"):
        daemon = await world.stack.start_daemon()
        try:
            run = await at_work(world, await world.launch("probe", "acme", "polling", seconds=60.0))
            await world.kill_worker(run.external_id or "")
            done = await ended(world, run)
        finally:
            await end_process(daemon.process, signal.SIGTERM)
    assert (done.status, done.failure_class, done.exit_code) == (RunStatus.FAILED, FailureClass.USER_ERROR, 137)
    assert done.transitions[-1].by == "reconciling"


async def test_a_second_look_at_rest_writes_nothing(world: DemoWorld, daemon: Daemon) -> None:
    async def passes() -> float:
        return await world.metric(daemon.url, 'dagy_loop_ticks_total{loop="reconciling",outcome="ok"}')

    async def writes() -> float:
        return await world.metric(
            daemon.url, 'dagy_aws_calls_total{operation="UpdateItem",outcome="ok",service="dynamodb"}'
        )

    await world.until("a first pass", more_than(passes, 1), timeout_s=SOON_S)
    before = await writes()
    await world.until("two more passes", more_than(passes, await passes() + 2), timeout_s=SOON_S)
    assert await writes() == before


def more_than(value: Callable[[], Awaitable[float]], bound: float) -> Callable[[], Awaitable[bool | None]]:
    async def look() -> bool | None:
        return True if await value() > bound else None

    return look
