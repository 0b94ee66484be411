"""Work over many items at once, never more than a limit at a time."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sized,
)
from dataclasses import dataclass
from typing import Generic, TypeVar

from dagy_control.kernel.tasks import end_tasks, start_task

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """What became of one item: `value` when `error` is None."""

    item: T
    value: R | None
    error: Exception | None


def _never() -> bool:
    return False


async def run_bounded(
    items: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Awaitable[R]],
    *,
    limit: int,
    name: str,
    stop: Callable[[], bool] = _never,
) -> list[Outcome[T, R]]:
    """Do `work` on every item, at most `limit` at a time; outcomes in the order of the items.

    An item is taken from `items` only when a place is free. Once `stop()` is true no further item is taken: those not
    started are absent from the result, those under way are finished. An error of one item never stops the others; an error
    of `items` itself is raised after those under way have ended; a cancellation ends everything.
    """
    if limit < 1:
        raise ValueError(f"{name}: the limit of concurrent items must be at least 1, not {limit}")
    source = _Source(items, stop)
    outcomes: dict[int, Outcome[T, R]] = {}

    async def worker() -> None:
        async for index, item in source:
            outcomes[index] = await _attempt(work, item)

    useful = min(limit, len(items)) if isinstance(items, Sized) else limit
    await _run_workers(worker, useful, source, name=name)
    return [outcomes[index] for index in sorted(outcomes)]


async def consume_bounded(
    items: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Awaitable[None]],
    *,
    limit: int,
    name: str,
    stop: Callable[[], bool] = _never,
) -> None:
    """`run_bounded` for a stream of any length: no item and no outcome is kept.

    The first error, of an item or of `items` itself, ends it: no further item is taken, those under way are finished, and
    then it is raised.
    """
    if limit < 1:
        raise ValueError(f"{name}: the limit of concurrent items must be at least 1, not {limit}")
    source = _Source(items, stop)

    async def worker() -> None:
        async for _, item in source:
            try:
                await work(item)
            except Exception as error:  # noqa: BLE001 - raised by the source once those under way have ended
                source.fail(error)

    await _run_workers(worker, limit, source, name=name)


async def _run_workers(
    worker: Callable[[], Coroutine[None, None, None]], count: int, source: "_Source[T]", *, name: str
) -> None:
    workers = [start_task(worker(), name=f"{name}-{number}") for number in range(count)]
    try:
        await asyncio.gather(*workers)  # a worker cancelled by anybody raises here and takes the others with it
    finally:
        await end_tasks(*workers)
        await source.close()
    if source.error is not None:
        raise source.error


async def _attempt(work: Callable[[T], Awaitable[R]], item: T) -> Outcome[T, R]:
    try:
        return Outcome(item, await work(item), None)
    except Exception as error:  # noqa: BLE001 - handed to the caller as the item's outcome
        return Outcome(item, None, error)


class _Source(Generic[T]):
    """The items, numbered, for several workers: one pull at a time, as async generators demand."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T], stop: Callable[[], bool]) -> None:
        self._items = aiter(items if isinstance(items, AsyncIterable) else _each(items))
        self._stop = stop
        self._turn = asyncio.Lock()
        self._ended = False
        self._taken = 0
        self.error: Exception | None = None

    def __aiter__(self) -> AsyncIterator[tuple[int, T]]:
        return self

    async def __anext__(self) -> tuple[int, T]:
        async with self._turn:
            if self._ended or self._stop():
                raise StopAsyncIteration
            try:
                item = await anext(self._items)
            except StopAsyncIteration:
                self._ended = True
                raise
            except Exception as error:
                self._ended, self.error = True, error
                raise StopAsyncIteration from error
            self._taken += 1
            return self._taken - 1, item

    def fail(self, error: Exception) -> None:
        """Give no further item; the first error is the one to raise."""
        self._ended, self.error = True, self.error or error

    async def close(self) -> None:
        """End a generator that was stopped early, so that its `finally` runs now and not some day."""
        if isinstance(self._items, AsyncGenerator):
            await self._items.aclose()


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
