"""The sanctioned ways to start an asyncio task: each has a name, and an owner that waits for its end.

For work over many items use `bounded.run_bounded`; for a service of the process, `Supervisor.add`; for a fixed set of
concurrent calls, `asyncio.TaskGroup` (give every task a name). What is here is for the rest.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from dagy_control.kernel.clock import Clock

T = TypeVar("T")


def start_task(coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start a named task. The caller owns it: it must await it, or end it with `end_tasks`."""
    return asyncio.create_task(coroutine, name=name)  # noqa: TID251 - the one place where tasks are made


def as_task(awaitable: Awaitable[T], *, name: str) -> asyncio.Future[T]:
    """Any awaitable as something that can be raced and cancelled; a future is taken as it is. The caller owns it."""
    if inspect.iscoroutine(awaitable):
        return start_task(awaitable, name=name)
    return asyncio.ensure_future(awaitable)  # noqa: TID251 - the one place where tasks are made


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel those still running and wait until all have ended. What they raised is left to whoever asks for their result."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def background(coroutine: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run a task for as long as the block lasts, then cancel it and wait for its end.

    A task that failed meanwhile raises its error when the block ends well; an error of the block itself goes first.
    """
    task = start_task(coroutine, name=name)
    try:
        yield task
    finally:
        await end_tasks(task)
    if not task.cancelled():
        task.result()


async def within(clock: Clock, seconds: float, awaitable: Awaitable[T], *, name: str) -> T:
    """The awaitable's result, if it comes in time; else it is cancelled and `TimeoutError` raised, naming `name`.

    Like `asyncio.timeout`, but on the clock handed in.
    """
    work = as_task(awaitable, name=name)
    timer = start_task(clock.sleep(seconds), name=f"{name}: timeout")
    racers: set[asyncio.Future[Any]] = {work, timer}
    try:
        await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise TimeoutError(f"{name} did not finish within {seconds:g} s")
    finally:
        await end_tasks(*racers)
