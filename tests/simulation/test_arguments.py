"""Bad input to the commands of the simulation is refused with what is wrong: a gate that takes a typo for nothing to do is none."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.crash_points import Shot, sample
from tests.simulation.faults import Cell, CrashAt, Fate, Phase
from tests.simulation.invariants import Violation
from tests.simulation.matrix import REPLICAS, ROWS, Hunt, Matrix, cells_of
from tests.simulation.world import outcome

ROOT = Path(__file__).parents[2]

REFUSED = {
    "no seeds": ("tests.simulation", ["--seeds", "0"], "'0' must be a whole number, 1 or more"),
    "a phase that is none": (
        "tests.simulation.crash_points",
        ["--at", "12:sideways"],
        "'12:sideways' must be INDEX:PHASE, with a phase of before, applied, delivered",
    ),
    "an index that is none": ("tests.simulation.crash_points", ["--at", "x:before"], "'x:before' must be INDEX:PHASE"),
    "a hunt that is none": ("tests.simulation", ["--seed", "1", "--hunt", "2; a row"], "--hunt cannot be read"),
    "a mutant that is none": ("tests.simulation.mutation_gate", ["--only", "nope"], "invalid choice: 'nope'"),
}


@pytest.mark.parametrize(("module", "arguments", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_refused_with_what_is_wrong(module: str, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_crash_point_can_be_played_again_by_its_index_and_phase() -> None:
    command = [sys.executable, "-m", "tests.simulation.crash_points", "--scene", "launching", "--at", "30:applied"]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert ended.stdout.endswith("1 of 1 crashes were reached; nothing is violated\n")
    assert ", applied" in ended.stdout


def test_a_sample_of_the_crashes_is_chosen_by_the_seed_and_kept_in_order() -> None:
    phases = tuple(Phase)
    shots = [Shot("launching", 1, (CrashAt(index, phases[index % 3]),)) for index in range(50)]
    chosen = sample(shots, 10)
    assert len(chosen) == 10
    assert chosen == sorted(chosen, key=lambda shot: shot.crashes[0].index)
    assert chosen == sample(shots, 10)
    others = sample([replace(shot, seed=2) for shot in shots], 10)
    assert [shot.crashes for shot in chosen] != [shot.crashes for shot in others]
    assert {shot.crashes[0].phase for shot in chosen} == set(Phase)
    assert sample(shots, 50) == sample(shots, None) == shots


def test_a_hunt_reaches_the_cells_that_it_is_played_for_and_is_played_again_by_its_words() -> None:
    cells = (
        Cell("leases: PutItem lease renew", Fate.APPLIED_LATE, Phase.DELIVERED),
        Cell("orphans: UpdateItem stop cause", Fate.THROTTLED, None),
    )
    hunt = Hunt(205, 1, cells)
    assert Hunt.parse(205, str(hunt)) == hunt
    report = outcome(hunt)
    assert not isinstance(report, Violation)
    assert all(report.cells[cell] for cell in cells)


def test_what_no_seed_has_reached_is_hunted_with_the_number_of_replicas_that_misses_it() -> None:
    matrix = Matrix()
    everything = Counter(cell for row in ROWS for cell in cells_of(row))
    missed = Cell("launching: UpdateItem claim", Fate.THROTTLED, None)
    for replicas in REPLICAS:
        matrix.add(replicas, everything - Counter([missed]) if replicas == 2 else everything)
    assert matrix.hunts(300, seeds=2) == [Hunt(300, 2, (missed,)), Hunt(301, 2, (missed,))]
    matrix.add(2, Counter([missed]))
    assert matrix.hunts(300, seeds=2) == []
