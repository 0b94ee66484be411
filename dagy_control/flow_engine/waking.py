"""Lets one coroutine sleep until something calls it, without a task or a context manager for each sleep."""

import asyncio


class Waker:
    """What happened before `wait` is not slept over. For one waiter; every method belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._woken = False
        self._sleeper: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Something has happened."""
        self._woken = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def clear(self) -> None:
        """All that has happened so far is about to be looked at."""
        self._woken = False

    async def wait(self, at_most_s: float | None = None) -> None:
        """Until `wake`, or until the time is over; returns at once if something has happened since `clear`."""
        if self._woken or (at_most_s is not None and at_most_s <= 0):
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = None if at_most_s is None else loop.call_later(at_most_s, self.wake)
        try:
            await self._sleeper
        finally:
            self._sleeper = None
            if timer is not None:
                timer.cancel()
