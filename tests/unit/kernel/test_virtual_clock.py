"""The fake that every other timing test rests on."""

import asyncio
from datetime import timedelta

import pytest

from dagy_control.kernel.clock import Clock
from tests.fakes.clock import VirtualClock


async def test_sleepers_wake_in_the_order_of_their_deadlines_each_at_its_own_moment() -> None:
    clock: Clock = (virtual := VirtualClock())
    start = clock.now()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, (clock.now() - start) / timedelta(seconds=1)))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("slow", 3, 3))
        group.create_task(sleeper("quick", 1, 1, 1.5))
        await virtual.advance(5)
        assert woken == [("quick", 1), ("quick", 2), ("slow", 3), ("quick", 3.5)]
        assert clock.now() - start == timedelta(seconds=5)
        await virtual.run_for(1)
    assert woken[-1] == ("slow", 6)


async def test_run_lets_time_pass_until_the_work_is_done() -> None:
    clock = VirtualClock()

    async def work() -> str:
        await clock.sleep(90)
        return "done"

    assert await clock.run(work()) == "done"
    assert clock.monotonic() == 1090


async def test_run_fails_when_the_work_waits_for_something_that_time_does_not_bring() -> None:
    with pytest.raises(AssertionError, match="0 sleepers"):
        await VirtualClock().run(asyncio.Event().wait())


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(clock.sleep(10))
        await clock.settle()
        assert clock.sleepers == 1
        task.cancel()
    assert clock.sleepers == 0
    await clock.advance(20)
