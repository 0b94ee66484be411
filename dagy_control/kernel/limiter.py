"""The account's API budget: token buckets as AWS counts them, adapted to its throttles, handed out by priority.

One bucket per documented AWS bucket, not per client; a call takes from several at once. All waiting is on the clock handed
in, so the same calls at the same times always give the same grants.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

from dagy_control.errors import Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import start_task

USED_BURST = 0.90  # we start below the documented limits: other callers, clocks and networks are not exact
USED_RATE = 0.95
THROTTLE_FACTOR = 0.7  # a throttle leaves this much of the rate …
THROTTLE_EPISODE_S = 1.0  # … once in this time: calls under way together are throttled together, for the one reason
RECOVERY_PER_S2 = 0.5  # calls per second that the rate gains every second, for a limiter with the whole share
RATE_FLOOR = 0.05  # of the full rate: however often we are throttled, we go on asking
PROMOTE_AFTER_S = 30.0  # a waiter rises by one priority each time it has waited so long, so that none waits for ever
NEGLIGIBLE = 1e-6  # tokens; so that rounding never makes a waiter sleep again for less than the clock can tell


class Bucket(StrEnum):
    """What AWS counts together, per account and region."""

    ECS_MODIFY = "ecs_modify"
    ECS_READ = "ecs_read"
    RUN_TASK = "run_task"
    LAUNCH_ON_DEMAND = "launch_on_demand"
    LAUNCH_SPOT = "launch_spot"


@dataclass(frozen=True, slots=True)
class BucketLimit:
    """A token bucket: `burst` calls at once from a full bucket, refilled by `rate_per_s`."""

    burst: float
    rate_per_s: float


AWS_BUCKETS: Mapping[Bucket, BucketLimit] = MappingProxyType(
    {
        Bucket.ECS_MODIFY: BucketLimit(burst=100, rate_per_s=40),
        Bucket.ECS_READ: BucketLimit(burst=100, rate_per_s=20),
        Bucket.RUN_TASK: BucketLimit(burst=20, rate_per_s=20),
        Bucket.LAUNCH_ON_DEMAND: BucketLimit(burst=100, rate_per_s=20),
        Bucket.LAUNCH_SPOT: BucketLimit(burst=100, rate_per_s=20),
    }
)
"""The default limits of an account and region.

