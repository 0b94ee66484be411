"""The clock of one replica among several: it drifts against the true one, and stands with its process when that is frozen."""

from datetime import datetime

from tests.fakes.clock import VirtualClock


class DriftingClock:
    """A `Clock` that runs `rate` times as fast as the true one, from another start; `freeze` stops its process, not time."""

    def __init__(self, true: VirtualClock, *, rate: float = 1.0, start_s: float = 0.0) -> None:
        self._true = true
        self._rate = rate
        self._start_s = start_s
        self._frozen_until = 0.0

    def now(self) -> datetime:
        return self._true.now()

    def monotonic(self) -> float:
        return self._start_s + self._true.monotonic() * self._rate

    async def sleep(self, seconds: float) -> None:
        await self._true.sleep(seconds / self._rate)
        await self.thaw()

    def freeze(self, true_s: float) -> None:
        """For so many seconds of the true clock nobody who waits in this process wakes."""
        self._frozen_until = max(self._frozen_until, self._true.monotonic() + true_s)

    async def thaw(self) -> None:
        """Wait while the process is frozen: for whatever would wake in it."""
        while (left_s := self._frozen_until - self._true.monotonic()) > 0:
            await self._true.sleep(left_s)
