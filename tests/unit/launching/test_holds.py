"""What held a run back is told when it is claimed, from the memory of the process that claims it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from dagy_control.launching.admission import AdmissionLimits
from dagy_control.launching.breaker import BreakerPolicy
from dagy_control.launching.holds import API_BUDGET, Holds
from dagy_control.model.launch_failure import LaunchCause, LaunchFailureKind
from dagy_control.model.runs import Run, RunStatus
from tests.builders import NOW, a_run, refusal, running
from tests.launch_bed import LaunchBed

TICK_S = 10


def another(**values: Any) -> Run:
    return running(run_id="another", **values)


def launched(bed: LaunchBed) -> str:
    """Why, as the claim of the run that waits tells it."""
    (why,) = [step.why for step in bed.run.transitions if step.to_status == "LAUNCHING"]
    return why


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        pytest.param({"max_concurrent_tasks": 1}, "; held back 30.0 s by no_room", id="the cluster is full"),
        pytest.param({"max_per_org": 1}, "; held back 30.0 s by org_limit", id="its organisation's limit"),
        pytest.param({"max_per_flow": 1}, "; held back 30.0 s by flow_limit", id="its flow's limit"),
        pytest.param({}, "", id="nothing"),
    ],
)
async def test_a_claim_tells_for_how_long_which_limit_held_its_run_back(limits: Mapping[str, int], told: str) -> None:
    bed = LaunchBed(a_run(), another(), limits=AdmissionLimits(**limits))
    await bed.ticks(3, every_s=TICK_S)
    bed.runs.records.pop("another")
    await bed.tick()
    assert bed.run.status is RunStatus.RUNNING
    assert launched(bed) == "launch try 1 on FARGATE" + told


async def test_a_delay_is_told_and_then_what_came_after_it() -> None:
    full = AdmissionLimits(max_concurrent_tasks=1)
    bed = LaunchBed(a_run(not_before=NOW + timedelta(seconds=20)), another(), limits=full)
    await bed.ticks(5, every_s=TICK_S)
    bed.runs.records.pop("another")
    await bed.tick()
    assert launched(bed).endswith("; held back 30.0 s by no_room, 20.0 s by not_yet")


async def test_an_open_breaker_is_told() -> None:
    urgent = [a_run(run_id=f"urgent-{number}", priority=9) for number in range(2)]
    policy = BreakerPolicy(refusals=2, probe_delay_s=25)
    bed = LaunchBed(a_run(), *urgent, breaker=policy, limits=AdmissionLimits(max_admitted=2))
    for _ in urgent:
        bed.tasks.next_failure(refusal(LaunchFailureKind.PERMANENT, cause=LaunchCause.CLUSTER))
    await bed.ticks(4, every_s=TICK_S)
    assert launched(bed).endswith("; held back 20.0 s by breaker_open, 10.0 s by next_tick")


async def test_a_wait_for_the_budget_of_calls_is_told() -> None:
    bed = LaunchBed(a_run())
    bed.tasks.limiter_wait_s = 7
    await bed.tick()
    assert launched(bed).endswith(f"; held back 7.0 s by {API_BUDGET}")


async def test_what_another_process_has_seen_is_not_told() -> None:
    bed = LaunchBed(a_run(), another(), limits=AdmissionLimits(max_concurrent_tasks=1))
    await bed.ticks(3, every_s=TICK_S)
    bed.restarted()
    await bed.ticks(1, every_s=TICK_S)
    bed.runs.records.pop("another")
    await bed.tick()
    assert launched(bed).endswith("; held back 10.0 s by no_room")


def test_only_runs_that_wait_are_remembered_and_each_wait_is_a_story_of_its_own() -> None:
    holds = Holds()
    holds.seen({"r1": "no_room", "r2": "no_room"}, NOW)
    holds.seen({"r1": "no_room"}, NOW + timedelta(seconds=5))
    assert holds.ended("r2", NOW + timedelta(seconds=60)) == ""
    assert holds.ended("r1", NOW + timedelta(seconds=60)) == "60.0 s by no_room"
    holds.seen({"r1": "org_limit"}, NOW + timedelta(seconds=61))
    assert holds.ended("r1", NOW + timedelta(seconds=64)) == "3.0 s by org_limit"


def test_a_reason_that_comes_again_is_added_up_and_a_moment_is_not_worth_a_word() -> None:
    holds = Holds()
    for second, reason in ((0, "no_room"), (10, "next_tick"), (10.5, "no_room"), (20, "org_limit")):
        holds.seen({"r1": reason}, NOW + timedelta(seconds=second))
    assert holds.ended("r1", NOW + timedelta(seconds=22)) == "19.5 s by no_room, 2.0 s by org_limit"
