"""What goes wrong, decided by the seed: for every port call its latencies and its fate; now and then a crash or a stall."""

from collections import Counter, deque
from dataclasses import dataclass, field, replace
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
    APPLIED_LATE = "applied_late"
    STALE = "stale"


NOT_APPLIED = frozenset({Fate.THROTTLED, Fate.ERROR_NOT_APPLIED, Fate.TIMEOUT_NOT_APPLIED, Fate.DENIED})
APPLIED = frozenset({Fate.ERROR_APPLIED, Fate.TIMEOUT_APPLIED, Fate.APPLIED_LATE})
TIMEOUTS = frozenset({Fate.TIMEOUT_NOT_APPLIED, Fate.TIMEOUT_APPLIED, Fate.APPLIED_LATE})


class Phase(StrEnum):
    """The moments of a call at which its host may crash."""

    BEFORE = "before"
    APPLIED = "applied"
    DELIVERED = "delivered"


READ_FATES = (Fate.THROTTLED, Fate.ERROR_NOT_APPLIED, Fate.TIMEOUT_NOT_APPLIED)
"""What may befall a call without an effect."""

BAD_FATES = tuple(fate for fate in Fate if fate not in (Fate.GOOD, Fate.DENIED, Fate.STALE))
TIMEOUT_S = 20.0
"""How long a client waits for a lost reply."""

AIM_GAP_S = 30.0
"""A crash that is aimed at may take so long to come; until then no other call of its row is aimed at, for its host may be the same."""


@dataclass(frozen=True, slots=True)
class CrashAt:
    """Crash the host that makes the `index`-th call of the whole simulation, in this phase."""

    index: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing that can befall a call: `row` is who calls what for what, `phase` the moment at which the caller crashes, if it does."""

    row: str
    fate: Fate
    phase: Phase | None = None


@dataclass(frozen=True, slots=True)
class Aim:
    """The next call of the cell's row from `after_s` on shall suffer the cell."""

    cell: Cell
    after_s: float


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
    Weather.READS: ("GetItem", "GetObject", "DescribeTasks", "ListTasks", "BatchGetItem"),
}
STORM_RATE = 0.35
STALE_RATE = 0.2


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
        if not self.begin_s <= now_s < self.end_s:
            return False
        felt = self.workers if host.startswith("worker") else self.daemons
        return felt and call.startswith(self.calls)


@dataclass(frozen=True, slots=True)
class Slow:
    """From `begin_s` to `end_s` calls that begin with one of `calls` take longer: so many seconds to arrive, and to be answered."""

    begin_s: float
    end_s: float
    calls: tuple[str, ...]
    out_s: float = 0.0
    back_s: float = 0.0

    def more_s(self, call: str, leg: str, now_s: float) -> float:
        """How much longer this leg of a call takes."""
        hit = self.begin_s <= now_s < self.end_s and call.startswith(self.calls)
        return (self.out_s if leg == "out" else self.back_s) if hit else 0.0


