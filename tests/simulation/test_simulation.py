"""The simulation in the default suite: some seeds, some crash points, and proof that it notices what it is there to notice.

Many seeds, every crash point and every mutant: `make simulate`, `make simulate-crashes`, `make simulate-mutants`.
"""

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

from tests.simulation.__main__ import Sum
from tests.simulation.crash_points import SCENES, Shot, single
from tests.simulation.faults import Phase
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutation_gate import first_seed_that_notices
from tests.simulation.noticing import EXPECTED, LIVENESS, NOTICES, of_violation
from tests.simulation.removing import BURST
from tests.simulation.scenario import STRANGERS, Report, Scenario, mixed
from tests.simulation.world import play

SEEDS = (0, 2, 3, 4, 7, 9, 10, 11, 14, 15, 18, 19, 20)
CRASH_EVERY = 53
QUICK_MUTANTS = {
    "version_condition": 6,
    "claim_checks_arn": 6,
    "deterministic_token": 8,
    "cause_before_stop": 6,
    "stopped_only": 3,
}
"""How many seeds each of these must be noticed within."""

ROOT = Path(__file__).parents[2]


@cache
def story(seed: int) -> Report:
    return play(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_seed_violates_an_invariant(seed: int) -> None:
    report = story(seed)
    assert sum(report.statuses.values()) == 24
    assert sum(report.injected.values()) >= 10
    assert report.simulated_s >= 2 * 3600


def test_no_cell_is_reached_that_is_said_not_to_be() -> None:
    total = Sum()
    for report in map(story, SEEDS):
        total.add(report)
    assert total.untruths() == []


def test_a_seed_is_a_whole_story_on_average_and_a_thinner_one_is_told() -> None:
    total = Sum()
    for report in map(story, SEEDS):
        total.add(report)
    means = total.means()
    assert means["runs"] >= 20
    assert means["organisations"] == 2
    assert means["hours"] >= 2
    assert means["faults"] >= 10
    assert not [gap for gap in total.gaps() if gap.startswith("too little happens")]
    total.organisations //= 2
    assert "too little happens: 1.0 organisations a seed on average, not 2" in total.gaps()


def test_every_two_traits_of_a_scenario_meet_within_two_hundred_seeds() -> None:
    traits = (
        "with_leases",
        "with_events",
        "shuffled",
        "with_earlier_version",
        "with_long_outage",
        "strangers",
        "replicas",
    )
    scenarios = [mixed(seed) for seed in range(200)]

    def has(scenario: Scenario, trait: str) -> bool:
        return set(STRANGERS) <= set(scenario.acts) if trait == "strangers" else bool(getattr(scenario, trait))

    for one, other in combinations(traits, 2):
        met = {(has(each, one), has(each, other)) for each in scenarios if other != "replicas"}
        assert other == "replicas" or len(met) == 4, (one, other)
        counts = {(has(each, one), each.replicas) for each in scenarios}
        assert len(counts) == 6


def test_one_seed_gives_one_trace_in_another_process_with_another_hash_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "3", "--digest"]
    digests = {
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": noise}, check=True, capture_output=True, text=True
        ).stdout
        for noise in ("1", "2")
    }
    assert len(digests) == 1
    assert digests.pop().startswith("3 ")


def test_without_any_event_polling_alone_brings_every_run_to_its_end() -> None:
    report = play(14, with_events=False)
    assert not [cell for cell in report.cells if "ReceiveMessage" in cell.row]
    assert report.statuses["SUCCEEDED"] > 0


