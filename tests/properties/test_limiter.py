"""The laws of the API budget, for any mixture of calls, priorities, throttles and cancellations."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from dagy_control.kernel.limiter import Bucket, BucketLimit, Limiter, Priority
from tests.fakes.clock import VirtualClock

LIMITS = {
    Bucket.ECS_MODIFY: BucketLimit(burst=6, rate_per_s=4),
    Bucket.ECS_READ: BucketLimit(burst=5, rate_per_s=2),
    Bucket.RUN_TASK: BucketLimit(burst=2, rate_per_s=2),
}
CALLS = (
    (Bucket.ECS_READ,),
    (Bucket.ECS_MODIFY,),
    (Bucket.ECS_MODIFY, Bucket.RUN_TASK),
)


@dataclass(frozen=True)
class Step:
    """After `after_s`: make `count` calls, or throttle, or cancel the call with this index if it still waits."""

    after_s: float
    buckets: tuple[Bucket, ...]
    priority: Priority
    count: int
    throttle: bool
    cancel: int | None


STEPS = st.lists(
    st.builds(
        Step,
        after_s=st.sampled_from([0, 0.1, 0.7, 3, 20]),
        buckets=st.sampled_from(CALLS),
        priority=st.sampled_from(list(Priority)),
        count=st.integers(0, 8),
        throttle=st.sampled_from([False, False, False, True]),
        cancel=st.none() | st.integers(0, 30),
    ),
    max_size=12,
)


@dataclass
class Call:
    """One call: its place in line, and when it got through."""

    number: int
    buckets: tuple[Bucket, ...]
    priority: Priority
    since: float
    task: asyncio.Task[None] | None = None
    granted_at: float | None = None
    order: int = 0


@dataclass
class World:
    """Plays the steps and keeps every call."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    calls: list[Call] = field(default_factory=list)
    grants: int = 0

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.clock, LIMITS)

    async def make(self, call: Call) -> None:
        await self.limiter.acquire(call.buckets, call.priority)
        self.grants += 1
        call.granted_at, call.order = self.clock.monotonic(), self.grants

    async def play(self, steps: list[Step], *, throttles: bool = True) -> None:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                await self.clock.advance(step.after_s)
                for _ in range(step.count):
                    call = Call(len(self.calls), step.buckets, step.priority, self.clock.monotonic())
                    call.task = group.create_task(self.make(call))
                    self.calls.append(call)
                if step.throttle and throttles:
                    self.limiter.throttled(step.buckets)
                if step.cancel is not None and step.cancel < len(self.calls):
                    task = self.calls[step.cancel].task
                    assert task is not None
                    task.cancel()  # perhaps before it began to wait, while it waits, or when it is over
            await self.clock.advance(600)

    def played(self, steps: list[Step], *, throttles: bool = True) -> "World":
        asyncio.run(self.play(steps, throttles=throttles))
        return self


def _is_cancelled(call: Call) -> bool:
    return call.task is not None and call.task.cancelled()


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_never_more_calls_in_any_window_than_the_bucket_allows(steps: list[Step]) -> None:
    world = World().played(steps)
    for bucket, limit in LIMITS.items():
        times = sorted(
            call.granted_at for call in world.calls if call.granted_at is not None and bucket in call.buckets
        )
        for first, start in enumerate(times):
            for count, end in enumerate(times[first:], start=1):
                assert count <= max(1, 0.9 * limit.burst) + 0.95 * limit.rate_per_s * (end - start) + 1e-3


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_every_call_gets_through_or_was_cancelled_and_nothing_is_left(steps: list[Step]) -> None:
    world = World().played(steps)
    assert all((call.granted_at is None) == _is_cancelled(call) for call in world.calls)
    assert world.limiter.waiting == 0
    assert world.clock.sleepers == 0


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_cancellations_lose_no_tokens(steps: list[Step]) -> None:
    world = World().played(steps)
    for bucket, limit in LIMITS.items():
        assert world.limiter.level(bucket) == max(1, 0.9 * limit.burst)
        assert world.limiter.rate(bucket) == 0.95 * limit.rate_per_s


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_among_calls_for_the_same_buckets_the_more_urgent_and_then_the_earlier_goes_first(steps: list[Step]) -> None:
    world = World().played(steps)
    done = [call for call in world.calls if call.granted_at is not None]
    for earlier in done:
        for later in done:
            waited_together = earlier.buckets == later.buckets and earlier.number < later.number
            if waited_together and earlier.priority <= later.priority:
                assert earlier.order < later.order


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_a_more_urgent_call_passes_those_that_wait_unless_they_have_waited_long(steps: list[Step]) -> None:
    world = World().played(steps)
    done = [call for call in world.calls if call.granted_at is not None]
    for urgent in done:
        for other in done:
            assert urgent.granted_at is not None
            assert other.granted_at is not None
            still_waiting = (
                other.number < urgent.number and other.granted_at > urgent.since and other.buckets == urgent.buckets
            )
            if still_waiting and urgent.priority < other.priority and other.granted_at - other.since < 30:
                assert urgent.order < other.order


@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_the_same_calls_at_the_same_times_get_the_same_grants(steps: list[Step]) -> None:
    first, second = World().played(steps), World().played(steps)
    assert [call.granted_at for call in first.calls] == [call.granted_at for call in second.calls]
