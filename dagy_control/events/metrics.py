"""The event consumer's Prometheus objects."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dagy_control.events.decide import Act, Handled, Reading

RESULTS = (*Act, *(each for each in Reading if each is not Reading.JUDGE), "error")
"""The values of the label `result`."""


class EventMetrics:
    """Messages by what became of them, how fast, and the state of the queues."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "dagy_events", "Task state-change events, by what became of them.", ["result"], registry=registry
        )
        self._age = Histogram(
            "dagy_event_age_seconds",
            "From a task's stop, as ECS dates it, to the end of its attempt on the record, by an event.",
            registry=registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
        )
        self._available = Gauge(
            "dagy_events_queue_available",
            "1 if the event queue could be read at the last try, 0 if runs end by polling only.",
            registry=registry,
        )
        self._dead = Gauge(
            "dagy_events_dead_letters", "Messages in the dead-letter queue, at the last count.", registry=registry
        )
        for result in RESULTS:
            self._events.labels(result)

    def record(self, handled: Sequence[Handled]) -> None:
        """One batch."""
        for each in handled:
            self._events.labels(each.result).inc()
            if each.age_s is not None:
                self._age.observe(each.age_s)

    def queue_available(self, *, available: bool) -> None:
        """Whether the queue could be read."""
        self._available.set(available)

    def dead_letters(self, count: int) -> None:
        """How many there are."""
        self._dead.set(count)
