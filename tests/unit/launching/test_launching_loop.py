"""The launching loop over stateful fakes: replies lost, crashes, throttles, replicas, cancels."""

import asyncio
from datetime import timedelta

import pytest

from dagy_control.errors import Transient
from dagy_control.kernel.drain import Drain
from dagy_control.launching.admission import AdmissionLimits
from dagy_control.launching.decide import LaunchPolicy
from dagy_control.model.launch_failure import LaunchFailureKind
from dagy_control.model.lifecycle import Refused, claim_attempt
from dagy_control.model.runs import FailureClass, Run, RunStatus, launch_token
from tests.builders import ARN, NOW, OTHER_ARN, a_run, launching, refusal, target, task_of, tick_at
from tests.launch_bed import LaunchBed

LOST = Transient("the reply was lost")


async def test_a_queued_run_becomes_exactly_one_running_task() -> None:
    world = LaunchBed(a_run())
    await world.ticks(3)
    (task,) = world.tasks.tasks.values()
    assert (world.run.status, world.run.external_id) == (RunStatus.RUNNING, task.arn)
    assert world.tokens == [launch_token("r1", 1, 1)]
    assert [step.to_status for step in world.run.transitions] == ["LAUNCHING", "RUNNING"]


async def test_the_intent_is_on_record_before_ecs_is_called() -> None:
    world = LaunchBed(a_run())
    seen: list[tuple[RunStatus, str | None]] = []
    world.tasks.while_sending = lambda _arn: seen.append((world.run.status, world.run.launch_token))
    await world.tick()
    assert seen == [(RunStatus.LAUNCHING, launch_token("r1", 1, 1))]


async def test_a_launch_whose_reply_was_lost_is_replayed_with_the_same_token_and_makes_no_second_task() -> None:
    world = LaunchBed(a_run())
    world.tasks.next_error("run_task", LOST, applied=True)
    with pytest.raises(Transient):
        await world.tick()
    assert world.run.status is RunStatus.LAUNCHING
    await world.clock.advance(60)
    await world.tick()
    assert world.tasks.requests[0] == world.tasks.requests[1]
    assert list(world.tasks.tasks) == [world.run.external_id]
    assert world.run.status is RunStatus.RUNNING


async def test_a_crash_between_claim_and_run_task_is_made_good_by_the_next_process() -> None:
    world = LaunchBed(a_run())
    world.tasks.next_error("run_task", asyncio.CancelledError())  # type: ignore[arg-type]  # the process ends right here
    with pytest.raises(asyncio.CancelledError):
        await world.tick()
    assert world.run.status is RunStatus.LAUNCHING
    assert not world.tasks.tasks
    world.restarted()
    await world.ticks(2)
    assert world.tokens == [launch_token("r1", 1, 1)]
    assert world.run.status is RunStatus.RUNNING


async def test_a_crash_between_run_task_and_its_record_is_made_good_by_the_next_process() -> None:
    world = LaunchBed(a_run())
    world.tasks.next_error("run_task", asyncio.CancelledError(), applied=True)  # type: ignore[arg-type]  # likewise
    with pytest.raises(asyncio.CancelledError):
        await world.tick()
    world.restarted()
    await world.ticks(2)
    assert list(world.tasks.tasks) == [world.run.external_id]


async def test_a_replay_sends_the_recorded_request_even_when_the_configuration_has_changed() -> None:
    world = LaunchBed(a_run())
    world.tasks.next_error("run_task", LOST, applied=True)
    with pytest.raises(Transient):
        await world.tick()
    world.policy = LaunchPolicy(target=target(task_definition="dagy-worker:99"))
    world.restarted()
    await world.ticks(2)
    assert [request["taskDefinition"] for request in world.tasks.requests] == ["dagy-worker:3"] * 2
    assert world.run.status is RunStatus.RUNNING


