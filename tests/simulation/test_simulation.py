"""The simulation in the default suite: some seeds, some crash points, and proof that it notices what it is there to notice.

Many seeds, every crash point and every mutant: `make simulate`, `make simulate-crashes`, `make simulate-mutants`.
"""

from collections import Counter
from functools import cache

import pytest

from tests.simulation import crash_points
from tests.simulation.faults import CrashAt, Phase
from tests.simulation.mutants import MUTANTS, first_seed_that_notices
from tests.simulation.scenario import Report
from tests.simulation.world import play

SEEDS = range(20)
CRASH_EVERY = 50
QUICK_MUTANTS = {
    "version_condition": 6,
    "claim_checks_arn": 6,
    "deterministic_token": 8,
    "cause_before_stop": 6,
    "stopped_only": 3,
}
"""How many seeds each of these must be noticed within."""


@cache
def story(seed: int) -> Report:
    return play(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_seed_violates_an_invariant(seed: int) -> None:
    report = story(seed)
    assert sum(report.statuses.values()) == 24
    assert sum(report.injected.values()) >= 10
    assert report.simulated_s >= 2 * 3600


def test_one_seed_gives_one_trace() -> None:
    assert play(3).trace == story(3).trace


def test_without_any_event_polling_alone_brings_every_run_to_its_end() -> None:
    report = play(6, with_events=False)
    assert "ReceiveMessage" not in {call for call, _ in report.cells}
    assert report.statuses["SUCCEEDED"] > 0


def test_the_default_seeds_see_every_fault_and_every_kind_of_end() -> None:
    injected: Counter[str] = Counter()
    sometimes: Counter[str] = Counter()
    for report in map(story, SEEDS):
        injected += report.injected
        sometimes += report.sometimes
    assert {name for name, count in injected.items() if count} >= {
        "throttled", "error_applied", "error_not_applied", "timeout_applied", "timeout_not_applied", "event lost",
        "event duplicated", "surplus", "late surplus", "ghost", "no_capacity", "crash_daemon", "stall_daemon",
        "drain_daemon", "kill_worker", "break_task",
    }  # fmt: skip
    assert set(sometimes) >= {
        "QUEUED->LAUNCHING", "LAUNCHING->RUNNING", "LAUNCHING->QUEUED", "LAUNCHING->FAILED", "RUNNING->SUCCEEDED",
        "RUNNING->FAILED", "RUNNING->CANCELLED", "RUNNING->QUEUED", "QUEUED->CANCELLED", "cancel acknowledged", "StopTask",
    }  # fmt: skip


@pytest.mark.parametrize("phase", Phase)
def test_a_crash_at_any_moment_harms_nothing(phase: Phase) -> None:
    calls = crash_points.play(1).calls
    crashed = 0
    for index in range(0, calls, CRASH_EVERY):
        crashed += crash_points.play(1, (CrashAt(index, phase),)).injected[f"crash {phase}"]
    assert crashed >= calls // CRASH_EVERY - 1


@pytest.mark.parametrize("name", QUICK_MUTANTS)
def test_a_safeguard_that_is_taken_away_is_missed(name: str) -> None:
    mutant = next(each for each in MUTANTS if each.name == name)
    assert first_seed_that_notices(mutant, range(QUICK_MUTANTS[name])) is not None
