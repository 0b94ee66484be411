"""The event consumer's Prometheus objects."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter


class EventMetrics:
    """Messages by what became of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "dagy_events", "Task state-change events, by what became of them.", ["result"], registry=registry
        )

    def record(self, words: Sequence[str]) -> None:
        """One batch."""
        for word in words:
            self._events.labels(word).inc()
