"""The matrix of what befalls calls: who calls what and for what, by fault, by moment of a crash, by replicas.

Chance alone would leave rare cells empty for thousands of seeds. So each seed takes aim at some cells: the next call of that
kind suffers just this. A cell that the default run never reaches fails it, unless `not_applicable` says why it cannot be.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.simulation.faults import APPLIED, NOT_APPLIED, TIMEOUTS, Aim, Cell, Fate, FaultPlan, Phase


@dataclass(frozen=True, slots=True)
class Row:
    """Who calls what, and for what (`purposes.py`). `eventual`: an eventually consistent read. `writes`: the call has an effect.

    `needs`: what the scenario must have, events or leases.
    `own_aims`: there are few of its calls; each seed aims at the first ones, at so many of the row's cells.
    """

    name: str
    eventual: bool = False
    writes: bool = False
    needs: str = ""
    own_aims: int = 0


LOOK = "launching: ListTasks"
GIVE_BACK = "leases: PutItem lease give back"

ROWS = (
    Row("launching: Query QUEUED", eventual=True),
    Row("launching: Query LAUNCHING", eventual=True),
    Row("launching: Query RUNNING", eventual=True),
    Row("launching: GetItem"),
    Row("launching: UpdateItem claim", writes=True),
    Row("launching: RunTask first", writes=True),
    Row("launching: RunTask again", writes=True, own_aims=4),
    Row("launching: UpdateItem renewal", writes=True, own_aims=4),
    Row("launching: UpdateItem task", writes=True),
    Row("launching: UpdateItem next try", writes=True, own_aims=4),
    Row("launching: UpdateItem end", writes=True, own_aims=4),
    Row(LOOK, eventual=True, own_aims=7),
    Row("reconciling: Query RUNNING", eventual=True),
    Row("reconciling: DescribeTasks", eventual=True),
    Row("reconciling: GetObject", own_aims=3),
    Row("reconciling: GetItem", own_aims=3),
    Row("reconciling: UpdateItem end", writes=True, own_aims=3),
    Row("reconciling: UpdateItem next attempt", writes=True, own_aims=3),
    Row("reconciling: UpdateItem stop cause", writes=True, own_aims=3),
    Row("reconciling: StopTask", writes=True, own_aims=3),
    Row("events: ReceiveMessage", writes=True, needs="events", own_aims=2),
    Row("events: DeleteMessageBatch", writes=True, needs="events"),
    Row("events: ChangeMessageVisibilityBatch", writes=True, needs="events", own_aims=8),
    Row("events: GetItem", needs="events"),
    Row("events: GetObject", needs="events", own_aims=3),
    Row("events: UpdateItem end", writes=True, needs="events", own_aims=3),
    Row("events: UpdateItem next attempt", writes=True, needs="events", own_aims=3),
    Row("events: UpdateItem evidence", writes=True, needs="events", own_aims=3),
    Row("orphans: ListTasks", eventual=True, own_aims=2),
    Row("orphans: DescribeTasks", eventual=True, own_aims=2),
    Row("orphans: BatchGetItem runs", own_aims=2),
    Row("orphans: GetItem", own_aims=3),
    Row("orphans: BatchGetItem state", own_aims=2),
    Row("orphans: BatchGetItem orphans", own_aims=2),
    Row("orphans: BatchWriteItem orphans", writes=True, own_aims=3),
    Row("orphans: UpdateItem stop cause", writes=True, own_aims=18),
    Row("orphans: StopTask", writes=True, own_aims=3),
    Row("leases: GetItem lease", needs="leases", own_aims=3),
    Row("leases: PutItem lease take", writes=True, needs="leases", own_aims=4),
    Row("leases: PutItem lease renew", writes=True, needs="leases", own_aims=4),
    Row(GIVE_BACK, writes=True, needs="leases", own_aims=15),
    Row("worker: GetItem"),
    Row("worker: UpdateItem claim", writes=True),
    Row("worker: UpdateItem result", writes=True),
    Row("worker: PutObject", writes=True, own_aims=8),
    Row("client: PutItem", writes=True),
    Row("client: GetItem", own_aims=2),
    Row("client: UpdateItem cancel", writes=True, own_aims=2),
)

AIMS = 20
"""Cells that a seed aims at."""

GOLDEN = 0.6180339887498949
REPLICAS = (1, 2, 3)
MOMENTS: tuple[Phase | None, ...] = (None, *Phase)


def not_applicable(row: Row, fate: Fate, phase: Phase | None) -> str:
    """Why this cannot be; empty when it can. A run that reaches one of these cells fails: the reason is wrong."""
    if phase is Phase.BEFORE and fate is not Fate.GOOD:
        return "a call that is never sent suffers nothing"
    if phase is Phase.APPLIED and fate in NOT_APPLIED:
        return "what is refused, fails or is lost on its way never takes effect, so there is no moment of it"
    if phase is Phase.APPLIED and fate is Fate.APPLIED_LATE:
        return "what takes effect late does so when its caller has its error: that crash is the one after the answer"
    if phase is Phase.APPLIED and fate is not Fate.GOOD:
        return "who dies before the answer never sees what was wrong with it: that crash is the one of a good call"
    if fate in APPLIED and not row.writes:
        return "a call without an effect cannot be applied in silence"
    if fate is Fate.STALE and not row.eventual:
        return "the call is strongly consistent"
    if row.name == GIVE_BACK and phase is Phase.DELIVERED and fate in TIMEOUTS:
        return "who gives a lease back waits for 3 s of the 20, and then no longer for this call: no crash comes at its end"
    return ""


def cells_of(row: Row) -> Iterator[Cell]:
    """Every cell of a row that can be."""
    for phase in MOMENTS:
        for fate in Fate:
            if not not_applicable(row, fate, phase):
                yield Cell(row.name, fate, phase)


def aims(plan: FaultPlan, *, count: int, with_events: bool, with_leases: bool) -> dict[str, deque[Aim]]:
    """What a seed aims at: about `count` cells, other ones for each seed, so that a few dozen seeds have been through all."""
    ordinal = plan.seed // len(REPLICAS)
    rows = [row for row in ROWS if (row.needs != "events" or with_events) and (row.needs != "leases" or with_leases)]
    waiting: defaultdict[str, list[Aim]] = defaultdict(list)
    for cell in _turn([cell for row in rows if not row.own_aims for cell in cells_of(row)], ordinal, count):
        after_s = 0.6 * plan.calm_from_s * plan.draw("aim", cell.row, cell.fate, cell.phase)
        waiting[cell.row].append(Aim(cell, after_s))
    for row in rows:
        waiting[row.name] += [Aim(cell, 0.0) for cell in _turn(list(cells_of(row)), ordinal, row.own_aims)]
    return {row: deque(sorted(each, key=lambda aim: aim.after_s)) for row, each in waiting.items()}


def aim_first_at(hunted: Sequence[Cell], waiting: dict[str, deque[Aim]]) -> None:
    """Put these cells before all other aims of their rows."""
    for cell in reversed(hunted):
        waiting.setdefault(cell.row, deque()).appendleft(Aim(cell, 0.0))


def _turn(cells: list[Cell], ordinal: int, count: int) -> list[Cell]:
    """So many cells in a row: turn by turn they go round them all, evenly ("golden ratio sequence")."""
    start = int(ordinal * GOLDEN % 1 * len(cells))
    return (cells + cells)[start : start + min(count, len(cells))]


class Matrix:
    """What many stories have reached, by number of replicas."""

    def __init__(self) -> None:
        self.reached: dict[int, Counter[Cell]] = {replicas: Counter() for replicas in REPLICAS}

    def add(self, replicas: int, cells: Counter[Cell]) -> None:
        """One story's cells."""
        self.reached[replicas] += cells

    def missing(self) -> list[tuple[int, Cell]]:
        """Cells that can be and have not been."""
        return [
            (replicas, cell)
            for replicas in REPLICAS
            for row in ROWS
            for cell in cells_of(row)
            if not self.reached[replicas][cell]
        ]

    def refuted(self) -> list[tuple[int, Cell, str]]:
        """Cells that have been though they are said not to be, with the reason that was given."""
        rows = {row.name: row for row in ROWS}
        return [
            (replicas, cell, reason)
            for replicas, cells in self.reached.items()
            for cell in cells
            if cell.row in rows and (reason := not_applicable(rows[cell.row], cell.fate, cell.phase))
        ]

    def unknown(self) -> set[str]:
        """Rows that were seen and are not listed: somebody added a call."""
        return {cell.row for cells in self.reached.values() for cell in cells} - {row.name for row in ROWS}

    @property
    def possible(self) -> int:
        """How many cells there are in all."""
        return len(REPLICAS) * sum(1 for row in ROWS for _ in cells_of(row))

    def lines(self) -> Iterator[str]:
        """The table: a line a row; in each column how often, with the number of replicas with which it was least often."""
        live, crash = list(_columns(None)), list(_columns(*Phase))
        yield "how often at the least, with 1, 2 or 3 replicas; . cannot be"
        crashes = "the caller crashes: before the call; once it is applied; after the answer, which was"
        yield f"{'':<{NAME}} {'the caller lives':<{COLUMN * len(live)}} | {crashes}"
        yield f"{'':<{NAME}} " + " | ".join(
            "".join(f"{_heading(*each):>{COLUMN}}" for each in part) for part in (live, crash)
        )
        for row in ROWS:
            yield f"{row.name:<{NAME}} " + " | ".join(
                "".join(f"{self._least(row, *each):>{COLUMN}}" for each in part) for part in (live, crash)
            )

    def _least(self, row: Row, fate: Fate, phase: Phase | None) -> str:
        if not_applicable(row, fate, phase):
            return "."
        return str(min(self.reached[replicas][Cell(row.name, fate, phase)] for replicas in REPLICAS))


NAME = max(len(row.name) for row in ROWS)
COLUMN = 8
HEADINGS = {
    Fate.THROTTLED: "throttl",
    Fate.ERROR_NOT_APPLIED: "500",
    Fate.ERROR_APPLIED: "500done",
    Fate.TIMEOUT_NOT_APPLIED: "silent",
    Fate.TIMEOUT_APPLIED: "sil+done",
    Fate.APPLIED_LATE: "late",
}


def _columns(*phases: Phase | None) -> Iterator[tuple[Fate, Phase | None]]:
    return ((fate, phase) for phase in phases for fate in Fate if fate is Fate.GOOD or phase in (None, Phase.DELIVERED))


def reasons() -> Iterable[str]:
    """Why cells cannot be, each reason once."""
    said = {not_applicable(row, fate, phase) for row in ROWS for fate in Fate for phase in MOMENTS}
    return sorted(said - {""})


def _heading(fate: Fate, phase: Phase | None) -> str:
    return phase.value if phase in (Phase.BEFORE, Phase.APPLIED) else HEADINGS.get(fate, fate.value)
