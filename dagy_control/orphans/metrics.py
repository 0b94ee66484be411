"""The scanner's Prometheus objects."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from dagy_control.orphans.decide import ScanPlan

PART = "OrphanScanning"
FIGURES = ("RunningTasksScanned", "OrphanTasksFound", "OrphanTasksStopped")
"""The documented suffix of the namespace in CloudWatch, and the metrics in it; their one dimension is Environment."""


class OrphanMetrics:
    """What the last scan saw, and how many tasks were stopped in all.

    `tell` is given the scanner's documented figures of each scan, for CloudWatch; None: they are not wanted there.
    """

    def __init__(self, registry: CollectorRegistry, tell: Callable[[Mapping[str, float]], None] | None = None) -> None:
        self._tell = tell
        self._running = Gauge("dagy_orphans_running_tasks", "Tasks that the last scan saw running.", registry=registry)
        self._verdicts = Gauge(
            "dagy_orphans_tasks", "Tasks of the last scan, by verdict.", ["verdict"], registry=registry
        )
        self._stopped = Counter("dagy_orphans_stopped", "Orphans stopped.", registry=registry)
        self._refused = Gauge(
            "dagy_orphans_refused",
            "1 while a scan stops nothing because it found more than its cap.",
            registry=registry,
        )

        self._stop_failures = Counter("dagy_orphans_stop_failures", "Orphans whose stop failed.", registry=registry)
        self._incomplete = Gauge(
            "dagy_orphans_incomplete", "1 while a scan does not see or judge all tasks.", registry=registry
        )
        self._alerts = Counter(
            "dagy_orphans_alerts", "Alerts handed to the topic, by outcome.", ["outcome"], registry=registry
        )
        self._without_task = Gauge(
            "dagy_orphans_runs_without_task",
            "Running runs whose task the last scan did not see; they are handed to reconciling.",
            registry=registry,
        )

    def record(self, plan: ScanPlan, *, stopped: int, failed: int) -> None:
        """One scan."""
        self._running.set(plan.total_running)
        self._verdicts.clear()
        for verdict, count in plan.verdicts.items():
            self._verdicts.labels(verdict).set(count)
        self._stopped.inc(stopped)
        self._stop_failures.inc(failed)
        self._refused.set(bool(plan.refusal))
        self._incomplete.set(bool(plan.cut or plan.unread))
        if self._tell is not None:
            figures = (plan.total_running, len(plan.orphans), stopped)
            self._tell(dict(zip(FIGURES, figures, strict=True)))

    def handed_over(self, runs: int) -> None:
        """So many runs had no task."""
        self._without_task.set(runs)

    def alerted(self, *, sent: bool) -> None:
        """One alert, sent or not."""
        self._alerts.labels("sent" if sent else "failed").inc()
