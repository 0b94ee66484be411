"""`python -m tests.simulation`: many seeds and what they have covered, or one with its trace."""

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.arguments import INTERRUPTED, count
from tests.simulation.hunting import Hunt, hunts
from tests.simulation.matrix import Matrix, reasons
from tests.simulation.parallel import spread
from tests.simulation.replay import Altered, setting
from tests.simulation.scenario import Report
from tests.simulation.sometimes import missing
from tests.simulation.violation import Violation
from tests.simulation.world import outcome

VIOLATIONS_SHOWN = 10
COVERS_FROM = 150
"""So many seeds must reach every cell of the matrix and every rare branch; fewer only print what they have reached."""
PROGRESS_EVERY = 100
AT_LEAST = {"runs": 20, "organisations": 2, "hours": 2, "faults": 10}
"""What a seed must have of each on average, for the number of seeds to mean anything."""

HUNT_SEEDS = 4
HUNTS_MAX = 3
"""For cells that are left then, so many further seeds for each number of replicas, so many times."""


@dataclass(slots=True)
class Sum:
    """Many reports in one."""

    seeds: int = 0
    calls: int = 0
    simulated_s: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    organisations: int = 0
    sometimes: Counter[str] = field(default_factory=Counter)
    matrix: Matrix = field(default_factory=Matrix)

    def add(self, report: Report) -> None:
        """One more story."""
        self.seeds += 1
        self.calls += report.calls
        self.simulated_s += report.simulated_s
        self.injected += report.injected
        self.statuses += report.statuses
        self.organisations += report.organisations
        self.sometimes += report.sometimes
        self.matrix.add(report.replicas, report.cells)

    def means(self) -> dict[str, float]:
        """What a seed has of each, on average."""
        return {
            "runs": sum(self.statuses.values()) / self.seeds,
            "organisations": self.organisations / self.seeds,
            "hours": self.simulated_s / 3600 / self.seeds,
            "faults": sum(self.injected.values()) / self.seeds,
        }

    def show(self, took_s: float) -> None:
        """The figures, the counters, the matrix."""
        hours = self.simulated_s / 3600
        missing_cells = len(self.matrix.missing())
        print(
            f"{self.seeds} seeds green in {took_s:.1f} s ({self.seeds / took_s:.1f} a second), {hours:.0f} simulated hours, "
            f"{self.calls} calls, {sum(self.injected.values())} faults, "
            f"{self.matrix.possible - missing_cells} of {self.matrix.possible} cells"
        )
        print("a seed: " + ", ".join(f"{mean:.1f} {what}" for what, mean in self.means().items()))
        for name, counter in (("faults", self.injected), ("ends", self.statuses), ("sometimes", self.sometimes)):
            print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in counter.most_common()))
        print(*self.matrix.lines(), sep="\n")
        print("a cell cannot be: " + "; ".join(reasons()))

    def gaps(self) -> list[str]:
        """What was not reached, a line each."""
        cells = [
            f"never reached with {replicas} replicas: {cell.row}, {cell.fate}, crash {cell.phase or 'none'}"
            for replicas, cell in self.matrix.missing()
        ]
        thin = [
            f"too little happens: {mean:.1f} {what} a seed on average, not {AT_LEAST[what]}"
            for what, mean in self.means().items()
            if mean < AT_LEAST[what]
        ]
        return [*cells, *(f"never happened: {name}" for name in missing(self.sometimes, self.injected)), *thin]

    def untruths(self) -> list[str]:
        """What the matrix says wrongly, a line each: whatever was reached, however few the seeds."""
        cells = [
            f"reached with {replicas} replicas: {cell.row}, {cell.fate}, crash {cell.phase or 'none'}; "
            f"matrix.py says that it cannot be: {reason}"
            for replicas, cell, reason in self.matrix.refuted()
        ]
        return [*cells, *(f"not in the matrix: {row}" for row in sorted(self.matrix.unknown()))]


