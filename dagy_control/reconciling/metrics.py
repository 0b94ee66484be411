"""Reconciling's Prometheus objects and its summary."""

from collections import Counter as Counts
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dagy_control.reconciling.decide import End


@dataclass(slots=True)
class PassSummary:
    """One pass in figures: what the log line and the manual command show.

    `skipped_young`: running runs under the stale threshold, not looked at. `missing`: tasks that ECS did not show, young ones
    too. Not among the figures: `held`, why no lost run was ended ("" when nothing was held), `left_out`, how many due runs a
    bounded pass did not look at, and `ages_s`, how long ago the tasks had stopped whose runs it ended.
    """

    checked: int = 0
    updated: int = 0
    stopped: int = 0
    skipped_young: int = 0
    missing: int = 0
    errors: int = 0
    by_outcome: Counts[str] = field(default_factory=Counts)
    duration_seconds: float = 0.0
    held: str = ""
    left_out: int = 0
    ages_s: list[float] = field(default_factory=list)

    def count_ends(self, ends: Sequence[End], now: datetime) -> None:
        """Add ends that have been written by now, by their class or status."""
        self.updated += len(ends)
        self.by_outcome.update(str(end.outcome.failure_class or end.outcome.ending) for end in ends)
        stops = (end.task.stopped_at for end in ends if end.task is not None)
        self.ages_s += [max(0.0, (now - at).total_seconds()) for at in stops if at is not None]

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "checked": self.checked,
            "updated": self.updated,
            "stopped": self.stopped,
            "skipped_young": self.skipped_young,
            "missing": self.missing,
            "errors": self.errors,
            "by_outcome": dict(self.by_outcome),
            "duration_seconds": round(self.duration_seconds, 3),
        }


class ReconcilingMetrics:
    """Passes: how long, how far behind, checked runs and ends by outcome. `tell_lag` is told the lag after each, too."""

    def __init__(self, registry: CollectorRegistry, *, tell_lag: Callable[[float], None] | None = None) -> None:
        self._tell_lag = tell_lag
        self._checked = Counter("dagy_reconcile_checked", "Runs compared with ECS.", registry=registry)
        self._ended = Counter("dagy_reconcile_ended", "Attempts ended, by outcome.", ["outcome"], registry=registry)
        self._stopped = Counter("dagy_reconcile_stopped", "Tasks stopped.", registry=registry)
        self._errors = Counter("dagy_reconcile_errors", "Runs that could not be reconciled.", registry=registry)
        self._missing = Gauge(
            "dagy_reconcile_missing", "Tasks that ECS did not show in the last pass.", registry=registry
        )
        self._held = Gauge(
            "dagy_reconcile_held",
            "1 while a pass ends no lost run, because too many are lost to be true.",
            registry=registry,
        )

        self._duration = Histogram(
            "dagy_reconcile_pass_duration_seconds",
            "How long a pass took.",
            registry=registry,
            buckets=(0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
        )
        self._end_age = Histogram(
            "dagy_reconcile_end_age_seconds",
            "From a task's stop, as ECS dates it, to the end of its attempt on the record, by a pass.",
            registry=registry,
            buckets=(1, 5, 15, 30, 60, 120, 300, 330, 360, 420, 600, 1800, 3600),
        )
        self._lag = Gauge(
            "dagy_reconcile_lag_seconds",
            "At the end of the last pass: seconds since the pass (or rotation) began that last looked at every due run.",
            registry=registry,
        )

    def record(self, summary: PassSummary, *, held: bool, lag_s: float) -> None:
        """One pass, a failed one too."""
        self._duration.observe(summary.duration_seconds)
        self._lag.set(lag_s)
        if self._tell_lag is not None:
            self._tell_lag(lag_s)
        self._checked.inc(summary.checked)
        self._stopped.inc(summary.stopped)
        self._errors.inc(summary.errors)
        self._missing.set(summary.missing)
        self._held.set(held)
        for outcome, count in summary.by_outcome.items():
            self._ended.labels(outcome).inc(count)
        for age_s in summary.ages_s:
            self._end_age.observe(age_s)
