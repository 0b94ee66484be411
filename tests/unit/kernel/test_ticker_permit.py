"""A loop that needs leave to act: it ticks only while it has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from dagy_control.kernel.drain import Drain
from dagy_control.kernel.telemetry import LoopMetrics
from dagy_control.kernel.ticker import Tick, Ticker, TickPolicy
from tests.fakes.clock import VirtualClock
from tests.fakes.permit import FakePermit


class SlowLoop:
    """Keeps the start of each tick, and whether it was told to stop at its end."""

    name = "slow"

    def __init__(self, clock: VirtualClock, takes_s: float) -> None:
        self.clock = clock
        self.takes_s = takes_s
        self.starts: list[float] = []
        self.stopped: list[bool] = []

    async def tick(self, tick: Tick) -> float | None:
        assert not tick.stopping, "no tick starts without leave"
        self.starts.append(round(self.clock.monotonic() - 1000, 3))
        await self.clock.sleep(self.takes_s)
        self.stopped.append(tick.stopping)
        return None


class Bench:
    """A ticker that needs a permit and has none yet."""

    def __init__(self, *, takes_s: float = 0) -> None:
        self.clock = VirtualClock()
        self.permit = FakePermit(held=False)
        self.drain = Drain()
        self.loop = SlowLoop(self.clock, takes_s)
        policy = TickPolicy(interval_s=10, jitter=0)
        self.ticker = Ticker(self.loop, policy, self.clock, LoopMetrics(CollectorRegistry()), permit=self.permit)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ticker.run(self.drain))
            await self.clock.settle()
            yield
            self.drain.begin()
            await self.clock.advance(self.loop.takes_s)


async def test_a_loop_without_leave_waits_without_waking_and_is_alive() -> None:
    bench = Bench()
    async with bench.running():
        await bench.clock.advance(100)
        assert bench.loop.starts == []
        assert bench.clock.sleepers == 0
        assert bench.ticker.health.standby
        assert bench.ticker.alive() is None


async def test_an_overdue_tick_starts_the_moment_that_leave_is_given() -> None:
    bench = Bench()
    async with bench.running():
        await bench.clock.advance(33)
        bench.permit.grant()
        await bench.clock.advance(12)
        assert not bench.ticker.health.standby
    assert bench.loop.starts == [33, 43]


async def test_leave_that_comes_before_the_tick_is_due_changes_nothing() -> None:
    bench = Bench()
    bench.permit.grant()
    async with bench.running():
        await bench.clock.advance(1)
        bench.permit.revoke()
        await bench.clock.advance(4)
        bench.permit.grant()
        await bench.clock.advance(7)
    assert bench.loop.starts == [0, 10]


async def test_a_tick_under_way_is_told_to_stop_when_leave_is_withdrawn_and_no_other_follows() -> None:
    bench = Bench(takes_s=4)
    bench.permit.grant()
    async with bench.running():
        await bench.clock.advance(2)
        bench.permit.revoke()
        await bench.clock.advance(50)
    assert bench.loop.starts == [0]
    assert bench.loop.stopped == [True]


async def test_triggers_without_leave_are_one_tick_when_it_comes() -> None:
    bench = Bench()
    async with bench.running():
        bench.ticker.trigger()
        await bench.clock.advance(3)
        bench.ticker.trigger()
        await bench.clock.advance(3)
        bench.permit.grant()
        await bench.clock.advance(5)
    assert bench.loop.starts == [6]


async def test_a_loop_that_was_paused_while_it_waited_for_leave_stays_paused() -> None:
    bench = Bench()
    async with bench.running():
        await bench.clock.advance(3)
        bench.ticker.pause()
        bench.permit.grant()
        await bench.clock.advance(50)
        assert bench.loop.starts == []
        bench.ticker.resume()
        await bench.clock.advance(1)
    assert bench.loop.starts == [53]


async def test_a_drain_ends_the_wait_for_leave() -> None:
    bench = Bench()
    async with bench.running():
        await bench.clock.advance(5)
    assert bench.loop.starts == []


async def test_a_tick_stops_for_the_drain_or_for_the_lost_leave() -> None:
    drain, permit = Drain(), FakePermit()
    tick = Tick(now=VirtualClock().now(), drain=drain, permit=permit)
    assert not tick.stopping
    permit.revoke()
    assert tick.stopping
    permit.grant()
    assert not tick.stopping
    drain.begin()
    assert tick.stopping
