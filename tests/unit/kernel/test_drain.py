"""Waits that end when the process wants to stop."""

import asyncio

import pytest

from dagy_control.kernel.drain import Drain
from tests.fakes.clock import VirtualClock


async def _answer(clock: VirtualClock, after_s: float) -> str:
    await clock.sleep(after_s)
    return "answer"


async def test_a_wait_that_ends_first_gives_its_result() -> None:
    clock = VirtualClock()
    assert await clock.run(Drain().interrupt(_answer(clock, 5))) == "answer"


async def test_a_drain_that_begins_first_cancels_the_wait_and_gives_none() -> None:
    clock, drain = VirtualClock(), Drain()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(drain.interrupt(_answer(clock, 5)))
        await clock.advance(3)
        drain.begin()
        await clock.settle()
        assert waiting.done()
    assert waiting.result() is None
    assert clock.sleepers == 0


async def test_after_the_drain_began_a_wait_is_not_even_started() -> None:
    drain = Drain()
    drain.begin()
    started: list[bool] = []

    async def work() -> str:
        started.append(True)
        return "done"

    assert await drain.interrupt(work()) is None
    assert started == []


async def test_an_error_of_the_wait_passes_through() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await Drain().interrupt(fail())


async def test_cancelling_the_waiter_cancels_what_it_waits_for() -> None:
    clock, drain = VirtualClock(), Drain()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(drain.interrupt(_answer(clock, 5)))
        await clock.settle()
        waiting.cancel()
    assert waiting.cancelled()
    assert clock.sleepers == 0
