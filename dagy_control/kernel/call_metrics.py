"""Calls to AWS, counted and timed. Every call pays for this, so it adds plain numbers; Prometheus' form is made when somebody asks.

The library's own objects take a lock and a dozen function calls for an observation: 1 % of a reconciling pass.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

UP_TO_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The histogram's upper bounds, in seconds, each its bucket's own."""

_LE = (*map(str, UP_TO_S), "+Inf")


@dataclass(slots=True)
class _Durations:
    """Of one kind of call. `counts`: calls by bucket, each in one only."""

    counts: list[int] = field(default_factory=lambda: [0] * len(_LE))
    sum_s: float = 0.0


class ApiCallMetrics(Collector):
    """Calls to AWS as they were made, each try counted. Label `outcome` is what the caller names it (ok, throttled, …).

    Told by one thread; any may ask.
    """

    THROTTLED = "throttled"

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._durations: defaultdict[tuple[str, str], _Durations] = defaultdict(_Durations)
        registry.register(self)

    def record(self, *, service: str, operation: str, outcome: str, duration_s: float) -> None:
        """Count one call that ended; `outcome` THROTTLED counts as a throttle of the operation as well."""
        self._calls[service, operation, outcome] += 1
        durations = self._durations[service, operation]
        durations.counts[bisect_left(UP_TO_S, duration_s)] += 1
        durations.sum_s += duration_s

    @override
    def collect(self) -> Iterator[Metric]:
        """For the registry: everything so far."""
        calls = CounterMetricFamily(
            "dagy_aws_calls_total", "Calls to AWS, by outcome.", labels=["service", "operation", "outcome"]
        )
        throttles = CounterMetricFamily("dagy_aws_throttles_total", "Calls that AWS throttled.", labels=["operation"])
        durations = HistogramMetricFamily(
            "dagy_aws_call_duration_seconds", "How long a call to AWS took.", labels=["service", "operation"]
        )
        throttled: Counter[str] = Counter()
        told = dict(self._calls)
        for of in list(self._durations):  # what is called can be throttled: of a late series no increase is seen
            told.setdefault((*of, self.THROTTLED), 0)
        for kind, count in told.items():
            calls.add_metric(kind, count)
            _, operation, outcome = kind
            if outcome == self.THROTTLED:
                throttled[operation] += count
        for operation, count in throttled.items():
            throttles.add_metric([operation], count)
        for of, each in list(self._durations.items()):
            durations.add_metric(of, list(zip(_LE, accumulate(each.counts), strict=True)), each.sum_s)
        yield from (calls, durations, throttles)
