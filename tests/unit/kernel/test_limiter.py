"""The API budget, by example. Its laws are in tests/properties/test_limiter.py."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from dagy_control.errors import Transient
from dagy_control.kernel.limiter import AWS_BUCKETS, Bucket, BucketLimit, Limiter, Priority
from tests.fakes.clock import VirtualClock

READ = [Bucket.ECS_READ]
LAUNCH = [Bucket.ECS_MODIFY, Bucket.RUN_TASK, Bucket.LAUNCH_SPOT]


class Bench:
    """A limiter on a virtual clock, and who got through when."""

    def __init__(
        self, limits: dict[Bucket, BucketLimit] | None = None, *, share: float = 1.0, max_waiters: int = 10_000
    ) -> None:
        self.clock = VirtualClock()
        self.limiter = Limiter(self.clock, limits or AWS_BUCKETS, share=share, max_waiters=max_waiters)
        self.served: list[tuple[str, float]] = []

    async def call(self, name: str, buckets: list[Bucket], priority: Priority = Priority.RECONCILE) -> float:
        waited_s = await self.limiter.acquire(buckets, priority)
        self.served.append((name, round(self.clock.monotonic() - 1000, 3)))
        return waited_s

    async def empty(self, buckets: list[Bucket]) -> None:
        for bucket in buckets:
            while self.limiter.level(bucket) >= 1:
                await self.limiter.acquire([bucket])


def _one_a_second(*buckets: Bucket, burst: float = 1) -> dict[Bucket, BucketLimit]:
    return {bucket: BucketLimit(burst=burst / 0.9, rate_per_s=1 / 0.95) for bucket in buckets}


async def test_it_starts_with_a_burst_below_the_documented_one_and_goes_on_below_the_documented_rate() -> None:
    bench = Bench()
    for _ in range(90):
        assert await bench.limiter.acquire(READ) == 0
    assert bench.limiter.rate(Bucket.ECS_READ) == 19
    waited_s = await bench.clock.run(bench.limiter.acquire(READ))
    assert waited_s == pytest.approx(1 / 19, abs=1e-5)


async def test_a_thousand_launches_take_what_the_narrowest_bucket_takes() -> None:
    bench = Bench()
    calls = [bench.call(str(number), LAUNCH, Priority.LAUNCH) for number in range(1000)]
    await bench.clock.run(_all(calls))
    assert bench.clock.monotonic() - 1000 == pytest.approx((1000 - 18) / 19, abs=0.1)


async def _all(calls: list[Coroutine[Any, Any, float]]) -> None:
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(call)


async def test_a_share_of_the_account_divides_burst_and_rate() -> None:
    bench = Bench(share=0.5)
    assert bench.limiter.level(Bucket.ECS_READ) == 45
    assert bench.limiter.rate(Bucket.ECS_READ) == 9.5


async def test_the_smallest_share_still_lets_a_call_through() -> None:
    bench = Bench(share=0.001)
    assert await bench.clock.run(bench.limiter.acquire(LAUNCH)) == 0


async def test_a_call_takes_from_all_its_buckets_or_from_none() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_MODIFY, Bucket.RUN_TASK, burst=2))
    await bench.empty([Bucket.RUN_TASK])
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.call("launch", [Bucket.ECS_MODIFY, Bucket.RUN_TASK]))
        await bench.clock.advance(0.9)
        assert bench.limiter.level(Bucket.ECS_MODIFY) == 2
        await bench.clock.advance(0.2)
    assert bench.served == [("launch", 1)]
    assert bench.limiter.level(Bucket.ECS_MODIFY) == pytest.approx(1.1)


async def test_waiters_are_served_by_priority_and_then_in_order_of_arrival() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        for name, priority in [
            ("orphans", Priority.ORPHANS),
            ("reconcile 1", Priority.RECONCILE),
            ("launch 1", Priority.LAUNCH),
            ("reconcile 2", Priority.RECONCILE),
            ("launch 2", Priority.LAUNCH),
        ]:
            group.create_task(bench.call(name, READ, priority))
        await bench.clock.advance(6)
    assert bench.served == [("launch 1", 1), ("launch 2", 2), ("reconcile 1", 3), ("reconcile 2", 4), ("orphans", 5)]


async def test_a_lower_priority_cannot_take_the_token_that_a_higher_one_waits_to_combine() -> None:
    bench = Bench({**_one_a_second(Bucket.RUN_TASK), Bucket.ECS_MODIFY: BucketLimit(1, 0.5 / 0.95)})
    await bench.empty([Bucket.RUN_TASK])
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.call("launch", [Bucket.RUN_TASK, Bucket.ECS_MODIFY], Priority.LAUNCH))
        await bench.clock.advance(0.5)
        group.create_task(bench.call("orphan stop", [Bucket.ECS_MODIFY], Priority.ORPHANS))
        await bench.clock.advance(4)
    assert [name for name, _ in bench.served] == ["launch", "orphan stop"]
    assert bench.served[0][1] == 1


async def test_a_stop_does_not_queue_behind_launches_that_wait_for_another_bucket() -> None:
    bench = Bench()
    await bench.empty([Bucket.RUN_TASK])
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(bench.call(f"launch {number}", LAUNCH, Priority.LAUNCH))
        await bench.clock.settle()
        group.create_task(bench.call("stop", [Bucket.ECS_MODIFY], Priority.ORPHANS))
        await bench.clock.advance(5)
    assert bench.served[0] == ("stop", 0)


async def test_who_waits_long_enough_rises_so_that_nobody_starves() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    await bench.empty(READ)

    async def flood() -> None:
        while not any(name == "orphans" for name, _ in bench.served):
            await bench.call("launch", READ, Priority.LAUNCH)

    async with asyncio.TaskGroup() as group:
        group.create_task(bench.call("orphans", READ, Priority.ORPHANS))
        await bench.clock.settle()
        for _ in range(5):
            group.create_task(flood())
        await bench.clock.advance(100)
    at = dict(bench.served)["orphans"]
    assert 60 <= at <= 66


async def test_a_throttle_empties_the_bucket_and_slows_it_and_the_rate_climbs_back() -> None:
    bench = Bench()
    bench.limiter.throttled(READ)
    assert bench.limiter.level(Bucket.ECS_READ) == 0
    assert bench.limiter.rate(Bucket.ECS_READ) == pytest.approx(13.3)
    assert bench.limiter.level(Bucket.ECS_MODIFY) == 90
    await bench.clock.advance(2)
    assert bench.limiter.rate(Bucket.ECS_READ) == pytest.approx(14.3)
    assert bench.limiter.level(Bucket.ECS_READ) == pytest.approx(2 * 13.8)
    await bench.clock.advance(60)
    assert bench.limiter.rate(Bucket.ECS_READ) == 19
    assert bench.limiter.level(Bucket.ECS_READ) == 90


async def test_throttles_of_calls_that_were_under_way_together_slow_down_once() -> None:
    bench = Bench()
    for _ in range(8):
        bench.limiter.throttled(READ)
    assert bench.limiter.rate(Bucket.ECS_READ) == pytest.approx(13.3)


async def test_the_rate_never_falls_to_nothing() -> None:
    bench = Bench()
    for _ in range(40):
        bench.limiter.throttled(READ)
        await bench.clock.advance(1)
    bench.limiter.throttled(READ)
    assert bench.limiter.rate(Bucket.ECS_READ) >= 19 * 0.05


async def test_who_takes_over_from_another_process_begins_with_nothing_saved_at_the_full_rate() -> None:
    bench = Bench()
    bench.limiter.empty()
    assert {bench.limiter.level(bucket) for bucket in bench.limiter.buckets} == {0}
    await bench.clock.advance(1)
    assert bench.limiter.level(Bucket.ECS_READ) == pytest.approx(19)


async def test_a_waiter_finds_out_that_a_throttle_came_while_it_waited() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.call("late", READ))
        await bench.clock.advance(0.9)
        bench.limiter.throttled(READ)
        await bench.clock.advance(0.5)
        assert bench.served == []
        await bench.clock.advance(1)
    assert len(bench.served) == 1


async def test_a_cancelled_waiter_takes_nothing_and_lets_the_next_one_through() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(bench.call("first", READ))
        group.create_task(bench.call("second", READ))
        await bench.clock.advance(0.5)
        first.cancel()
        await bench.clock.advance(1)
    assert bench.served == [("second", 1)]
    assert bench.clock.sleepers == 0


async def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_its_tokens_back() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(bench.call("first", READ))
        second = group.create_task(bench.call("second", READ))
        await bench.clock.advance(0.5)
        bench.limiter._levels[Bucket.ECS_READ].tokens = 1
        bench.limiter._pump()  # granted; its task has not run yet
        first.cancel()
        await bench.clock.settle()
        assert first.cancelled()
        assert second.done()
    assert bench.served == [("second", 0.5)]


async def test_a_grant_passes_over_a_waiter_that_was_cancelled_and_does_not_know_it_yet() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(bench.call("first", READ))
        group.create_task(bench.call("second", READ))
        await bench.clock.advance(0.5)
        bench.limiter._levels[Bucket.ECS_READ].tokens = 1
        first.cancel()
        bench.limiter._pump()  # before the cancelled task has run
        await bench.clock.settle()
        assert bench.served == [("second", 0.5)]
    assert bench.limiter.level(Bucket.ECS_READ) == 0


async def test_nobody_waiting_means_no_timer_is_left() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(bench.call("only", READ))
        await bench.clock.settle()
        assert bench.limiter.waiting == 1
        waiter.cancel()
        await bench.clock.settle()
    assert bench.limiter.waiting == 0
    assert bench.clock.sleepers == 0


async def test_too_many_waiters_are_refused_with_an_error_that_says_so() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ), max_waiters=2)
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(bench.call(name, READ))
        await bench.clock.settle()
        with pytest.raises(Transient, match="2 calls wait for the API budget") as refusal:
            await bench.limiter.acquire(READ)
        assert refusal.value.throttled
        await bench.clock.advance(3)
    assert len(bench.served) == 2


async def test_no_buckets_means_no_waiting() -> None:
    assert await Bench().limiter.acquire([]) == 0


async def test_a_bucket_without_a_limit_is_a_mistake() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    with pytest.raises(ValueError, match="run_task"):
        await bench.limiter.acquire([Bucket.RUN_TASK])


@pytest.mark.parametrize("arguments", [{"share": 0}, {"share": 1.1}, {"scale": 0}], ids=str)
def test_a_budget_that_cannot_be_meant_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="API budget"):
        Limiter(VirtualClock(), **arguments)  # type: ignore[arg-type]  # a table of keyword arguments


async def test_another_share_of_the_account_counts_from_now_on() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ, burst=10))
    bench.limiter.resize(share=0.5, scale=1)
    assert bench.limiter.level(Bucket.ECS_READ) == pytest.approx(5)
    assert bench.limiter.rate(Bucket.ECS_READ) == pytest.approx(0.5)
    bench.limiter.resize(share=1, scale=2)
    assert bench.limiter.level(Bucket.ECS_READ) == pytest.approx(5), "a larger bucket is not a full one"
    assert bench.limiter.rate(Bucket.ECS_READ) == pytest.approx(2)


async def test_another_share_does_not_forget_a_throttle() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ))
    bench.limiter.throttled(READ)
    bench.limiter.resize(share=0.5, scale=1)
    assert bench.limiter.level(Bucket.ECS_READ) == 0
    assert bench.limiter.rate(Bucket.ECS_READ) == pytest.approx(0.35)


async def test_a_waiting_call_goes_through_when_the_share_grows() -> None:
    bench = Bench(_one_a_second(Bucket.ECS_READ), share=0.01)
    await bench.empty(READ)
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.call("waiting", READ))
        await bench.clock.settle()
        bench.limiter.resize(share=1, scale=1)
        await bench.clock.advance(2)
    assert bench.served == [("waiting", 1.0)]


@pytest.mark.parametrize(("share", "scale"), [(0, 1), (1.5, 1), (1, 0)])
async def test_a_share_that_cannot_be_changes_nothing(share: float, scale: float) -> None:
    bench = Bench()
    before = bench.limiter.rate(Bucket.RUN_TASK)
    with pytest.raises(ValueError, match="API budget"):
        bench.limiter.resize(share=share, scale=scale)
    assert bench.limiter.rate(Bucket.RUN_TASK) == before
