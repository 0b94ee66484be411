"""Work over many items: bounded, complete, and stopped when asked."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from dagy_control.kernel.bounded import Outcome, run_bounded
from tests.fakes.clock import VirtualClock


class Work:
    """Takes item seconds for each item, fails for those in `bad`, and knows how many ran at once."""

    def __init__(self, clock: VirtualClock, bad: frozenset[int] = frozenset()) -> None:
        self.clock = clock
        self.bad = bad
        self.running = self.most = 0
        self.started: list[int] = []

    async def __call__(self, item: int) -> int:
        self.started.append(item)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.clock.sleep(item)
            if item in self.bad:
                raise ValueError(f"bad {item}")
            return item * 10
        finally:
            self.running -= 1


async def test_outcomes_come_in_the_order_of_the_items_whatever_finished_first() -> None:
    clock = VirtualClock()
    outcomes = await clock.run(run_bounded([3, 1, 2], Work(clock), limit=3, name="t"))
    assert outcomes == [Outcome(3, 30, None), Outcome(1, 10, None), Outcome(2, 20, None)]


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_never_more_than_the_limit_run_at_once(limit: int) -> None:
    clock = VirtualClock()
    work = Work(clock)
    await clock.run(run_bounded([1] * 20, work, limit=limit, name="t"))
    assert work.most == limit
    assert len(work.started) == 20


async def test_an_error_of_one_item_never_stops_the_others() -> None:
    clock = VirtualClock()
    outcomes = await clock.run(run_bounded([1, 2, 3], Work(clock, bad=frozenset({1})), limit=1, name="t"))
    assert [outcome.value for outcome in outcomes] == [None, 20, 30]
    assert str(outcomes[0].error) == "bad 1"


async def test_after_stop_no_item_is_started_and_those_under_way_are_finished() -> None:
    clock = VirtualClock()
    work = Work(clock)
    outcomes = await clock.run(
        run_bounded([4, 5, 6, 7], work, limit=2, name="t", stop=lambda: clock.monotonic() > 1001)
    )
    assert [outcome.item for outcome in outcomes] == [4, 5]
    assert all(outcome.error is None for outcome in outcomes)


async def test_items_are_pulled_only_when_a_place_is_free() -> None:
    clock = VirtualClock()
    pulled: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1, 100):
            pulled.append(item)
            yield 1

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_bounded(items(), Work(clock), limit=4, name="t"))
        await clock.settle()
        assert pulled == [1, 2, 3, 4]
        await clock.advance(1)
        assert len(pulled) == 8
        task.cancel()


async def test_a_cancellation_ends_everything() -> None:
    clock = VirtualClock()
    work = Work(clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_bounded([9, 9, 9], work, limit=2, name="t"))
        await clock.settle()
        task.cancel()
    assert task.cancelled()
    assert work.running == 0
    assert work.started == [9, 9]
    assert clock.sleepers == 0


async def test_work_that_cancels_itself_ends_everything_instead_of_being_lost() -> None:
    clock = VirtualClock()

    async def work(item: int) -> None:
        await clock.sleep(item)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await clock.run(run_bounded([1, 50], work, limit=2, name="t"))
    assert clock.monotonic() == 1001


async def test_an_asynchronous_source_works_the_same() -> None:
    clock = VirtualClock()

    async def pages() -> AsyncIterator[int]:
        for item in (2, 1, 3):
            await clock.sleep(1)  # a page is fetched: the other workers must wait for their turn
            yield item

    outcomes = await clock.run(run_bounded(pages(), Work(clock), limit=3, name="t"))
    assert [outcome.value for outcome in outcomes] == [20, 10, 30]


async def test_an_error_of_the_source_is_raised_after_what_was_under_way() -> None:
    clock = VirtualClock()
    before_s = clock.monotonic()
    work = Work(clock)

    async def pages() -> AsyncIterator[int]:
        yield 5
        raise LookupError("page 2")

    with pytest.raises(LookupError, match="page 2"):
        await clock.run(run_bounded(pages(), work, limit=3, name="t"))
    assert clock.monotonic() == before_s + 5


async def test_a_generator_that_was_stopped_early_is_closed() -> None:
    clock = VirtualClock()
    closed: list[bool] = []

    async def pages() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    source = pages()  # held here, so that not the garbage collector is what closes it
    enough = Work(clock)
    outcomes = await clock.run(run_bounded(source, enough, limit=1, name="t", stop=lambda: len(enough.started) == 3))
    assert len(outcomes) == 3
    assert closed == [True]


async def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="describe: the limit"):
        await run_bounded([1], Work(VirtualClock()), limit=0, name="describe")
