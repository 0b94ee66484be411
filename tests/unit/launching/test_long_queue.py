"""Fairness between organisations when the queue is longer than a tick reads."""

from typing import Any

import pytest

from dagy_control.launching.admission import AdmissionLimits
from dagy_control.launching.sample import QueueSample
from dagy_control.model.runs import Run, RunStatus
from tests.builders import NOW, a_run, ago
from tests.launch_bed import LaunchBed

LAUNCHES_PER_TICK = 20
"""What AWS's buckets let through in a tick of a second."""


def burst(count: int, org: str = "burst") -> list[Run]:
    """So many runs of one organisation, the first of them queued nearly six hours ago."""
    return [
        a_run(run_id=f"{org}-{number:05}", org_id=org, active_since=ago(20_000 - number), version=1)
        for number in range(count)
    ]


def a_bed(*runs: Run, **policy: Any) -> LaunchBed:
    bed = LaunchBed(
        *runs,
        **policy,
        limits=AdmissionLimits(max_concurrent_tasks=100_000, max_admitted=LAUNCHES_PER_TICK),
        max_in_flight=LAUNCHES_PER_TICK,
    )
    bed.runs.page_size = 1000
    return bed


def started(bed: LaunchBed) -> list[str]:
    """The runs in the order in which they were sent to ECS."""
    return [str(request["startedBy"]).split("/")[1] for request in bed.tasks.requests]


async def test_a_burst_of_20_000_runs_never_delays_anothers_first_run_by_more_than_its_share() -> None:
    bed = a_bed(*burst(20_000), a_run(run_id="late", org_id="other", active_since=NOW))
    await bed.tick()
    assert started(bed).index("late") <= 1, "two organisations without active runs take turns"


async def test_a_run_queued_behind_a_burst_under_way_is_known_within_the_census_interval() -> None:
    bed = a_bed(*burst(5_000))
    await bed.ticks(3, every_s=1)
    bed.runs.seed(a_run(run_id="late", org_id="other", active_since=bed.clock.now(), version=1))
    launched_before, since = len(started(bed)), bed.clock.monotonic()
    while bed.runs.records["late"].status is RunStatus.QUEUED:
        await bed.ticks(1, every_s=1)
    between = started(bed).index("late") - launched_before
    assert bed.clock.monotonic() - since <= bed.policy.census_interval_s + 1
    assert between <= LAUNCHES_PER_TICK * bed.policy.census_interval_s


async def test_many_small_organisations_behind_a_burst_all_get_their_turn_at_once() -> None:
    small = [a_run(run_id=f"small-{n:02}", org_id=f"org-{n:02}", active_since=NOW, version=1) for n in range(15)]
    bed = a_bed(*burst(5_000), *small)
    await bed.tick()
    assert {run.run_id for run in small} < set(started(bed))


async def test_an_urgent_run_at_the_end_of_its_organisations_own_burst_goes_first() -> None:
    bed = a_bed(*burst(5_000), a_run(run_id="urgent", org_id="burst", active_since=NOW, priority=9, version=1))
    await bed.tick()
    assert started(bed)[0] == "urgent"


async def test_every_run_of_a_long_queue_is_launched_once() -> None:
    bed = a_bed(*burst(600), queue_page_limit=5)
    await bed.ticks(600 // LAUNCHES_PER_TICK, every_s=1)
    assert len(set(started(bed))) == len(started(bed)) == 600
    assert bed.metrics.get_sample_value("dagy_launches_total", {"result": "stale"}) == 0


@pytest.mark.parametrize(("count", "read_whole"), [(4, 0), (600, 3)])
async def test_a_long_queue_is_read_whole_once_per_census_interval_and_a_short_one_never(
    count: int, read_whole: int
) -> None:
    bed = a_bed(*burst(count), queue_page_limit=5)
    await bed.ticks(21, every_s=1)
    census = 3 * 2
    assert bed.runs.calls.count("active") == 16 * (21 + census + read_whole)


async def test_without_room_a_long_queue_is_not_read_whole() -> None:
    bed = a_bed(*burst(5_000))
    bed.loop.policy = bed.policy.__class__(
        target=bed.policy.target, limits=AdmissionLimits(max_concurrent_tasks=0), max_in_flight=1
    )
    await bed.tick()
    assert bed.runs.calls.count("active") == 3 * 16, "LAUNCHING, RUNNING and the head of the queue"


@pytest.mark.parametrize("count", [1, 4, 5, 50])
def test_a_sample_keeps_the_first_of_each_flow(count: int) -> None:
    sample = QueueSample(2)
    runs = burst(count)
    sample.add([*runs, a_run(run_id="x", org_id="other", active_since=NOW)], due_by=NOW)
    assert {run.run_id for run in sample.runs()} == {*(run.run_id for run in runs[:2]), "x"}


def test_what_must_still_wait_takes_no_place_in_the_sample() -> None:
    sample = QueueSample(1)
    sample.add(
        [a_run(run_id="a-waits", not_before=ago(-60)), a_run(run_id="b-due", not_before=ago(-5))], due_by=ago(-10)
    )
    assert [run.run_id for run in sample.runs()] == ["b-due"]


def test_what_was_taken_up_leaves_the_sample() -> None:
    sample = QueueSample(5)
    sample.add(burst(3), due_by=NOW)
    sample.discard(frozenset({"burst-00000", "burst-00002"}))
    assert [run.run_id for run in sample.runs()] == ["burst-00001"]
