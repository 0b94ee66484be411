"""The account's API budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

from dagy_control.kernel.clock import Clock


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


class Priority(IntEnum):
    """Who goes first when the budget is short; lower goes first."""

    LAUNCH = 0
    EVENT = 0  # noqa: PIE796 - the same urgency under the name that its caller knows
    RECONCILE = 1
    ORPHANS = 2


class Limiter:
    """The budget."""

    def __init__(
        self,
        clock: Clock,
        limits: Mapping[Bucket, BucketLimit] = AWS_BUCKETS,
        *,
        share: float = 1.0,
        scale: float = 1.0,
        max_waiters: int = 10_000,
    ) -> None: ...

    async def acquire(self, buckets: Sequence[Bucket], priority: Priority = Priority.RECONCILE) -> float:
        """Take one token of each bucket, all at once; gives the seconds waited."""
        raise NotImplementedError

    def throttled(self, buckets: Sequence[Bucket]) -> None:
        """AWS throttled a call that had taken from these buckets."""
        raise NotImplementedError

    def level(self, bucket: Bucket) -> float:
        """Tokens in the bucket now."""
        raise NotImplementedError

    def rate(self, bucket: Bucket) -> float:
        """Tokens per second that the bucket is refilled by now."""
        raise NotImplementedError
