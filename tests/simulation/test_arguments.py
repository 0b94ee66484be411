"""Bad input to the commands of the simulation is refused with what is wrong: a gate that takes a typo for nothing to do is none."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REFUSED = {
    "no seeds": ("tests.simulation", ["--seeds", "0"], "'0' must be a whole number, 1 or more"),
    "a phase that is none": (
        "tests.simulation.crash_points",
        ["--at", "12:sideways"],
        "'12:sideways' must be INDEX:PHASE, with a phase of before, applied, delivered",
    ),
    "an index that is none": ("tests.simulation.crash_points", ["--at", "x:before"], "'x:before' must be INDEX:PHASE"),
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
