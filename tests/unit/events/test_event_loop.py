"""The event consumer over stateful fakes: durable before deleted, duplicates, races."""

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.errors import Permanent, Transient
from dagy_control.events.decide import Act, EventPolicy, Reading
from dagy_control.events.effects import ERROR, EventEffects
from dagy_control.events.loop import DeadLetterLoop, EventLoop
from dagy_control.events.metrics import EventMetrics
from dagy_control.kernel.drain import Drain
from dagy_control.model.lifecycle import commit_result, request_cancel
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunChange, RunStatus, applied
from tests.builders import (
    ARN,
    INSTALLATION,
    NOW,
    OTHER_ARN,
    WORKER,
    ago,
    launching,
    result,
    running,
    stopped,
    task_of,
    tick_at,
    writer_of,
)
from tests.fakes.clock import VirtualClock
from tests.fakes.events import FakeTaskEvents
from tests.fakes.flows import FakeResults
from tests.fakes.runs import FakeRuns


class RacedRuns(FakeRuns):
    """Another writer gets in between the consumer's read and its write."""

    raced_by: object = None

    async def change(self, change: RunChange, op_id: str) -> Run:
        if isinstance(self.raced_by, RunChange):
            other, self.raced_by = self.raced_by, None
            self.seed(applied(self.records[other.run_id], other, "somebody"))
        return await super().change(change, op_id)


class World:
    """One consumer of one queue."""

    def __init__(self, *runs: Run, with_dead_letters: bool = False) -> None:
        self.clock = VirtualClock()
        self.runs = RacedRuns(*runs)
        self.queue = FakeTaskEvents(self.clock)
        self.results = FakeResults()
        self.policy = EventPolicy(installation=INSTALLATION, container_name=WORKER)
        self.dead = FakeTaskEvents(self.clock)
        self.registry = CollectorRegistry()
        metrics = EventMetrics(self.registry)
        effects = EventEffects(
            self.runs,
            self.queue,
            self.results,
            writer_of(self.runs, self.clock),
            self.clock,
            dead_letters=self.dead if with_dead_letters else None,
        )
        self.loop = EventLoop("events-1", self.policy, effects, metrics)
        self.counting = DeadLetterLoop(self.policy, effects, metrics)

    async def tick(self, drain: Drain | None = None) -> None:
        await self.clock.run(self.loop.tick(tick_at(self.clock, drain)))

    @property
    def run(self) -> Run:
        return self.runs.records["r1"]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @property
    def is_quiet(self) -> bool:
        """Nothing is left to deliver."""
        return not self.queue.visible and not self.queue.in_flight


async def test_a_stopped_task_ends_its_run_and_the_event_is_forgotten() -> None:
    world = World(running())
    world.queue.put(stopped(world.run, 1))
    await world.tick()
    assert (world.run.status, world.run.exit_code) == (RunStatus.FAILED, 1)
    assert world.queue.deleted == ["message-1"]


async def test_a_spot_reclaim_is_told_from_a_failure_at_once_and_without_a_describe() -> None:
    world = World(running())
    world.queue.put(stopped(world.run, 0, stop_code="SpotInterruption"))
    await world.tick()
    assert (world.run.status, world.run.attempt, world.run.infra_failures) == (RunStatus.QUEUED, 2, 1)


async def test_an_event_is_deleted_only_after_its_write_is_durable() -> None:
    world = World(running())
    world.queue.put(stopped(world.run))
    world.runs.next_error("change", Transient("the table is down"), times=4)
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.RUNNING, [])
    world.queue.redeliver()
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.FAILED, ["message-1"])


async def test_an_event_whose_read_fails_stays_in_the_queue() -> None:
    world = World(running())
    world.queue.put(stopped(world.run))
    world.runs.next_error("get", Permanent("AccessDenied"))
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.RUNNING, [])


async def test_an_unreadable_s3_is_undecided_and_the_event_stays() -> None:
    world = World(running())
    world.queue.put(stopped(world.run, 0))
    world.results.next_error("get", Transient("no"))
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.RUNNING, [])


async def test_a_result_in_s3_is_a_success() -> None:
    world = World(running())
    world.results.records["r1", 1, ARN] = result()
    world.queue.put(stopped(world.run, 0))
    await world.tick()
    assert world.run.status is RunStatus.SUCCEEDED


async def test_duplicates_and_events_out_of_order_end_a_run_once() -> None:
    world = World(running(max_attempts=5))
    for task in (stopped(world.run), task_of(world.run), stopped(world.run)):
        world.queue.put(task)
    await world.tick()
    world.queue.put(stopped(running()))
    await world.tick()
    assert (world.run.attempt, len(world.runs.writes)) == (2, 1)
    assert world.is_quiet


