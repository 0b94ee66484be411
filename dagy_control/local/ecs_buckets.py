"""The request buckets of the ECS API, per account and region.

Source: Amazon ECS API reference, "Request throttling", and the Fargate quotas. Burst and refill a second: RunTask +
StopTask 100/40; DescribeTasks + ListTasks (cluster-resource reads) 100/20; Register- and DeregisterTaskDefinition
20/1; TagResource 20/10; Fargate RunTask calls 20/20; task launches 100/20, counted apart for on-demand and Spot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dagy_control.local.ecs_state import Capacity


@dataclass(slots=True)
class Bucket:
    """A token bucket: `burst` tokens at most, `per_s` more each second. Starts full."""

    burst: float
    per_s: float
    tokens: float
    at: datetime | None = None

    @classmethod
    def full(cls, burst: float, per_s: float) -> "Bucket":
        """A bucket that nobody has drawn from yet."""
        return cls(burst=burst, per_s=per_s, tokens=burst)

    def refill(self, now: datetime) -> None:
        """Add what has accrued since the last look. A clock that steps back adds nothing."""
        if self.at is not None:
            self.tokens = min(self.burst, self.tokens + self.per_s * max(0.0, (now - self.at).total_seconds()))
        self.at = now


_API_LIMITS: dict[str, tuple[float, float]] = {
    "start_stop": (100, 40),
    "read_tasks": (100, 20),
    "task_definitions": (20, 1),
    "tags": (20, 10),
    "fargate_run_task": (20, 20),
}
_OPERATION_BUCKETS: dict[str, tuple[str, ...]] = {
    "RunTask": ("fargate_run_task", "start_stop"),
    "StopTask": ("start_stop",),
    "DescribeTasks": ("read_tasks",),
    "ListTasks": ("read_tasks",),
    "RegisterTaskDefinition": ("task_definitions",),
    "DeregisterTaskDefinition": ("task_definitions",),
    "TagResource": ("tags",),
}


class Buckets:
    """Every bucket of one account. `scale` multiplies burst and refill: 1 is AWS, 10 keeps a laptop's demo brisk."""

    def __init__(self, scale: float = 1.0) -> None:
        self._api = {name: Bucket.full(burst * scale, per_s * scale) for name, (burst, per_s) in _API_LIMITS.items()}
        self._launches = {capacity: Bucket.full(100 * scale, 20 * scale) for capacity in Capacity}

    def take_call(self, operation: str, now: datetime) -> bool:
        """Whether one call of `operation` is admitted. A refused call draws nothing from any bucket."""
        buckets = [self._api[name] for name in _OPERATION_BUCKETS.get(operation, ())]
        for bucket in buckets:
            bucket.refill(now)
        if any(bucket.tokens < 1 for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.tokens -= 1
        return True

    def take_launches(self, counts: Mapping[Capacity, int], now: datetime) -> bool:
        """Whether all these launches are admitted; on-demand and Spot are counted apart. A refusal draws nothing."""
        for capacity, bucket in self._launches.items():
            bucket.refill(now)
            if bucket.tokens < counts.get(capacity, 0):
                return False
        for capacity, bucket in self._launches.items():
            bucket.tokens -= counts.get(capacity, 0)
        return True
