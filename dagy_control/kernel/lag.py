"""How late the event loop is: the time that one task keeps all others waiting."""

from collections import deque

from prometheus_client import CollectorRegistry, Gauge

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain

SAMPLE_S = 0.5
WINDOW_S = 60.0  # the gauge keeps the worst of so long, or a stall between two scrapes would never be seen
UNRESPONSIVE_S = 10.0


class LoopLag:
    """A service (`Supervisor.add("loop-lag", lag.run)`) that samples the event loop, and a check for `Health.register_alive`."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._worst: deque[float] = deque([0.0], maxlen=int(WINDOW_S / SAMPLE_S))
        self._sampled_at: float | None = None
        gauge = Gauge(
            "dagy_event_loop_lag_seconds",
            "The longest that the event loop was late in the last minute.",
            registry=registry,
        )
        gauge.set_function(lambda: max(self._worst))

    async def run(self, drain: Drain) -> None:
        """Sample until the drain begins."""
        self._sampled_at = self._clock.monotonic()
        while not drain.begun:
            before = self._sampled_at
            await drain.interrupt(self._clock.sleep(SAMPLE_S))
            self._sampled_at = self._clock.monotonic()
            self._worst.append(max(0.0, self._sampled_at - before - SAMPLE_S))

    def alive(self) -> str | None:
        """None while the event loop answers; else since when it has not."""
        if self._sampled_at is None:
            return None
        silent_s = self._clock.monotonic() - self._sampled_at
        return f"the event loop has not answered for {silent_s:.0f} s" if silent_s > UNRESPONSIVE_S else None