async def test_a_lost_reply_of_the_delete_only_means_a_duplicate_that_changes_nothing() -> None:
    world = World(running())
    world.queue.put(stopped(world.run))
    world.queue.next_error("delete", Transient("lost"))
    with pytest.raises(Transient):
        await world.tick()
    assert world.run.status is RunStatus.FAILED
    world.queue.redeliver()
    await world.tick()
    assert (len(world.runs.writes), world.is_quiet) == (1, True)


async def test_an_event_faster_than_our_own_record_comes_again() -> None:
    world = World(launching(run_id="r1"))
    world.queue.put(stopped(running()))
    await world.tick()
    assert not world.queue.deleted
    assert world.queue.postponed == {"receipt-1-1": 1}, "not a whole visibility timeout"
    world.runs.seed(running(version=9))
    world.queue.redeliver()
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.FAILED, ["message-1"])


@pytest.mark.parametrize(
    ("status", "failure_class"),
    [
        pytest.param(ResultStatus.SUCCEEDED, None, id="a success"),
        pytest.param(ResultStatus.FAILED, FailureClass.IMPORT, id="a final failure"),
    ],
)
async def test_a_result_committed_between_read_and_write_stands(
    status: ResultStatus, failure_class: FailureClass | None
) -> None:
    world = World(running())
    word = result(status, failure_class=failure_class)
    world.runs.raced_by = commit_result(world.run, word, world.policy.retry, task_arn=ARN, now=NOW)
    world.queue.put(stopped(world.run, 1))
    await world.tick()
    assert (world.run.status, world.run.failure_class) == (status, failure_class)
    assert world.is_quiet


async def test_a_cancel_recorded_between_read_and_write_is_obeyed() -> None:
    world = World(running(max_attempts=5))
    world.runs.raced_by = request_cancel(world.run, now=NOW, by="test")
    world.queue.put(stopped(world.run, 1))
    await world.tick()
    assert world.run.status is RunStatus.CANCELLED


async def test_events_of_other_attempts_and_surplus_tasks_are_forgotten_without_effect() -> None:
    world = World(running(attempt=2))
    world.queue.put(stopped(running(attempt=1)))
    world.queue.put(stopped(world.run, 75, arn=OTHER_ARN))
    world.queue.put(stopped(running(run_id="nobody")))
    await world.tick()
    assert (world.runs.writes, world.is_quiet) == ([], True)


async def test_an_unreadable_message_is_set_aside_after_some_tries_and_stops_no_other() -> None:
    world = World(running())
    world.queue.put(None, problem="no JSON")
    world.queue.put(stopped(world.run))
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.FAILED, ["message-2"])
    for _ in range(4):
        world.queue.redeliver()
        await world.tick()
    assert world.is_quiet


async def test_one_failing_event_does_not_hold_back_the_others() -> None:
    other = running(run_id="r2", external_id=OTHER_ARN)
    world = World(running(), other)
    world.queue.put(stopped(world.run))
    world.queue.put(stopped(other))
    world.runs.next_error("get", Transient("no"))
    await world.tick()
    assert (world.runs.records["r2"].status, world.queue.deleted) == (RunStatus.FAILED, ["message-2"])


async def test_a_drain_ends_the_long_poll_at_once() -> None:
    world = World(running())
    drain = Drain()
    tick = asyncio.ensure_future(world.loop.tick(tick_at(world.clock, drain)))  # noqa: TID251 - awaited below
    await world.clock.settle()
    drain.begin()
    await tick
    assert world.clock.now() == NOW


async def test_an_event_that_cannot_be_postponed_comes_after_the_visibility_timeout() -> None:
    world = World(launching(run_id="r1"))
    world.queue.put(stopped(running()))
    world.queue.next_error("postpone", Transient("no"))
    await world.tick()
    assert (world.queue.deleted, len(world.queue.in_flight)) == ([], 1)


async def test_an_older_event_after_a_newer_one_changes_nothing_and_costs_no_read() -> None:
    world = World(running())
    world.queue.put(stopped(world.run, 1, version=9))
    await world.tick()
    reads = world.runs.calls.count("get")
    world.queue.put(stopped(running(), 0, stop_code="SpotInterruption", version=8))
    world.queue.put(stopped(running(), 1, version=9))
    await world.tick()
    assert (len(world.runs.writes), world.runs.calls.count("get"), world.is_quiet) == (1, reads, True)
    assert world.metric("dagy_events_total", result="stale") == 2


async def test_of_two_versions_in_one_batch_the_newer_one_decides_whatever_their_order() -> None:
    world = World(running())
    world.queue.put(stopped(world.run, 137, reason="OutOfMemoryError: killed", version=9))
    world.queue.put(stopped(world.run, None, containers=(), version=8))
    await world.tick()
    assert (world.run.failure_class, world.is_quiet) == (FailureClass.OUT_OF_MEMORY, True)


