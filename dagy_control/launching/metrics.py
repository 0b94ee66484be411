"""Launching's Prometheus objects."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from dagy_control.launching.breaker import CAUSES, Breaker
from dagy_control.launching.decide import LaunchPlan

RESULTS = (
    "launched",
    "surplus",
    "stale",
    "lost_claim",
    "waiting",
    "unresolved",
    "not_found",
    "throttled",
    "held",
    "retryable",
    "permanent",
    "error",
)
"""The values of the label `result`."""


class LaunchingMetrics:
    """Counts of launches by result, and why queued runs wait."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._launches = Counter("dagy_launches", "Launches by what became of them.", ["result"], registry=registry)
        self._held = Gauge(
            "dagy_queue_held", "Runs that this tick did not take up, by reason.", ["reason"], registry=registry
        )
        self._active = Gauge(
            "dagy_active_runs", "LAUNCHING and RUNNING runs, as admission counts them.", registry=registry
        )
        self._breaker = Gauge(
            "dagy_launch_breaker_open",
            "1 while no runs are claimed because ECS refuses them all for this cause.",
            ["cause"],
            registry=registry,
        )
        for result in RESULTS:
            self._launches.labels(result)
        for cause in CAUSES:
            self._breaker.labels(cause)

    def record(self, plan: LaunchPlan, active_runs: int, results: Sequence[str], breaker: Breaker) -> None:
        """One tick."""
        self._held.clear()
        for reason, count in plan.held.items():
            self._held.labels(reason).set(count)
        self._active.set(active_runs)
        for cause in CAUSES:
            self._breaker.labels(cause).set(breaker.is_open and breaker.cause is cause)
        for result in results:
            self._launches.labels(result).inc()
