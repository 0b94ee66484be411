"""Tasks have owners."""

import asyncio

import pytest

from dagy_control.kernel.tasks import background, within
from tests.fakes.clock import VirtualClock


async def test_a_background_task_ends_with_its_block() -> None:
    clock = VirtualClock()
    async with background(clock.sleep(100), name="heartbeat") as task:
        await clock.settle()
        assert task.get_name() == "heartbeat"
        assert not task.done()
    assert task.cancelled()
    assert clock.sleepers == 0


async def test_an_error_in_the_background_is_raised_when_the_block_ends() -> None:
    clock = VirtualClock()

    async def fail() -> None:
        raise ValueError("background")

    with pytest.raises(ValueError, match="background"):
        async with background(fail(), name="failing"):
            await clock.settle()


async def test_an_error_of_the_block_goes_before_one_in_the_background() -> None:
    clock = VirtualClock()

    async def fail() -> None:
        raise ValueError("background")

    async def block() -> None:
        async with background(fail(), name="failing"):
            await clock.settle()
            raise LookupError("block")

    with pytest.raises(LookupError, match="block"):
        await block()


async def test_work_in_time_gives_its_result_and_its_timer_is_gone() -> None:
    clock = VirtualClock()

    async def work() -> int:
        await clock.sleep(2)
        return 7

    assert await clock.run(within(clock, 3, work(), name="work")) == 7
    assert clock.sleepers == 0


async def test_late_work_is_cancelled_and_named() -> None:
    clock = VirtualClock()
    ended: list[str] = []

    async def work() -> None:
        try:
            await clock.sleep(10)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(TimeoutError, match="describe did not finish within 3 s"):
        await clock.run(within(clock, 3, work(), name="describe"))
    assert ended == ["cancelled"]
