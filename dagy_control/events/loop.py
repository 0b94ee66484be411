"""The event consumer's loops: receive, decide, apply, record; at once again while there are events; and the dead letters' count."""

from dagy_control.errors import Permanent, Transient
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
        """One receive.

        Raises `Transient` when the queue cannot be read, also when it is absent or denied: the ticker backs off to a minute, and
        comes back by itself when somebody has mended it. Polling goes on meanwhile.
        """
        try:
            events = await self._effects.load(self.policy, tick.drain)
        except (Permanent, Transient) as error:
            self._metrics.queue_available(available=False)
            if isinstance(error, Transient):
                raise
            raise Transient(f"the event queue cannot be read, runs end by polling only: {error}") from error
        self._metrics.queue_available(available=True)
        self._metrics.record(await self._effects.apply(events, self.policy))
        return NEXT_RECEIVE_S


class DeadLetterLoop:
    """Counts the dead letters, once a period. Every replica does: it is one call a minute."""

    name = "dead-letters"

    def __init__(self, policy: EventPolicy, effects: EventEffects, metrics: EventMetrics) -> None:
        self.policy = policy
        self._effects = effects
        self._metrics = metrics

    async def tick(self, _tick: Tick) -> float | None:
        """One count."""
        count = await self._effects.count_dead_letters()
        if count is not None:
            self._metrics.dead_letters(count)
        return None