def main() -> int:
    """Exit 1 if a seed violates an invariant, or reaches what is said not to be, and if a full run leaves a cell or a branch unreached."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=count, default=200, help="how many seeds, from --from on")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--hunt", help="with --seed: play it as a hunt for cells, in the words of its report")
    parser.add_argument(
        "--set",
        dest="settings",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="change the scenario, in the words of a report; several times",
    )
    parser.add_argument("--trace", action="store_true", help="print the whole trace of --seed")
    parser.add_argument(
        "--digest", action="store_true", help="print the SHA-256 of the trace of each seed, and nothing else"
    )
    parser.add_argument("--jobs", type=count, help="processes; as many as there are cores unless said")
    options = parser.parse_args()
    seeds = _asked_for(parser, options)
    total = Sum()
    violations = 0
    began = time.perf_counter()
    try:
        for report in spread(outcome, seeds, options.jobs):
            if isinstance(report, Violation):
                print(*(report.trace if options.trace else ()), report, sep="\n", flush=True)
                violations += 1
                if violations == VIOLATIONS_SHOWN:
                    return 1
                continue
            total.add(report)
            if total.seeds % PROGRESS_EVERY == 0:
                rate = total.seeds / (time.perf_counter() - began)
                print(f"{total.seeds} of {len(seeds)} seeds green, {rate:.1f} a second", file=sys.stderr, flush=True)
            if options.digest:
                print(report.seed, hashlib.sha256("\n".join(report.trace).encode()).hexdigest())
            elif options.trace:
                print(*report.trace, sep="\n")
    except KeyboardInterrupt:
        print(
            f"interrupted after {total.seeds + violations} of {len(seeds)} seeds, {violations} of them with a violation"
        )
        if total.seeds and not options.digest:
            total.show(time.perf_counter() - began)
        return INTERRUPTED
    if not options.digest and total.seeds:
        total.show(time.perf_counter() - began)
    if violations:
        print(f"{violations} of {len(seeds)} seeds violate an invariant")
        return 1
    if options.digest:
        return 0
    covers = len(seeds) >= COVERS_FROM and not options.settings
    if covers and not _hunt(total, first_seed=options.first + options.seeds, jobs=options.jobs):
        return 1
    gaps, untruths = total.gaps(), total.untruths()
    print(*(gaps if options.seed is None else ()), *untruths, sep="\n")
    return 1 if untruths or (gaps and covers) else 0


def _asked_for(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Sequence[int | Hunt | Altered]:
    """The stories to play."""
    if options.hunt:
        if options.seed is None or options.settings:
            parser.error("--hunt goes with --seed alone")
        return [_hunt_of(parser, options.seed, options.hunt)]
    numbers = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    return [Altered(seed, dict(options.settings)) for seed in numbers] if options.settings else numbers


def _hunt_of(parser: argparse.ArgumentParser, seed: int, text: str) -> Hunt:
    try:
        return Hunt.parse(seed, text)
    except ValueError as error:
        parser.error(f"--hunt cannot be read ({error}); copy it from the report of a violation")


def _hunt(total: Sum, *, first_seed: int, jobs: int | None) -> bool:
    """Play a few further seeds for the cells that chance has left out; False if one of those violates an invariant.

    A cell is reached by some five of 200 seeds: of more than two thousand cells, chance alone leaves out a handful.
    """
    for number in range(HUNTS_MAX):
        further = hunts(total.matrix, first_seed + number * HUNT_SEEDS, seeds=HUNT_SEEDS)
        if not further:
            break
        missing_before = len(total.matrix.missing())
        for report in spread(outcome, further, jobs):
            if isinstance(report, Violation):
                print(report, flush=True)
                return False
            total.matrix.add(report.replicas, report.cells)
        left = len(total.matrix.missing())
        print(f"{len(further)} further seeds hunted {missing_before} cells; {left} are left")
    return True


if __name__ == "__main__":
    sys.exit(main())