async def test_throttling_never_fails_a_run() -> None:
    world = LaunchBed(a_run())
    for _ in range(50):
        world.tasks.next_failure(refusal(LaunchFailureKind.THROTTLED, retry_after_s=2.0))
    await world.ticks(51)
    assert world.run.status is RunStatus.RUNNING
    assert world.run.launch_try == 1
    assert set(world.tokens) == {launch_token("r1", 1, 1)}
    assert len(world.tasks.tasks) == 1


@pytest.mark.parametrize(
    "kind", [LaunchFailureKind.THROTTLED, LaunchFailureKind.RETRYABLE, LaunchFailureKind.PERMANENT]
)
async def test_runs_that_ecs_refused_take_nobodys_place_until_the_next_census(kind: LaunchFailureKind) -> None:
    limits = AdmissionLimits(max_concurrent_tasks=2)
    world = LaunchBed(*(a_run(run_id=f"r{number}") for number in range(4)), limits=limits, census_interval_s=3600)
    for _ in range(2):
        world.tasks.next_failure(refusal(kind, retry_after_s=1.0))
    await world.ticks(6)
    assert sum(run.status is RunStatus.RUNNING for run in world.runs.records.values()) == 2


async def test_a_capacity_failure_takes_a_new_token_and_moves_spot_to_on_demand() -> None:
    world = LaunchBed(a_run(), where={"provider_weights": {"FARGATE_SPOT": 1}})
    for _ in range(2):
        world.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE))
    await world.ticks(3)
    assert world.tokens == [launch_token("r1", 1, number) for number in (1, 2, 3)]
    assert world.tasks.reserved == {"FARGATE_SPOT": 2, "FARGATE": 1}
    assert world.run.capacity_provider == "FARGATE"


async def test_other_failures_of_a_launch_do_not_move_spot_to_on_demand() -> None:
    bed = LaunchBed(a_run(), where={"provider_weights": {"FARGATE_SPOT": 1}})
    bed.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE, FailureClass.IMAGE_PULL))
    bed.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE, FailureClass.INFRASTRUCTURE))
    await bed.ticks(3)
    assert bed.tasks.reserved == {"FARGATE_SPOT": 3}
    assert [step.failure_class for step in bed.run.transitions if step.to_status == "QUEUED"] == [
        FailureClass.IMAGE_PULL,
        FailureClass.INFRASTRUCTURE,
    ]


async def test_a_throttle_is_no_shortage() -> None:
    bed = LaunchBed(a_run(), where={"provider_weights": {"FARGATE_SPOT": 1}})
    for _ in range(5):
        bed.tasks.next_failure(refusal(LaunchFailureKind.THROTTLED))
    await bed.ticks(6)
    assert bed.tasks.reserved == {"FARGATE_SPOT": 6}


async def test_launch_tries_end() -> None:
    world = LaunchBed(a_run())
    for _ in range(9):
        world.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE))
    await world.ticks(9)
    assert (world.run.status, world.run.failure_class, len(world.tokens)) == (
        RunStatus.FAILED,
        FailureClass.CAPACITY,
        3,
    )


@pytest.mark.parametrize("kind", LaunchFailureKind)
async def test_a_failure_of_one_send_after_an_unanswered_send_is_not_definite(kind: LaunchFailureKind) -> None:
    world = LaunchBed(a_run())
    world.tasks.next_error("run_task", LOST)
    with pytest.raises(Transient):
        await world.tick()
    await world.clock.advance(60)
    world.tasks.next_failure(refusal(kind))
    await world.tick()
    assert (world.run.status, world.run.launch_try, world.run.launch_sends) == (RunStatus.LAUNCHING, 1, 2)
    await world.clock.advance(60)
    await world.tick()
    assert world.run.status is RunStatus.RUNNING