def test_the_default_seeds_see_every_fault_and_every_kind_of_end() -> None:
    injected: Counter[str] = Counter()
    sometimes: Counter[str] = Counter()
    for report in map(story, SEEDS):
        injected += report.injected
        sometimes += report.sometimes
    assert {name for name, count in injected.items() if count} >= {
        "throttled", "error_applied", "error_not_applied", "timeout_applied", "timeout_not_applied", "stale", "denied",
        "event lost", "event duplicated", "event late, behind later ones", "surplus", "late surplus", "ghost", "neighbour",
        "strangers", "no_capacity", "crash_daemon", "stall_daemon", "stall longer than a lease", "drain_daemon",
        "kill_worker", "break_task", "crash before", "crash applied", "crash delivered",
    }  # fmt: skip
    assert set(sometimes) >= {
        "QUEUED->LAUNCHING", "LAUNCHING->RUNNING", "LAUNCHING->QUEUED", "LAUNCHING->FAILED", "RUNNING->SUCCEEDED",
        "RUNNING->FAILED", "RUNNING->CANCELLED", "RUNNING->QUEUED", "QUEUED->CANCELLED", "cancel acknowledged",
        "ended by event", "reconciled", "orphans: orphan", "Lease held",
    }  # fmt: skip


def test_an_earlier_and_the_present_version_run_side_by_side_and_replace_each_other() -> None:
    report = story(11)
    started = {line.rpartition(" ")[2] for line in report.trace if " starts, " in line}
    assert started == {"dagy_control", "dagy_control_before"}
    assert report.injected["version changed"] > 0


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_burst_is_launched_within_the_account_s_buckets(replicas: int) -> None:
    report = play(1, **{**BURST, "runs": 200, "replicas": replicas, "calm_from_s": 1200.0})
    assert sum(report.statuses.values()) == 200


def test_each_holder_of_a_lease_has_the_whole_budget_and_all_together_stay_within_it() -> None:
    hand_overs = tuple((at_s, "drain_holder") for at_s in (2.0, 4.0, 6.0, 8.0, 10.0, 12.0))
    leases = {"with_leases": True, "with_earlier_version": False, "clock_rates": (1.0,), "acts": hand_overs}
    report = play(0, **{**BURST, **leases, "runs": 150, "replicas": 2, "calm_from_s": 900.0})
    launches = [line.split()[1] for line in report.trace if "launching: RunTask" in line]
    assert len(launches) == sum(report.statuses.values()) == 150
    assert len(set(launches)) > 1, "the lease was handed over in the middle of the burst"


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("phase", Phase)
def test_a_crash_at_any_moment_harms_nothing(scene: str, phase: Phase) -> None:
    shots = [shot for shot in single(scene, 1, CRASH_EVERY) if shot.crashes[0].phase is phase]
    crashed = 0
    for shot in shots:
        reached, problem = shot.outcome()
        assert not problem
        crashed += reached[f"crash {phase}"]
    assert crashed == len(shots)


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_is_about_what_its_name_says(scene: str) -> None:
    sometimes = Shot(scene, 1).play().sometimes
    about = {
        "launching": "launched: RunTask answered",
        "reconciling": "reconciled",
        "events": "ended by event",
        "orphans": "orphan stopped: No state record for a running task",
        "cancel": "task stopped: CANCELLED",
        "retry": "RUNNING->QUEUED",
        "lease hand-over": "Lease given back",
    }
    assert sometimes[about[scene]]


@pytest.mark.parametrize("name", QUICK_MUTANTS)
def test_a_safeguard_that_is_taken_away_is_missed(name: str) -> None:
    mutant = next(each for each in MUTANTS if each.name == name)
    noticed = first_seed_that_notices(mutant, range(QUICK_MUTANTS[name]))
    assert noticed is not None
    assert noticed.rightly, noticed.violation


def test_each_mutant_names_the_invariants_that_must_notice_it() -> None:
    named = {name for names in NOTICES.values() for name in names}
    assert named == {mutant.name for mutant in MUTANTS}
    assert of_violation("invariant 13: a host goes on") == "13"
    assert of_violation("liveness: after 12600 s there are runs") == LIVENESS
    assert of_violation("expected: at most 0 runs are FAILED, not 1") == EXPECTED
