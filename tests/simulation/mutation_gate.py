"""Every mutant must be noticed: plays seeds under each, and says which seed has noticed it by what."""

import argparse
import sys
from dataclasses import dataclass

from tests.simulation import world
from tests.simulation.arguments import INTERRUPTED, count
from tests.simulation.mutants import MUTANTS
from tests.simulation.noticing import of_mutant, of_violation
from tests.simulation.parallel import spread
from tests.simulation.removing import Mutant
from tests.simulation.replay import Breakdown
from tests.simulation.scenario import Report
from tests.simulation.violation import Violation

SEEDS_AFTER_ANOTHER = 20
"""A mutant that was noticed by another invariant has so many seeds more to be noticed by its own."""


class Broken(Exception):
    """A mutant that no longer fits the code it mutates."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """The seed that has noticed a mutant, and what was violated. `rightly`: by an invariant that must notice it."""

    seed: int
    violation: str
    rightly: bool


def first_seed_that_notices(mutant: Mutant, seeds: range) -> Noticed | None:
    """The first seed that fails under the mutant by an invariant that must notice it, else by any. Raises `Broken`.

    None: it survives them all.
    """
    wrongly: Noticed | None = None
    with mutant.apply():
        for seed in seeds:
            if wrongly is not None and seed > wrongly.seed + SEEDS_AFTER_ANOTHER:
                break
            try:
                played(mutant, seed)
            except Violation as violation:
                first = str(violation).splitlines()[0]
                if "invariant 12:" in first or isinstance(violation, Breakdown):
                    raise Broken(
                        f"{mutant.name} breaks the program instead of taking a safeguard away: {first}"
                    ) from None
                noticed = Noticed(seed, first, of_violation(first) in of_mutant(mutant.name))
                if noticed.rightly:
                    return noticed
                wrongly = wrongly or noticed
    return wrongly


def played(mutant: Mutant, seed: int) -> Report:
    """A seed of a mutant, which is in force. The command in a violation plays the mutant too."""
    replay = f"python -m tests.simulation.mutation_gate --only {mutant.name} --seed {seed}"
    return world.play(seed, **mutant.options, replay=replay)


@dataclass(frozen=True, slots=True)
class Trial:
    """A mutant by its name, and how many seeds it is tried on."""

    name: str
    seeds: int

    def run(self) -> tuple[str, Noticed | None, str | None]:
        """The name, what has noticed the mutant, and what is wrong with the same scenario without it (None: nothing)."""
        mutant = next(each for each in MUTANTS if each.name == self.name)
        noticed = first_seed_that_notices(mutant, range(self.seeds))
        return self.name, noticed, _unfounded(mutant, noticed.seed) if noticed and mutant.options else None


def _unfounded(mutant: Mutant, seed: int) -> str | None:
    """A scenario made for a mutant must be green without it, or it proves nothing."""
    try:
        world.play(seed, **mutant.options)
    except Violation as violation:
        return str(violation)
    return None


def replayed(mutant: Mutant, seed: int) -> int:
    """Print the whole story of a mutant's seed. Exit 1 if it is noticed."""
    try:
        with mutant.apply():
            report = played(mutant, seed)
    except Violation as violation:
        print(*violation.trace, violation, sep="\n")
        return 1
    print(*report.trace, sep="\n")
    print(f"{mutant.name} is not noticed by seed {seed}")
    return 0


def _told(name: str, noticed: Noticed | None) -> str:
    if noticed is None:
        return "SURVIVES"
    must = "" if noticed.rightly else f"ONLY BY ANOTHER than {', '.join(sorted(of_mutant(name)))}: "
    return f"seed {noticed.seed:>3}: {must}{noticed.violation}"


def main() -> int:
    """Exit 1 if a mutant survives, or is noticed only by an invariant that is none of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutation_gate", description=__doc__)
    parser.add_argument(
        "--seeds", type=count, default=80, help="how many seeds each mutant must survive to be a survivor"
    )
    parser.add_argument(
        "--only", choices=[mutant.name for mutant in MUTANTS], metavar="MUTANT", help="the name of one mutant"
    )
    parser.add_argument("--seed", type=int, help="with --only: play just this seed, and print its whole story")
    parser.add_argument("--jobs", type=count, help="processes; as many as there are cores unless said")
    options = parser.parse_args()
    if options.seed is not None:
        if options.only is None:
            parser.error("--seed goes with --only")
        return replayed(next(each for each in MUTANTS if each.name == options.only), options.seed)
    trials = [Trial(mutant.name, options.seeds) for mutant in MUTANTS if options.only in (None, mutant.name)]
    survivors: list[str] = []
    unfounded: list[str] = []
    try:
        for name, noticed, problem in spread(Trial.run, trials, options.jobs):
            if noticed is None or not noticed.rightly:
                survivors.append(name)
            if problem is not None:
                unfounded.append(name)
                print(f"{name}: fails without the mutant too\n{problem}")
            where = _told(name, noticed)
            print(f"{name:<24} {where[:150]}", flush=True)
    except KeyboardInterrupt:
        print("interrupted; the mutants that are not listed were not tried to the end")
        return INTERRUPTED
    print(f"{len(trials)} mutants, {len(survivors)} survivors" + (f": {', '.join(survivors)}" if survivors else ""))
    return 1 if survivors or unfounded else 0


if __name__ == "__main__":
    sys.exit(main())
