"""What goes wrong, decided by the seed: for every port call its latencies and its fate; now and then a crash or a stall."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from dagy_control.model.hashing import hashed_fraction


class Fate(StrEnum):
    """What becomes of one port call."""

    GOOD = "good"
    THROTTLED = "throttled"
    ERROR_NOT_APPLIED = "error_not_applied"
    ERROR_APPLIED = "error_applied"
    TIMEOUT_NOT_APPLIED = "timeout_not_applied"
    TIMEOUT_APPLIED = "timeout_applied"
    DENIED = "denied"


class Phase(StrEnum):
    """The moments of a call at which its host may crash."""

    BEFORE = "before"
    APPLIED = "applied"
    DELIVERED = "delivered"


BAD_FATES = tuple(fate for fate in Fate if fate not in (Fate.GOOD, Fate.DENIED))
TIMEOUT_S = 20.0
"""How long a client waits for a lost reply."""


@dataclass(frozen=True, slots=True)
class CrashAt:
    """Crash the host that makes the `index`-th call of the whole simulation, in this phase."""

    index: int
    phase: Phase


class Weather(StrEnum):
    """Which calls go wrong more often than the others, for a whole seed."""

    MIXED = "mixed"
    LAUNCHES = "launches"
    WRITES = "writes"
    READS = "reads"


STORMS: dict[Weather, tuple[str, ...]] = {
    Weather.MIXED: (),
    Weather.LAUNCHES: ("RunTask",),
    Weather.WRITES: ("UpdateItem", "PutItem", "PutObject"),
    Weather.READS: ("GetItem", "DescribeTasks", "ListTasks", "BatchGetItem"),
}
STORM_RATE = 0.35


@dataclass(frozen=True, slots=True)
class Outage:
    """From `begin_s` to `end_s` calls that begin with one of `calls` (all, when there is none) have this `fate`.

    `daemons`, `workers`: who feels it.
    """

    begin_s: float
    end_s: float
    fate: Fate = Fate.TIMEOUT_NOT_APPLIED
    calls: tuple[str, ...] = ("",)
    daemons: bool = True
    workers: bool = True

    def hits(self, call: str, host: str, now_s: float) -> bool:
        """Whether this call falls into it."""
        felt = self.workers if host.startswith("worker") else self.daemons
        return felt and self.begin_s <= now_s < self.end_s and call.startswith(self.calls)


@dataclass(slots=True)
class FaultPlan:
    """Draws everything from the seed; nothing after `calm_from_s`. `rate`: the share of calls that go wrong.

    `weather`: the calls of which a third go wrong.
    """

    seed: int
    rate: float
    calm_from_s: float
    weather: Weather = Weather.MIXED
    crash_at: tuple[CrashAt, ...] = ()
    outages: tuple[Outage, ...] = ()
    stale_s_max: float = 5.0
    denied_until_s: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)

    def draw(self, *parts: object) -> float:
        """A number in [0, 1) for these parts, of this seed."""
        return hashed_fraction(self.seed, *parts)

    def latency_s(self, host: str, number: int, leg: str) -> float:
        """How long a leg of a call takes: mostly milliseconds, sometimes seconds."""
        fraction = self.draw("latency", host, number, leg)
        return 0.002 + 0.03 * fraction + (2.0 * fraction if fraction > 0.97 else 0.0)

    def fate(self, call: str, host: str, number: int, now_s: float) -> Fate:
        """The fate of a call. During an outage of the control plane nothing gets through."""
        if now_s < self.denied_until_s and call.startswith(STORMS[Weather.LAUNCHES]):
            return self._noted(call, Fate.DENIED)
        outage = next((each for each in self.outages if each.hits(call, host, now_s)), None)
        if outage is not None:
            self.cells[call, outage.fate] += 1
            return outage.fate
        rate = STORM_RATE if call.startswith(STORMS[self.weather]) and self.weather is not Weather.MIXED else self.rate
        if now_s >= self.calm_from_s or self.draw("fault", host, number) >= rate:
            self.cells[call, Fate.GOOD] += 1
            return Fate.GOOD
        if call.startswith(STORMS[Weather.LAUNCHES]) and self.draw("answer only", host, number) < 0.5:
            if self.weather is Weather.LAUNCHES and self.draw("then denied", host, number) < 0.3:
                self.denied_until_s = now_s + 150  # a permission goes just when the same token must be sent again
            return self._noted(call, Fate.TIMEOUT_APPLIED)  # the fate that the launch protocol is there for
        return self._noted(call, BAD_FATES[int(self.draw("kind", host, number) * len(BAD_FATES))])

    def crashes(self, index: int, phase: Phase) -> bool:
        """Whether the caller's host crashes here."""
        return CrashAt(index, phase) in self.crash_at

    def staleness_s(self, host: str, number: int, now_s: float) -> float:
        """How far behind an index read is."""
        if now_s >= self.calm_from_s:
            return 0.0
        return self.stale_s_max * self.draw("stale", host, number) ** 4

    def _noted(self, call: str, fate: Fate) -> Fate:
        self.injected[fate] += 1
        self.cells[call, fate] += 1
        return fate