@pytest.mark.parametrize(
    ("remembers_failures", "failures", "tries"),
    [
        pytest.param(True, 1, [1, 1, 2], id="the token remembers its failure"),
        pytest.param(False, 2, [1, 1, 2], id="the token is tried again, in vain"),
        pytest.param(False, 1, [1, 1], id="the token is tried again, and there is capacity"),
    ],
)
@pytest.mark.parametrize(
    "end_of_the_call", [LOST, asyncio.CancelledError()], ids=["the reply is lost", "the daemon dies"]
)
async def test_a_capacity_failure_that_nobody_recorded_costs_one_replay_and_not_the_tokens_life(
    end_of_the_call: BaseException, *, remembers_failures: bool, failures: int, tries: list[int]
) -> None:
    world = LaunchBed(a_run())
    world.tasks.remembers_failures = remembers_failures
    for _ in range(failures):
        world.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE, settles_token=True))
    world.tasks.next_error("run_task", end_of_the_call, applied=True)  # type: ignore[arg-type]  # the process may end here
    with pytest.raises(type(end_of_the_call)):
        await world.tick()
    assert world.run.status is RunStatus.LAUNCHING
    world.restarted()
    await world.ticks(3)
    assert world.run.status is RunStatus.RUNNING
    assert world.tokens == [launch_token("r1", 1, number) for number in tries]
    assert list(world.tasks.tasks) == [world.run.external_id]


async def test_a_task_of_a_first_send_that_arrives_after_the_replays_failure_is_refused_by_its_claim() -> None:
    world = LaunchBed(launching(sent_s_ago=60, launch_request='{"clientToken": "t", "cluster": "main"}'))
    world.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE, settles_token=True))
    await world.tick()
    assert (world.run.status, world.run.launch_try) == (RunStatus.QUEUED, 2)
    between_the_tries = claim_attempt(world.run, attempt=1, task_arn=OTHER_ARN, now=world.clock.now())
    await world.clock.advance(60)
    await world.tick()
    beside_the_next_try = claim_attempt(world.run, attempt=1, task_arn=OTHER_ARN, now=world.clock.now())
    assert isinstance(between_the_tries, Refused)
    assert isinstance(beside_the_next_try, Refused)
    assert (world.run.status, world.run.external_id) == (RunStatus.RUNNING, *world.tasks.tasks)


async def test_a_request_that_ecs_would_refuse_for_its_form_fails_its_run_without_a_call() -> None:
    world = LaunchBed(a_run(environment={"A": "x" * 9_000}))
    await world.tick()
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.LAUNCH_CONFIGURATION)
    assert not world.tasks.requests


# Others who write at the same moment.


async def test_a_worker_that_claims_before_the_daemon_records_it_is_a_success_of_both() -> None:
    world = LaunchBed(a_run())
    world.tasks.while_sending = lambda arn: world.write(
        claim_attempt(world.run, attempt=1, task_arn=arn, now=world.clock.now())
    )
    await world.tick()
    assert (world.run.status, world.run.external_id) == (RunStatus.RUNNING, *world.tasks.tasks)
    assert world.run.started_at is not None
    assert not world.tasks.stops


async def test_a_surplus_task_is_not_recorded_over_the_one_that_claimed() -> None:
    world = LaunchBed(a_run())
    world.tasks.while_sending = lambda _arn: world.write(
        claim_attempt(world.run, attempt=1, task_arn=OTHER_ARN, now=world.clock.now())
    )
    await world.tick()
    assert world.run.external_id == OTHER_ARN
    assert not world.tasks.stops


async def test_a_cancel_recorded_while_run_task_is_under_way_keeps_the_task_on_record_to_be_stopped() -> None:
    world = LaunchBed(a_run())
    world.tasks.while_sending = lambda _arn: world.cancel()
    await world.tick()
    assert (world.run.status, world.run.external_id) == (RunStatus.RUNNING, *world.tasks.tasks)
    assert world.run.cancel_requested_at is not None


@pytest.mark.parametrize("kind", LaunchFailureKind)
async def test_a_cancel_recorded_while_a_refused_run_task_is_under_way_ends_the_run_at_once(
    kind: LaunchFailureKind,
) -> None:
    world = LaunchBed(a_run())
    world.tasks.while_sending = lambda _arn: world.cancel()
    world.tasks.next_failure(refusal(kind))
    await world.tick()
    assert world.run.status is RunStatus.CANCELLED


async def test_a_refusal_is_not_definite_for_a_send_that_another_replica_has_made_meanwhile() -> None:
    world = LaunchBed(a_run())

    def other_replica_sends(_arn: str) -> None:
        world.runs.seed(launching(run_id="r1", version=world.run.version + 1, sent_s_ago=-1))

    world.tasks.while_sending = other_replica_sends
    world.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE))
    await world.tick()
    assert (world.run.status, world.run.launch_try) == (RunStatus.LAUNCHING, 1)


async def test_two_replicas_at_the_same_moment_make_one_task() -> None:
    world = LaunchBed(*(a_run(run_id=f"run-{number}") for number in range(20)))
    first, second = world.loop, world.restarted()
    tick = tick_at(world.clock)
    await world.clock.run(asyncio.gather(first.tick(tick), second.tick(tick)))
    assert len(world.tasks.tasks) == 20
    assert {run.external_id for run in world.runs.records.values()} == set(world.tasks.tasks)


async def test_a_stale_page_of_the_queue_launches_nothing_again() -> None:
    world = LaunchBed(a_run())
    world.runs.freeze_index()
    await world.ticks(5)
    assert len(world.tokens) == 1
    assert world.run.status is RunStatus.RUNNING


async def test_a_stale_page_from_before_a_failure_does_not_cut_short_the_wait_that_the_failure_has_led_to() -> None:
    world = LaunchBed(a_run())
    world.runs.freeze_index()
    world.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE))
    await world.tick()
    waits_until = world.run.not_before
    await world.ticks(5, every_s=1)
    assert waits_until is not None
    assert world.clock.now() < waits_until
    assert (world.run.status, len(world.tokens)) == (RunStatus.QUEUED, 1)
    await world.ticks(2, every_s=60)
    assert world.run.status is RunStatus.RUNNING


# Launches found again after the token's life, or cancelled.


async def test_a_tokens_age_is_checked_after_the_limiter() -> None:
    world = LaunchBed(launching(sent_s_ago=3200, launch_request="{}"))
    world.tasks.limiter_wait_s = 200
    await world.tick()
    assert world.tasks.reserved == {"FARGATE": 1}
    assert not world.tasks.requests
    assert world.run.launch_sends == 1


async def test_a_record_without_cluster_is_looked_for_where_we_launch_and_not_left_for_ever() -> None:
    run = launching(sent_s_ago=4000, cluster=None)
    found, given_up = LaunchBed(run), LaunchBed(run)
    found.tasks.add(task_of(run))
    for world in (found, given_up):
        await world.tick()
    assert (found.run.status, found.run.external_id) == (RunStatus.RUNNING, ARN)
    assert (given_up.run.status, given_up.run.launch_try) == (RunStatus.QUEUED, 2)


async def test_after_the_tokens_life_a_task_is_adopted_by_its_started_by() -> None:
    world = LaunchBed(launching(sent_s_ago=4000))
    world.tasks.add(task_of(launching(run_id="r2"), arn=OTHER_ARN), task_of(world.run))
    await world.tick()
    assert (world.run.status, world.run.external_id) == (RunStatus.RUNNING, ARN)
    assert not world.tasks.requests


async def test_after_the_tokens_life_a_launch_without_a_task_goes_to_the_next_try() -> None:
    world = LaunchBed(launching(sent_s_ago=4000))
    await world.ticks(3)
    assert world.tokens == [launch_token("r1", 1, 2)]
    assert world.run.status is RunStatus.RUNNING


async def test_a_failed_listing_gives_no_launch_up() -> None:
    world = LaunchBed(launching(sent_s_ago=4000))
    world.tasks.next_error("list_running", Transient("throttled", throttled=True))
    with pytest.raises(Transient):
        await world.tick()
    assert world.run.status is RunStatus.LAUNCHING


async def test_a_cancelled_launch_is_never_replayed_and_ends_when_no_task_appears() -> None:
    world = LaunchBed(launching(sent_s_ago=60, launch_request="{}"))
    world.cancel()
    await world.ticks(9)
    assert world.run.status is RunStatus.LAUNCHING  # a task may still appear
    await world.ticks(2)
    assert world.run.status is RunStatus.CANCELLED
    assert not world.tasks.requests


async def test_a_cancelled_launch_whose_task_appears_is_recorded_for_reconciling_to_stop() -> None:
    world = LaunchBed(launching(sent_s_ago=60))
    world.cancel()
    world.tasks.add(task_of(world.run))
    await world.tick()
    assert (world.run.status, world.run.external_id) == (RunStatus.RUNNING, ARN)
    assert world.run.cancel_requested_at is not None


# The tick as a whole.


async def test_one_runs_error_does_not_halt_the_others() -> None:
    world = LaunchBed(a_run(), *(a_run(run_id=f"run-{number}") for number in range(5)))
    world.tasks.next_error("run_task", LOST)
    await world.tick()
    statuses = sorted(run.status for run in world.runs.records.values())
    assert statuses == [RunStatus.LAUNCHING, *[RunStatus.RUNNING] * 5]


async def test_a_launch_whose_reply_was_lost_counts_against_the_limit_at_once() -> None:
    world = LaunchBed(
        *(a_run(run_id=f"run-{number}") for number in range(4)), limits=AdmissionLimits(max_concurrent_tasks=2)
    )
    world.tasks.next_error("run_task", LOST, applied=True, times=2)
    with pytest.raises(Transient):
        await world.tick()
    await world.tick()
    assert len(world.tasks.tasks) == 2


async def test_once_the_drain_begins_nothing_new_is_claimed_not_even_by_who_waits_for_the_limiter() -> None:
    world = LaunchBed(a_run())
    world.tasks.limiter_wait_s = 5
    drain = Drain()
    tick = asyncio.ensure_future(world.loop.tick(tick_at(world.clock, drain)))  # noqa: TID251 - awaited below
    await world.clock.advance(1)
    drain.begin()
    await world.clock.advance(0)
    assert tick.done(), "the wait for the limiter may be longer than the drain"
    await tick
    assert world.run.status is RunStatus.QUEUED
    assert not world.tasks.requests


@pytest.mark.parametrize(
    ("runs", "failures", "wait_s"),
    [
        pytest.param(2, 0, None, id="a pass that takes all"),
        pytest.param(3, 0, 0.0, id="one that leaves runs behind"),
        pytest.param(3, 1, 0.0, id="one of which a part gets through"),
        pytest.param(3, 2, None, id="one of which nothing gets through"),
    ],
)
async def test_a_pass_that_leaves_runs_behind_is_followed_by_the_next_at_once(
    runs: int, failures: int, wait_s: float | None
) -> None:
    world = LaunchBed(*(a_run(run_id=f"run-{n}") for n in range(runs)), limits=AdmissionLimits(max_admitted=2))
    for _ in range(failures):
        world.tasks.next_failure(refusal(LaunchFailureKind.THROTTLED, retry_after_s=5.0))
    assert await world.clock.run(world.loop.tick(tick_at(world.clock))) == wait_s


@pytest.mark.parametrize(
    ("runs", "wait_s"),
    [
        pytest.param((), 2.0, id="nothing to do"),
        pytest.param((a_run(not_before=NOW + timedelta(minutes=1)),), None, id="a run that waits for its time"),
        pytest.param((launching(),), None, id="a launch without an answer"),
    ],
)
async def test_only_an_empty_queue_is_looked_at_less_often(runs: tuple[Run, ...], wait_s: float | None) -> None:
    world = LaunchBed(*runs, idle_interval_s=2.0)
    assert await world.clock.run(world.loop.tick(tick_at(world.clock))) == wait_s
