"""Time that moves only when a test says so, on the stock event loop; and the machine's, for which nobody waits."""

import asyncio
import heapq
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from typing_extensions import override

from dagy_control.kernel.clock import SystemClock

T = TypeVar("T")

SPIN_LIMIT = 100_000  # rounds of the event loop without anybody waiting for time: somebody is spinning


class VirtualClock:
    """A `Clock` whose sleepers wake in the order of their deadlines, each at its own moment, when the test advances it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = 0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed_s  # not zero, so that nobody mistakes it for a duration

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)  # noqa: TID251 - a yield, not a wait
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, self._sequence, woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks wait for time to pass."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let time pass from sleeper to sleeper, everybody doing all that they can in between; ends exactly `seconds` later."""
        target_s = self._elapsed_s + seconds
        await self.settle()
        while (due_s := self._next_due_s()) is not None and due_s <= target_s:
            await self._wake(due_s)
        self._elapsed_s = target_s

    async def run_for(self, seconds: float) -> None:
        """The same as `advance`, by the name that reads better around a running service."""
        await self.advance(seconds)

    async def run(self, awaitable: Awaitable[T], *, limit_s: float = 86_400.0) -> T:
        """Let time pass until the awaitable is done, and give its result. Fails when `limit_s` pass, or when nobody sleeps."""
        work = asyncio.ensure_future(awaitable)  # noqa: TID251 - a test's own task, awaited right here
        target_s = self._elapsed_s + limit_s
        await self.settle()
        try:
            while not work.done():
                due_s = self._next_due_s()
                if due_s is None or due_s > target_s:
                    raise AssertionError(f"not done within {limit_s:g} virtual seconds; {self.sleepers} sleepers")
                await self._wake(due_s)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        return work.result()

    async def settle(self) -> None:
        """Let every task run until all of them wait for something, without time passing."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # the stock loop's queue: the only way to know
        for _ in range(SPIN_LIMIT):
            await asyncio.sleep(0)  # noqa: TID251 - a yield, not a wait
            if not ready:
                return
        raise AssertionError(f"tasks still run after {SPIN_LIMIT} rounds without waiting: one of them spins")

    def _next_due_s(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)  # its task was cancelled
        return self._sleepers[0][0] if self._sleepers else None

    async def _wake(self, due_s: float) -> None:
        _, _, woken = heapq.heappop(self._sleepers)
        self._elapsed_s = max(self._elapsed_s, due_s)
        woken.set_result(None)
        await self.settle()


class HurriedClock(SystemClock):
    """The machine's clock, on which waits are noted and take no time: for work that threads and processes do."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    @override
    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await super().sleep(0)
