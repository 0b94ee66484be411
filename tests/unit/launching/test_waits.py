"""What the metrics say of runs that wait: how many, the oldest, how long until the launch and until the worker."""

from datetime import timedelta

from dagy_control.launching.admission import AdmissionLimits
from dagy_control.launching.waits import oldest_wait_s
from dagy_control.model.runs import Run, RunStatus
from tests.builders import NOW, a_run, ago, launching, running
from tests.launch_bed import LaunchBed


def value(bed: LaunchBed, name: str, **labels: str) -> float | None:
    return bed.metrics.get_sample_value(name, labels)


def queued(number: int, *, for_s: float) -> Run:
    return a_run(run_id=f"q{number}", active_since=ago(for_s))


async def test_runs_are_counted_by_status() -> None:
    bed = LaunchBed(
        *(queued(n, for_s=5) for n in range(3)),
        launching(run_id="l1", sent_s_ago=1),
        *(running(run_id=f"r{n}", external_id=f"arn-{n}") for n in range(2)),
        limits=AdmissionLimits(max_concurrent_tasks=1),
    )
    await bed.tick()
    counts = {status: value(bed, "dagy_runs", status=status) for status in ("QUEUED", "LAUNCHING", "RUNNING")}
    assert counts == {"QUEUED": 3, "LAUNCHING": 1, "RUNNING": 2}


async def test_a_queue_that_is_longer_than_a_tick_reads_is_counted_when_it_is_read_whole() -> None:
    bed = LaunchBed(*(queued(n, for_s=5) for n in range(50)), queue_page_limit=1, max_in_flight=1)
    bed.runs.page_size = 10
    await bed.tick()
    assert value(bed, "dagy_runs", status="QUEUED") == 50


async def test_the_oldest_wait_is_of_a_run_that_could_be_launched() -> None:
    bed = LaunchBed(
        queued(1, for_s=90),
        queued(2, for_s=30),
        a_run(run_id="later", active_since=ago(5000), not_before=NOW + timedelta(seconds=3600)),
        limits=AdmissionLimits(max_concurrent_tasks=0),
    )
    await bed.tick()
    assert value(bed, "dagy_queue_oldest_wait_seconds") == 90


def test_a_wait_before_the_next_try_is_not_the_queues() -> None:
    tried_before = a_run(active_since=ago(500), not_before=ago(20))
    assert oldest_wait_s([tried_before], NOW) == 20
    assert oldest_wait_s([], NOW) == 0


async def test_the_wait_for_a_launch_is_observed_once_for_each_claim() -> None:
    bed = LaunchBed(queued(1, for_s=42))
    await bed.ticks(2)
    assert value(bed, "dagy_queue_wait_seconds_count") == 1
    assert value(bed, "dagy_queue_wait_seconds_sum") == 42


async def test_the_start_of_a_worker_is_observed_once_and_not_for_those_that_had_begun_before_the_process() -> None:
    bed = LaunchBed(running(run_id="old", external_id="arn-old"))
    await bed.ticks(1)
    begun = bed.clock.now()
    bed.runs.seed(running(run_id="new", launch_sent_at=begun - timedelta(seconds=37), started_at=begun))
    bed.runs.seed(running(run_id="pulling", launch_sent_at=begun, started_at=None))
    await bed.ticks(3)
    assert value(bed, "dagy_launch_start_seconds_count") == 1
    assert value(bed, "dagy_launch_start_seconds_sum") == 37


async def test_a_next_attempt_of_a_run_starts_anew() -> None:
    bed = LaunchBed()
    await bed.ticks(1)
    for attempt in (1, 2):
        bed.runs.seed(running(attempt=attempt))
        await bed.ticks(1)
    assert value(bed, "dagy_launch_start_seconds_count") == 2


async def test_before_anything_is_queued_every_status_is_there_and_zero() -> None:
    bed = LaunchBed()
    await bed.tick()
    assert {value(bed, "dagy_runs", status=status) for status in (RunStatus.QUEUED, RunStatus.RUNNING)} == {0}