async def test_a_failed_newer_event_is_not_forgotten_with_the_older_one() -> None:
    world = World(running())
    world.queue.put(stopped(world.run, version=8))
    world.queue.put(stopped(world.run, version=9))
    world.runs.next_error("get", Transient("no"))
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.RUNNING, ["message-1"])
    world.queue.redeliver()
    await world.tick()
    assert (world.run.status, world.is_quiet) == (RunStatus.FAILED, True)


async def test_the_age_of_an_event_is_from_the_stop_to_the_end_on_record() -> None:
    world = World(running())
    world.queue.put(stopped(world.run, stopped_at=ago(0.8)))
    await world.tick()
    assert world.metric("dagy_event_age_seconds_count") == 1
    assert world.metric("dagy_event_age_seconds_sum") == pytest.approx(0.8)


def test_what_may_become_of_an_event_is_counted_from_0() -> None:
    world = World()
    results = {each.value for each in (*Act, *Reading) if each is not Reading.JUDGE} | {ERROR}
    assert {result for result in results if world.metric("dagy_events_total", result=result) == 0} == results


# Messages that nobody can use.


async def test_a_poison_message_goes_to_the_dead_letter_queue_as_it_came() -> None:
    world = World(with_dead_letters=True)
    world.queue.put(None, problem="no JSON", body="hello")
    for _ in range(5):
        assert not world.dead.visible
        await world.tick()
        world.queue.redeliver()
    assert [event.body for event in world.dead.visible] == ["hello"]
    assert world.is_quiet
    await world.counting.tick(tick_at(world.clock))
    assert world.metric("dagy_events_dead_letters") == 1


async def test_without_a_dead_letter_queue_a_poison_message_is_logged_whole(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.queue.put(None, problem="no JSON", body="every word of it")
    for _ in range(5):
        await world.tick()
        world.queue.redeliver()
    assert "every word of it" in capsys.readouterr().out
    assert world.metric("dagy_events_total", result="set_aside") == 1
    await world.counting.tick(tick_at(world.clock))
    assert world.metric("dagy_events_dead_letters") == 0


@pytest.mark.parametrize("with_dead_letters", [True, False], ids=["a queue for it", "the log only"])
async def test_no_log_tells_the_environment_of_a_message_that_is_set_aside(
    with_dead_letters: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    variable = {"name": "DB_PASSWORD", "value": "canary-db"}
    event = {"detail": {"group": "g", "overrides": {"containerOverrides": [{"environment": [variable]}]}}}
    world = World(running(), with_dead_letters=with_dead_letters)
    world.queue.put(stopped(world.run), body=json.dumps(event))
    world.queue.put(None, problem="no task event", body=json.dumps({"Message": json.dumps(event)}))
    for _ in range(5):
        world.runs.next_error("get", Permanent("AccessDenied"))
        await world.tick()
        world.queue.redeliver()
    said = capsys.readouterr().out
    assert said.count("EVENT_SET_ASIDE") == (2 if with_dead_letters else 1)
    assert "canary-db" not in said
    assert ("DB_PASSWORD" in said) is not with_dead_letters, "what has a queue needs no log"
    assert [event.body for event in world.dead.visible].count(json.dumps(event)) == with_dead_letters


async def test_a_message_that_cannot_be_set_aside_is_not_lost() -> None:
    world = World(with_dead_letters=True)
    world.queue.put(None, problem="no JSON", body="hello")
    world.dead.next_error("send", Permanent("AccessDenied"))
    for _ in range(6):
        await world.tick()
        assert world.queue.in_flight or world.dead.visible
        world.queue.redeliver()
    assert [event.body for event in world.dead.visible] == ["hello"]


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        pytest.param(Permanent("the item is too large"), 1, id="what fails each time is set aside"),
        pytest.param(LookupError("a bug"), 1, id="so is what a bug of ours fails on"),
        pytest.param(Transient("the table is down"), 0, id="an outage sets nothing aside"),
    ],
)
async def test_an_event_that_fails_again_and_again(error: Exception, dead: int) -> None:
    world = World(running(), with_dead_letters=True)
    world.queue.put(stopped(world.run))
    world.runs.next_error("get", error, times=6)
    for _ in range(6):
        await world.tick()
        world.queue.redeliver()
    assert (len(world.dead.visible), len(world.queue.visible)) == (dead, 1 - dead)


# The queue is absent or denied.


@pytest.mark.parametrize("error", [Permanent("AWS.SimpleQueueService.NonExistentQueue"), Transient("no answer")])
async def test_a_queue_that_cannot_be_read_is_shown_and_tried_again_by_itself(error: Exception) -> None:
    world = World(running())
    await world.tick()
    world.queue.put(stopped(world.run))
    world.queue.next_error("receive", error, times=2)
    for _ in range(2):
        with pytest.raises(Transient, match=str(error)):
            await world.tick()
        assert world.metric("dagy_events_queue_available") == 0
    await world.tick()
    assert (world.metric("dagy_events_queue_available"), world.run.status) == (1, RunStatus.FAILED)