Sources: ECS API Reference, "Request throttling" (RunTask and StopTask share ECS_MODIFY, 100/40; DescribeTasks and ListTasks
share ECS_READ, 100/20), and AWS Fargate service quotas, "Fargate throttling quotas" (RunTask 20 a second, no burst stated: we
assume one second's worth; task launches 100, then 20 a second, counted apart for on-demand and Spot).
"""


class Priority(IntEnum):
    """Who goes first when the budget is short; lower goes first."""

    LAUNCH = 0
    RECONCILE = 1
    ORPHANS = 2


class Limiter:
    """Tokens for calls: atomically from several buckets, by priority and then in order of arrival.

    `share` is this process's part of the account: all of it where leases let one replica work at a time, else 1 / replicas.
    `scale` multiplies all limits, for an account with raised quotas. Whoever waits first has one token of each of its buckets
    reserved, so that a later one takes only what the earlier cannot use anyway. At most `max_waiters` wait at a time. For one
    event loop; not thread-safe.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Mapping[Bucket, BucketLimit] = AWS_BUCKETS,
        *,
        share: float = 1.0,
        scale: float = 1.0,
        max_waiters: int = 10_000,
    ) -> None:
        self._clock = clock
        self._limits = limits
        part = _part(share, scale)
        self._levels = {bucket: _Level(limit, part, clock.monotonic()) for bucket, limit in limits.items()}
        self._max_waiters = max_waiters
        self._queues: dict[tuple[tuple[Bucket, ...], Priority], OrderedDict[int, _Waiter]] = {}
        self._sequence = 0
        self._timer: asyncio.Task[None] | None = None
        self._timer_due = math.inf

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets that this limiter keeps."""
        return tuple(self._levels)

    @property
    def waiting(self) -> int:
        """How many calls wait for tokens."""
        return sum(map(len, self._queues.values()))

    def level(self, bucket: Bucket) -> float:
        """Tokens in the bucket now."""
        return self._refreshed(bucket).tokens

    def rate(self, bucket: Bucket) -> float:
        """Tokens per second that the bucket is refilled by now."""
        return self._refreshed(bucket).rate_per_s

    async def acquire(self, buckets: Sequence[Bucket], priority: Priority = Priority.RECONCILE) -> float:
        """Wait for one token of each bucket, take them all at once, and give the seconds waited.

        A cancelled waiter takes nothing. Raises `Transient` (throttled: nothing was applied) when too many wait already.
        """
        if self.waiting >= self._max_waiters:
            raise Transient(f"{self._max_waiters} calls wait for the API budget already; try later", throttled=True)
        self._sequence += 1
        waiter = _Waiter(
            buckets=self._known(buckets),
            priority=priority,
            sequence=self._sequence,
            since=self._clock.monotonic(),
            granted=asyncio.get_running_loop().create_future(),
        )
        self._queues.setdefault(waiter.queue, OrderedDict())[waiter.sequence] = waiter
        self._pump()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        return self._clock.monotonic() - waiter.since

    def throttled(self, buckets: Sequence[Bucket]) -> None:
        """AWS throttled a call that had taken from these buckets: empty them and slow them down.

        The rate falls to 70 %, at most once a second, never under 5 % of its full value, and recovers by itself.
        """
        for bucket in self._known(buckets):
            self._refreshed(bucket).throttle(self._clock.monotonic())

    def resize(self, *, share: float, scale: float) -> None:
        """Keep to another part of the account from now on. Tokens in hand stay, as far as the bucket holds them; so does a throttle."""
        part = _part(share, scale)
        for bucket, limit in self._limits.items():
            before = self._refreshed(bucket)
            level = self._levels[bucket] = _Level(limit, part, self._clock.monotonic())
            level.tokens = min(level.capacity, before.tokens)
            level.rate_per_s = level.full_rate_per_s * before.rate_per_s / before.full_rate_per_s
        self._pump()

    def empty(self) -> None:
        """Give up what all buckets have saved: another process has used the account until now, and may have spent it.

        Two limiters, of which the second begins like this when the first has ended, never take more together than one.
        """
        for bucket in self._levels:
            self._refreshed(bucket).tokens = 0.0

    def _known(self, buckets: Sequence[Bucket]) -> tuple[Bucket, ...]:
        if unknown := set(buckets) - set(self._levels):
            raise ValueError(f"no limit is configured for {sorted(unknown)}")
        return tuple(sorted(set(buckets)))

    def _refreshed(self, bucket: Bucket) -> "_Level":
        level = self._levels[bucket]
        level.refresh(self._clock.monotonic())
        return level

    def _withdraw(self, waiter: "_Waiter") -> None:
        if waiter.granted.cancelled():
            self._leave(waiter)
        else:  # granted in the same moment: the tokens go back
            for bucket in waiter.buckets:
                self._refreshed(bucket).give_back()
        self._pump()

    def _leave(self, waiter: "_Waiter") -> "_Waiter | None":
        """Take the waiter out of its queue; gives the next one there."""
        queue = self._queues.get(waiter.queue, OrderedDict())
        queue.pop(waiter.sequence, None)
        if not queue:
            self._queues.pop(waiter.queue, None)
        return next(iter(queue.values()), None)

    def _pump(self) -> None:
        """Grant what can be granted, and wake again when the next grant is due. The timer lives only while somebody waits."""
        wait_s = self._serve()
        due = self._clock.monotonic() + wait_s
        if self._timer is not None and (due < self._timer_due or wait_s == math.inf):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and wait_s < math.inf:
            self._timer_due = due
            self._timer = start_task(self._pump_after(wait_s), name="limiter")

    async def _pump_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timer = None
        self._pump()

    def _serve(self) -> float:
        """Grant in order; gives the seconds until the next grant can be made, infinity when nobody waits."""
        now = self._clock.monotonic()
        for level in self._levels.values():
            level.refresh(now)
        heads = [next(iter(queue.values())) for queue in self._queues.values()]
        reserved: Counter[Bucket] = Counter()
        next_s = math.inf
        while heads:
            waiter = min(heads, key=lambda head: head.rank(now))
            heads.remove(waiter)
            wait_s = max((self._levels[b].seconds_until(1 + reserved[b]) for b in waiter.buckets), default=0.0)
            if wait_s > 0:
                reserved.update(waiter.buckets)
                next_s = min(next_s, wait_s)
                continue
            if not waiter.granted.cancelled():
                waiter.granted.set_result(None)
                for bucket in waiter.buckets:
                    self._levels[bucket].tokens -= 1
            if (successor := self._leave(waiter)) is not None:
                heads.append(successor)
        return next_s


def _part(share: float, scale: float) -> float:
    if not 0 < share <= 1:
        raise ValueError(f"the share of the API budget must be more than 0 and at most 1, not {share:g}")
    if scale <= 0:
        raise ValueError(f"the scale of the API budget must be more than 0, not {scale:g}")
    return share * scale


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    buckets: tuple[Bucket, ...]
    priority: Priority
    sequence: int
    since: float
    granted: asyncio.Future[None]

    @property
    def queue(self) -> tuple[tuple[Bucket, ...], Priority]:
        return self.buckets, self.priority

    def rank(self, now: float) -> tuple[int, int]:
        promoted = int((now - self.since) / PROMOTE_AFTER_S)
        return max(0, self.priority - promoted), self.sequence


class _Level:
    """One bucket's tokens and rate at a moment; the rate climbs back in a straight line after a throttle."""

    def __init__(self, limit: BucketLimit, part: float, now: float) -> None:
        self.capacity = max(1.0, limit.burst * USED_BURST * part)  # less than one token would never let a call through
        self.full_rate_per_s = limit.rate_per_s * USED_RATE * part
        self.recovery_per_s2 = RECOVERY_PER_S2 * part
        self.tokens = self.capacity
        self.rate_per_s = self.full_rate_per_s
        self._at = now
        self._slowed_at = -math.inf

    def refresh(self, now: float) -> None:
        elapsed_s = now - self._at
        climbing_s = min(elapsed_s, self._climb_s())
        self.tokens = min(
            self.capacity, self.tokens + self._gain(climbing_s) + (elapsed_s - climbing_s) * self.full_rate_per_s
        )
        self.rate_per_s = min(self.full_rate_per_s, self.rate_per_s + climbing_s * self.recovery_per_s2)
        self._at = now

    def seconds_until(self, tokens: float) -> float:
        """Seconds until so many tokens are there if nobody takes any; infinity when the bucket never holds so many."""
        missing = tokens - self.tokens
        if missing <= NEGLIGIBLE:
            return 0.0
        if tokens > self.capacity + NEGLIGIBLE:
            return math.inf
        climb_s = self._climb_s()
        if missing >= self._gain(climb_s):
            return climb_s + (missing - self._gain(climb_s)) / self.full_rate_per_s
        root = math.sqrt(self.rate_per_s**2 + 2 * self.recovery_per_s2 * missing)
        return (root - self.rate_per_s) / self.recovery_per_s2

    def throttle(self, now: float) -> None:
        self.tokens = 0.0
        if now - self._slowed_at >= THROTTLE_EPISODE_S:
            self.rate_per_s = max(self.full_rate_per_s * RATE_FLOOR, self.rate_per_s * THROTTLE_FACTOR)
            self._slowed_at = now

    def give_back(self) -> None:
        self.tokens = min(self.capacity, self.tokens + 1)

    def _climb_s(self) -> float:
        return (self.full_rate_per_s - self.rate_per_s) / self.recovery_per_s2

    def _gain(self, climbing_s: float) -> float:
        return self.rate_per_s * climbing_s + self.recovery_per_s2 * climbing_s**2 / 2
