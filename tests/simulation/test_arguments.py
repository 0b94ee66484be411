"""Bad input to the commands of the simulation is refused with what is wrong: a gate that takes a typo for nothing to do is none."""

import asyncio
import subprocess
import sys
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation import __main__ as command
from tests.simulation import matrix
from tests.simulation.crash_points import Shot, sample
from tests.simulation.faults import TIMEOUTS, Aim, Cell, CrashAt, Fate, FaultPlan, Phase
from tests.simulation.hunting import Hunt, hunts
from tests.simulation.matrix import REPLICAS, ROWS, Matrix, cells_of
from tests.simulation.network import Network
from tests.simulation.scenario import HAND_OVERS
from tests.simulation.sim_loop import Host, SimLoop
from tests.simulation.violation import Violation
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


def test_a_hunt_plays_what_its_cells_need() -> None:
    give_back, look = Cell(matrix.GIVE_BACK, Fate.GOOD), Cell(matrix.LOOK, Fate.STALE)
    options = Hunt(3, 1, (give_back,)).options
    assert options["with_leases"]
    assert set(HAND_OVERS) <= set(options["acts"])
    assert "cancels" not in options
    options = Hunt(3, 1, (look,)).options
    assert "acts" not in options
    assert options["cancels"] == 1.0
    assert [(each.fate, each.calls) for each in options["outages"]] == [(Fate.TIMEOUT_APPLIED, ("RunTask",))]


def test_what_no_seed_has_reached_is_hunted_with_the_number_of_replicas_that_misses_it() -> None:
    reached = Matrix()
    everything = Counter(cell for row in ROWS for cell in cells_of(row))
    missed = Cell("launching: UpdateItem claim", Fate.THROTTLED, None)
    for replicas in REPLICAS:
        reached.add(replicas, everything - Counter([missed]) if replicas == 2 else everything)
    assert hunts(reached, 300, seeds=2) == [Hunt(300, 2, (missed,)), Hunt(301, 2, (missed,))]
    reached.add(2, Counter([missed]))
    assert hunts(reached, 300, seeds=2) == []


def test_a_reached_cell_that_is_said_not_to_be_fails_the_run_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "nobody has ever seen it"
    monkeypatch.setattr(matrix, "not_applicable", lambda *cell: reason * (cell[1:] == (Fate.TIMEOUT_APPLIED, None)))
    monkeypatch.setattr(command, "spread", lambda function, stories, _: map(function, stories))
    outage = '[{"begin_s": 0, "end_s": 1000, "fate": "timeout_applied", "calls": ["RunTask"]}]'
    short = [
        "replicas=1",
        "runs=2",
        "chaos=false",
        "with_trainer=false",
        "calm_from_s=300",
        "acts=[]",
        f"outages={outage}",
    ]
    words = ["tests.simulation", "--seed", "3", *(word for each in short for word in ("--set", each))]
    monkeypatch.setattr(sys, "argv", words)
    assert command.main() == 1
    said = "reached with 1 replicas: launching: RunTask first, timeout_applied, crash none; matrix.py says that it cannot be"
    assert f"{said}: {reason}\n" in capsys.readouterr().out


def test_a_row_that_the_matrix_does_not_have_is_named() -> None:
    total = command.Sum()
    total.matrix.add(2, Counter([Cell("launching: UpdateItem unknown", Fate.GOOD)]))
    assert total.untruths() == ["not in the matrix: launching: UpdateItem unknown"]


@pytest.mark.parametrize("fate", sorted(TIMEOUTS))
@pytest.mark.parametrize("phase", [None, Phase.DELIVERED])
def test_a_caller_that_gives_up_sooner_has_met_the_silence(fate: Fate, phase: Phase | None) -> None:
    """Who gives a lease back waits for 3 s, the network for 20. What would have come after them has not been."""
    loop, aim = SimLoop(1, shuffled=False), Aim(Cell(matrix.GIVE_BACK, fate, phase), 0.0)
    plan = FaultPlan(seed=1, rate=0.0, calm_from_s=60.0, aims={matrix.GIVE_BACK: deque([aim])})
    net = Network(loop, plan, on_crash=loop.crash, on_throttle=lambda *_: None)

    async def give_back() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await net.call(Host("leases"), "PutItem lease give back", lambda: None)

    loop.run_until_complete(loop.start(Host("keeper"), give_back(), "giving back"))
    loop.bury()
    loop.close()
    assert plan.cells == Counter([Cell(matrix.GIVE_BACK, fate)])


def test_what_is_imported_under_a_mutant_does_not_keep_it() -> None:
    command = [sys.executable, "-m", "tests.simulation.mutation_gate", "--only", "orphan_cut", "--seeds", "1"]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout
