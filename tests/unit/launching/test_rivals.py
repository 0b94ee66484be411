"""What other schedulers get wrong when they launch on ECS, one scenario each, named for the failure. `docs/rivals.md` is the list."""

import asyncio

import pytest

from dagy_control.errors import DagyError, Transient
from dagy_control.kernel.limiter import Bucket, Limiter, Priority
from dagy_control.model.launch_failure import LaunchFailureKind
from dagy_control.model.runs import FailureClass, RunStatus, launch_token
from tests.both_loops import BothLoops
from tests.builders import NOW, a_run, launching, refusal, task_of, tick_at
from tests.fakes.clock import VirtualClock
from tests.launch_bed import LaunchBed

LOST = Transient("the reply was lost")
START_TIMEOUT_S = 900
SPOT_ONLY = {"provider_weights": {"FARGATE_SPOT": 1}}


# A controller that crashes.


@pytest.mark.parametrize("applied", [False, True], ids=["before ECS heard", "after ECS heard"])
@pytest.mark.parametrize("end_of_the_call", [LOST, asyncio.CancelledError()], ids=["a lost reply", "a crash"])
async def test_a_crash_around_run_task_leaves_neither_a_run_pending_for_ever_nor_a_task_that_nobody_knows(
    end_of_the_call: BaseException, *, applied: bool
) -> None:
    bed = LaunchBed(a_run())
    bed.tasks.next_error("run_task", end_of_the_call, applied=applied)  # type: ignore[arg-type]  # the process may end here
    with pytest.raises(type(end_of_the_call)):
        await bed.tick()
    bed.restarted()
    await bed.ticks(3)
    assert bed.run.status is RunStatus.RUNNING
    assert [bed.run.external_id] == list(bed.tasks.tasks)


async def test_a_restarted_controller_sends_the_same_token_and_not_a_new_one_for_each_try() -> None:
    bed = LaunchBed(a_run())
    for _ in range(4):
        bed.tasks.next_error("run_task", LOST, applied=True)
        with pytest.raises(DagyError):
            await bed.tick()
        bed.restarted()
        await bed.clock.advance(60)
    await bed.tick()
    assert set(bed.tokens) == {launch_token("r1", 1, 1)}
    assert len(bed.tasks.tasks) == 1


async def test_a_task_whose_arn_was_never_recorded_is_adopted_and_not_started_again() -> None:
    bed = LaunchBed(launching(sent_s_ago=4000))
    bed.tasks.add(task_of(bed.run))
    await bed.ticks(2)
    assert (bed.run.status, [bed.run.external_id]) == (RunStatus.RUNNING, list(bed.tasks.tasks))
    assert not bed.tasks.requests


async def test_a_launch_that_ecs_does_not_show_yet_is_not_started_again() -> None:
    bed = LaunchBed(launching(sent_s_ago=500, claimed_s_ago=3400))
    await bed.tick()
    assert (bed.run.status, bed.run.launch_try) == (RunStatus.LAUNCHING, 1)
    assert not bed.tasks.requests


async def test_two_controllers_at_once_do_not_execute_a_run_twice() -> None:
    bed = LaunchBed(*(a_run(run_id=f"run-{number:02}") for number in range(50)))
    first, second = bed.loop, bed.restarted()
    tick = tick_at(bed.clock)
    await bed.clock.run(asyncio.gather(first.tick(tick), second.tick(tick)))
    assert len(bed.tasks.requests) == len(bed.tasks.tasks) == 50


# Throttling.


async def test_minutes_of_throttling_fail_no_run_and_use_up_no_try() -> None:
    bed = LaunchBed(a_run())
    for _ in range(60):
        bed.tasks.next_failure(refusal(LaunchFailureKind.THROTTLED, retry_after_s=5.0))
    await bed.ticks(61, every_s=10)
    assert (bed.run.status, bed.run.launch_try, set(bed.tokens)) == (RunStatus.RUNNING, 1, {launch_token("r1", 1, 1)})


async def test_runs_refused_together_do_not_come_back_together() -> None:
    bed = LaunchBed(*(a_run(run_id=f"run-{number:02}") for number in range(20)))
    for _ in range(20):
        bed.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE))
    await bed.tick()
    waits = {run.not_before - NOW for run in bed.runs.records.values() if run.not_before}
    assert len(waits) == 20


async def test_launching_and_stopping_share_the_budget_that_they_share_at_aws() -> None:
    clock = VirtualClock()
    limiter = Limiter(clock)
    for _ in range(18):
        await limiter.acquire((Bucket.ECS_MODIFY, Bucket.RUN_TASK), Priority.LAUNCH)
    before = limiter.level(Bucket.ECS_MODIFY)
    await limiter.acquire((Bucket.ECS_MODIFY,), Priority.LAUNCH)
    assert (before, limiter.level(Bucket.ECS_MODIFY)) == (90 - 18, 90 - 19)


# One slow launch.


async def test_launches_do_not_wait_for_each_other() -> None:
    bed = LaunchBed(*(a_run(run_id=f"run-{number:02}") for number in range(30)))
    bed.tasks.limiter_wait_s = 10
    began = bed.clock.monotonic()
    await bed.tick()
    assert len(bed.tasks.tasks) == 30
    assert bed.clock.monotonic() - began == 10


# Capacity and failure classes: the stories.


async def test_a_spot_reclaim_without_an_exit_code_is_tried_again_at_no_cost_to_the_user() -> None:
    bed = BothLoops(a_run(max_attempts=1), **SPOT_ONLY)
    await bed.run_and_end(None, stop_code="SpotInterruption", stopped_reason="Your Spot Task was interrupted.")
    await bed.tick()
    assert bed.story == [
        ("LAUNCHING", "launch try 1 on FARGATE_SPOT"),
        ("RUNNING", "RunTask answered"),
        ("QUEUED", "SPOT_INTERRUPTED"),
        ("LAUNCHING", "launch try 1 on FARGATE_SPOT"),
        ("RUNNING", "RunTask answered"),
    ]
    assert (bed.run.attempt, bed.run.infra_failures, bed.run.user_failures) == (2, 1, 0)


async def test_a_shortage_of_spot_moves_a_run_to_on_demand_whether_refused_at_once_or_later() -> None:
    bed = BothLoops(a_run(), **SPOT_ONLY)
    bed.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE, settles_token=True))
    await bed.tick()
    await bed.until_due()
    await bed.tick()
    arn = bed.run.external_id or ""
    reason = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
    bed.tasks.finish(arn, exit_code=None, containers=(), stop_code="TaskFailedToStart", stopped_reason=reason)
    await bed.reconcile()
    await bed.tick()
    assert bed.story == [
        ("LAUNCHING", "launch try 1 on FARGATE_SPOT"),
        ("QUEUED", "CAPACITY"),
        ("LAUNCHING", "launch try 2 on FARGATE_SPOT"),
        ("RUNNING", "RunTask answered"),
        ("QUEUED", "CAPACITY"),
        ("LAUNCHING", "launch try 1 on FARGATE"),
        ("RUNNING", "RunTask answered"),
    ]


async def test_out_of_memory_is_told_from_a_failure_and_goes_on_with_the_next_profile_until_the_largest() -> None:
    bed = BothLoops(a_run(workload_profile="small", cpu=256, memory=512))
    sizes = []
    for _ in range(3):
        await bed.run_and_end(137, reason="OutOfMemoryError: Container killed due to memory usage")
        sizes.append((bed.run.workload_profile, bed.run.cpu, bed.run.memory))
    assert sizes == [("medium", 1024, 2048), ("large", 2048, 4096), ("large", 2048, 4096)]
    assert [request["overrides"]["memory"] for request in bed.tasks.requests] == ["512", "2048", "4096"]
    assert bed.story[-1] == ("FAILED", "OUT_OF_MEMORY")
    assert [step.why.rpartition("; ")[2] for step in bed.run.transitions if step.to_status == "QUEUED"] == [
        "next attempt with medium: 1024 CPU / 2048 MiB",
        "next attempt with large: 2048 CPU / 4096 MiB",
    ]


async def test_a_task_that_never_starts_is_stopped_every_time_and_at_last_fails_its_run_with_the_class() -> None:
    bed = BothLoops(a_run(max_attempts=1))
    for _ in range(1 + bed.retry.max_infra_failures):
        await bed.tick()
        arn = bed.run.external_id or ""
        await bed.clock.advance(START_TIMEOUT_S - 31)
        await bed.reconcile()
        assert arn not in dict(bed.tasks.stops), "it may still start"
        await bed.reconcile()
        assert arn in dict(bed.tasks.stops)
        bed.tasks.finish(arn, exit_code=None, containers=(), stop_code="UserInitiated")
        await bed.reconcile()
    launched = [("LAUNCHING", "launch try 1 on FARGATE"), ("RUNNING", "RunTask answered")]
    assert bed.story == [*[*launched, ("QUEUED", "START_TIMEOUT")] * 3, *launched, ("FAILED", "START_TIMEOUT")]
    assert (bed.run.failure_class, bed.run.user_failures, len(bed.tasks.stops)) == (FailureClass.START_TIMEOUT, 0, 4)


async def test_a_failure_of_the_users_own_is_not_retried_as_infrastructure() -> None:
    bed = BothLoops(a_run(max_attempts=1))
    await bed.run_and_end(1)
    assert bed.story[-1] == ("FAILED", "USER_ERROR")
