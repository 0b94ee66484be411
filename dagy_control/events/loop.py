"""The event consumer's loop: receive, decide, apply, record; at once again while there are events."""

from dagy_control.events.decide import EventPolicy
from dagy_control.events.effects import EventEffects
from dagy_control.events.metrics import EventMetrics
from dagy_control.kernel.ticker import Tick

NEXT_RECEIVE_S = 0.01
"""A long poll waits by itself; this only lets the other loops in."""


class EventLoop:
    """Ends attempts the moment their task has stopped.

    It needs no lease: SQS divides the messages among the replicas, hiding each from the others while one works on it.
    """

    def __init__(self, name: str, policy: EventPolicy, effects: EventEffects, metrics: EventMetrics) -> None:
        self.name = name
        self.policy = policy
        self._effects = effects
        self._metrics = metrics

    async def tick(self, tick: Tick) -> float | None:
        """One receive."""
        events = await self._effects.load(self.policy, tick.drain)
        self._metrics.record(await self._effects.apply(events, self.policy))
        return NEXT_RECEIVE_S