@dataclass(slots=True)
class FaultPlan:
    """Draws everything from the seed; nothing but outages that were ordered after `calm_from_s`. `rate`: the share of calls that go wrong.

    `weather`: the calls of which a third go wrong. `aims`: what must befall a certain call, whatever is drawn, by row and in
    order. `cells`: what has befallen the calls so far. `slow_share`: of the legs of calls, those that take seconds.
    """

    seed: int
    rate: float
    calm_from_s: float
    weather: Weather = Weather.MIXED
    crash_at: tuple[CrashAt, ...] = ()
    outages: tuple[Outage, ...] = ()
    slow: tuple[Slow, ...] = ()
    aims: dict[str, deque[Aim]] = field(default_factory=dict)
    free_from_s: dict[str, float] = field(default_factory=dict)
    aimed: set[Cell] = field(default_factory=set)
    slow_share: float = 0.03
    stale_s_max: float = 5.0
    denied_until_s: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    cells: Counter[Cell] = field(default_factory=Counter)

    def draw(self, *parts: object) -> float:
        """A number in [0, 1) for these parts, of this seed."""
        return hashed_fraction(self.seed, *parts)

    def latency_s(self, host: str, number: int, leg: str) -> float:
        """How long a leg of a call takes: mostly milliseconds, sometimes seconds."""
        fraction = self.draw("latency", host, number, leg)
        return 0.002 + 0.03 * fraction + (2.0 * fraction if fraction > 1 - self.slow_share else 0.0)

    def stale_s(self, host: str, number: int) -> float:
        """How far behind a stale read is: seconds, sometimes a minute."""
        fraction = self.draw("how stale", host, number)
        return self.stale_s_max * fraction**2 if fraction < 0.9 else 12 * self.stale_s_max * (fraction - 0.9) / 0.1

    def late_s(self, host: str, number: int) -> float:
        """When a call takes effect whose caller has long given up."""
        return TIMEOUT_S + 100 * self.draw("how late", host, number) ** 2

    def befalls(
        self, row: str, host: str, number: int, index: int, now_s: float, *, eventual: bool, writes: bool
    ) -> Cell:
        """What befalls a call: the `index`-th of all, the host's `number`-th.

        Only an `eventual` read can be stale; only a call that `writes` can be applied without an answer.
        """
        crash = next((crash.phase for crash in self.crash_at if crash.index == index), None)
        waiting = self.aims.get(row)
        if waiting and max(waiting[0].after_s, self.free_from_s.get(row, 0.0)) <= now_s < self.calm_from_s:
            aimed = waiting.popleft().cell
            if aimed.phase is not None:
                self.free_from_s[row] = now_s + AIM_GAP_S
            cell = Cell(row, aimed.fate, aimed.phase or crash)
            self.aimed.add(cell)
            return cell
        return Cell(
            row, self._fate(row.partition(": ")[2], host, number, now_s, eventual=eventual, writes=writes), crash
        )

    def miss(self, cell: Cell) -> Cell:
        """The fault has made no difference: a stale read saw the present, an effect was refused. It is aimed at again."""
        if cell in self.aimed:
            self.aimed.discard(cell)
            self.aims[cell.row].append(Aim(cell, 0.0))
        return replace(cell, fate=Fate.GOOD)

    def note(self, cell: Cell) -> None:
        """The call has come to the point where the cell shows."""
        self.aimed.discard(cell)
        self.cells[cell] += 1
        if cell.fate is not Fate.GOOD:
            self.injected[cell.fate] += 1
        if cell.phase is not None:
            self.injected[f"crash {cell.phase}"] += 1

    def _fate(self, call: str, host: str, number: int, now_s: float, *, eventual: bool, writes: bool) -> Fate:
        if now_s < self.denied_until_s and call.startswith(STORMS[Weather.LAUNCHES]):
            return Fate.DENIED
        outage = next((each for each in self.outages if each.hits(call, host, now_s)), None)
        if outage is not None:
            return Fate.TIMEOUT_NOT_APPLIED if outage.fate in APPLIED and not writes else outage.fate
        if now_s >= self.calm_from_s:
            return Fate.GOOD
        stormy = self.weather is not Weather.MIXED and call.startswith(STORMS[self.weather])
        if self.draw("fault", host, number) >= (STORM_RATE if stormy else self.rate):
            stale = eventual and self.stale_s_max > 0 and self.draw("stale", host, number) < STALE_RATE
            return Fate.STALE if stale else Fate.GOOD
        if call.startswith(STORMS[Weather.LAUNCHES]) and self.draw("answer only", host, number) < 0.5:
            if self.weather is Weather.LAUNCHES and self.draw("then denied", host, number) < 0.3:
                self.denied_until_s = now_s + 150  # a permission goes just when the same token must be sent again
            return Fate.TIMEOUT_APPLIED  # the fate that the launch protocol is there for
        kinds = BAD_FATES if writes else READ_FATES
        return kinds[int(self.draw("kind", host, number) * len(kinds))]
