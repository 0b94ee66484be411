"""The only loop."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dagy_control.kernel.drain import Drain


@dataclass(frozen=True, slots=True)
class Tick:
    """What a loop's tick is given: the time of its start and the wish to stop."""

    now: datetime
    drain: Drain

    @property
    def draining(self) -> bool:
        """True once nothing new may be started."""
        return self.drain.begun


class Loop(Protocol):
    """A capability, as its ticker sees it."""

    @property
    def name(self) -> str:
        """Unique in the process; a label of metrics and a key of jitter."""
        ...

    async def tick(self, tick: Tick) -> float | None:
        """One pass. Gives the seconds until the next one, None for the configured interval; raises one of `dagy_control.errors`."""
        ...


@dataclass(frozen=True, slots=True)
class TickPolicy:
    """When a loop ticks.

    `interval_s`: from the start of one tick to the start of the next. `jitter`: the fraction of it by which it varies.
    `backoff_min_s`, `backoff_max_s`: the waits after errors that may pass. `deadline_s`: a tick that takes longer counts as
    hung (health turns bad; the tick is not cancelled).
    """

    interval_s: float
    jitter: float = 0.1
    backoff_min_s: float = 1.0
    backoff_max_s: float = 60.0
    deadline_s: float = 600.0
