"""The wish to stop, as a value: something that can be asked, awaited and raced."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from dagy_control.kernel.tasks import as_task, end_tasks, start_task

T = TypeVar("T")


class Drain:
    """Begins once and never ends. Whoever holds it stops between two effects, not in the middle of one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def begun(self) -> bool:
        """True from the moment on at which nothing new may be started."""
        return self._event.is_set()

    def begin(self) -> None:
        """Ask for the stop. Idempotent."""
        self._event.set()

    async def wait(self) -> None:
        """Return when the drain begins; at once if it has."""
        await self._event.wait()

    async def interrupt(self, awaitable: Awaitable[T]) -> T | None:
        """The awaitable's result, or None when the drain begins first: then the awaitable has been cancelled and has ended.

        For waits without effects (a sleep, a long poll). Errors of the awaitable pass through.
        """
        work = as_task(awaitable, name="interruptible")
        if self.begun:
            await end_tasks(work)
            return None
        begun = start_task(self.wait(), name="drain begins")
        racers: set[asyncio.Future[Any]] = {work, begun}
        try:
            await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(*racers)
        return None if work.cancelled() else work.result()
