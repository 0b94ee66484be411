"""Cells that chance and aims have left out are hunted: further seeds aim at nothing but these first."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from tests.simulation.faults import Cell, Fate, Outage, Phase
from tests.simulation.matrix import LOOK, REPLICAS, ROWS, Matrix
from tests.simulation.scenario import HAND_OVERS, mixed


@dataclass(frozen=True, slots=True)
class Hunt:
    """A seed that is played, with so many replicas, for the sake of cells that no other has reached."""

    seed: int
    replicas: int
    cells: tuple[Cell, ...]

    @property
    def options(self) -> dict[str, Any]:
        """What it changes in the seed's own scenario: what the cells need, and the aims."""
        needs = {row.needs for row in ROWS if row.name in {cell.row for cell in self.cells}}
        given: dict[str, Any] = {f"with_{need}": True for need in needs if need}
        if "leases" in needs:
            given["acts"] = tuple(dict.fromkeys((*mixed(self.seed).acts, *HAND_OVERS)))
        if any(cell.row == LOOK and cell.fate is Fate.STALE for cell in self.cells):
            # a listing 60 s old hides a task from a look only where a launch was cancelled while nobody had its answer
            given["cancels"] = 1.0
            given["outages"] = (Outage(0.0, mixed(self.seed).calm_from_s, Fate.TIMEOUT_APPLIED, ("RunTask",)),)
        replay = f"python -m tests.simulation --seed {self.seed} --trace --hunt '{self}'"
        return {"replicas": self.replicas, "hunted": self.cells, "replay": replay, **given}

    @override
    def __str__(self) -> str:
        """As `--hunt` takes it: the replicas, and each cell's row, fault and moment of the crash."""
        return "; ".join(
            [str(self.replicas), *(f"{each.row} | {each.fate} | {each.phase or ''}" for each in self.cells)]
        )

    @classmethod
    def parse(cls, seed: int, text: str) -> "Hunt":
        """The hunt of this text. Raises ValueError for any other."""
        replicas, *cells = text.split("; ")
        parts = [cell.split(" | ") for cell in cells]
        return cls(
            seed,
            int(replicas),
            tuple(Cell(row, Fate(fate), Phase(phase.strip()) if phase.strip() else None) for row, fate, phase in parts),
        )


def hunts(matrix: Matrix, first_seed: int, *, seeds: int) -> list[Hunt]:
    """Further seeds, as many for each number of replicas that misses cells, which aim at what is missing."""
    found = []
    for replicas in REPLICAS:
        cells = tuple(cell for missed, cell in matrix.missing() if missed == replicas)
        found += [Hunt(first_seed + number, replicas, cells) for number in range(seeds) if cells]
    return found
