"""The only place where time is read or waited for. Everything else is given a `Clock`, or a `now`."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time, as something handed in: real in the service, virtual in tests."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC. For records and for people; never for measuring how long something took."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, from an arbitrary start. For waits, deadlines and durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait. Zero or less only lets other tasks run."""
        ...


class SystemClock:
    """The machine's own clocks and the event loop's timer."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the one clock that everything else is handed

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop's timer."""
        await asyncio.sleep(max(0.0, seconds))  # noqa: TID251 - this is the one sleep that everything else is handed
