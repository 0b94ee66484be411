"""What the acceptance tests wait for. Every bound is only there to end a test that has failed: far above what a slow machine needs."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.model.runs import Run

SOON_S = 60.0
"""For one thing to happen."""

LONG_S = 150.0
"""For many runs to end."""


async def all_ended(world: DemoWorld, runs: Iterable[Run], *, timeout_s: float = LONG_S) -> list[Run]:
    """The runs, once every one of them is at its end."""
    waited_for = list(runs)

    async def look() -> list[Run] | None:
        now = [await world.run(run.run_id) for run in waited_for]
        return now if all(run.status.is_terminal for run in now) else None

    return await world.until("the end of the runs", look, timeout_s=timeout_s)


async def ended(world: DemoWorld, run: Run) -> Run:
    """The run, once it is at its end."""
    (done,) = await all_ended(world, [run])
    return done


async def at_work(world: DemoWorld, run: Run) -> Run:
    """The run, once its worker runs a task of the flow."""

    async def look() -> Run | None:
        rows = await world.ports.task_runs.of_run(run.run_id)
        return await world.run(run.run_id) if any(row.status == "RUNNING" for row in rows) else None

    return await world.until(f"{run.run_id} at work", look, timeout_s=SOON_S)


async def stopped_task(world: DemoWorld, arn: str) -> dict[str, Any]:
    """The task, once it has stopped."""

    async def look() -> dict[str, Any] | None:
        task = await world.task(arn)
        return task if task["last_status"] == "STOPPED" else None

    return await world.until(f"the end of task {arn}", look, timeout_s=SOON_S)


@asynccontextmanager
async def configured(world: DemoWorld, old: str, new: str) -> AsyncIterator[None]:
    """Daemons that are started inside read `new` where the configuration has `old`."""
    before = world.stack.config.read_text()
    assert old in before
    world.stack.config.write_text(before.replace(old, new))
    try:
        yield
    finally:
        world.stack.config.write_text(before)
