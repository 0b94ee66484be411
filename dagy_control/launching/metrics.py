"""Launching's Prometheus objects."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dagy_control.launching.breaker import CAUSES, Breaker
from dagy_control.launching.decide import LaunchPlan, LaunchPolicy
from dagy_control.launching.waits import Waits
from dagy_control.model.census import Census
from dagy_control.model.runs import ACTIVE, RunStatus

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

_BUCKETS = (0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600)
"""A launch in tens of milliseconds, a start on Fargate in half a minute or more, a long queue in hours."""


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
        self._runs = Gauge("dagy_runs", "Active runs by status, as last counted.", ["status"], registry=registry)
        self._org_runs = Gauge(
            "dagy_org_runs",
            "Active runs of organisations that the configuration names, as last counted.",
            ["org", "status"],
            registry=registry,
        )
        self._flow_runs = Gauge(
            "dagy_flow_runs",
            "Active runs of flows that the configuration names, as last counted.",
            ["org", "flow", "status"],
            registry=registry,
        )
        self._oldest = Gauge(
            "dagy_queue_oldest_wait_seconds",
            "How long the run that has waited longest could have been launched already.",
            registry=registry,
        )
        self._launched_after = Histogram(
            "dagy_queue_wait_seconds",
            "From when a run could be launched to the claim of its launch.",
            registry=registry,
            buckets=_BUCKETS,
        )
        self._claimed_after = Histogram(
            "dagy_launch_start_seconds",
            "From RunTask to the claim of the attempt by its worker.",
            registry=registry,
            buckets=_BUCKETS,
        )
        for status in ACTIVE:
            self._runs.labels(status)
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

    def record_named(self, policy: LaunchPolicy, counts: Mapping[RunStatus, Census]) -> None:
        """The runs of what is named now: a name that an edit has taken out is no series any more."""
        self._org_runs.clear()
        self._flow_runs.clear()
        for status, count in counts.items():
            for org in policy.labelled_orgs:
                self._org_runs.labels(org, status).set(count.by_org[org])
            for org, flow in policy.labelled_flows:
                self._flow_runs.labels(org, flow, status).set(count.by_flow[org, flow])

    def record_waits(self, waits: Waits, oldest_s: float) -> None:
        """One tick's look at the queue, and the waits that have ended since the last."""
        for status, count in waits.counts.items():
            self._runs.labels(status).set(count.total)
        self._oldest.set(oldest_s)
        launched_after, claimed_after = waits.take()
        for seconds in launched_after:
            self._launched_after.observe(seconds)
        for seconds in claimed_after:
            self._claimed_after.observe(seconds)
