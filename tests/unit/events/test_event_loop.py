"""The event consumer over stateful fakes: durable before deleted, duplicates, races."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.errors import Permanent, Transient
from dagy_control.events.decide import EventPolicy
from dagy_control.events.effects import EventEffects
from dagy_control.events.loop import EventLoop
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

    def __init__(self, *runs: Run) -> None:
        self.clock = VirtualClock()
        self.runs = RacedRuns(*runs)
        self.queue = FakeTaskEvents(self.clock)
        self.results = FakeResults()
        self.policy = EventPolicy(installation=INSTALLATION, container_name=WORKER)
        effects = EventEffects(self.runs, self.queue, self.results, writer_of(self.runs, self.clock), self.clock)
        self.loop = EventLoop("events-1", self.policy, effects, EventMetrics(CollectorRegistry()))

    async def tick(self, drain: Drain | None = None) -> None:
        await self.clock.run(self.loop.tick(tick_at(self.clock, drain)))

    @property
    def run(self) -> Run:
        return self.runs.records["r1"]

    @property
    def is_quiet(self) -> bool:
        """Nothing is left to deliver."""
        return not self.queue.visible and not self.queue.in_flight


async def test_a_stopped_task_ends_its_run_and_the_event_is_forgotten() -> None:
    world = World(running())
    world.queue.send(stopped(world.run, 1))
    await world.tick()
    assert (world.run.status, world.run.exit_code) == (RunStatus.FAILED, 1)
    assert world.queue.deleted == ["message-1"]


async def test_a_spot_reclaim_is_told_from_a_failure_at_once_and_without_a_describe() -> None:
    world = World(running())
    world.queue.send(stopped(world.run, 0, stop_code="SpotInterruption"))
    await world.tick()
    assert (world.run.status, world.run.attempt, world.run.infra_failures) == (RunStatus.QUEUED, 2, 1)


async def test_an_event_is_deleted_only_after_its_write_is_durable() -> None:
    world = World(running())
    world.queue.send(stopped(world.run))
    world.runs.next_error("change", Transient("the table is down"), times=4)
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.RUNNING, [])
    world.queue.redeliver()
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.FAILED, ["message-1"])


async def test_an_event_whose_read_fails_stays_in_the_queue() -> None:
    world = World(running())
    world.queue.send(stopped(world.run))
    world.runs.next_error("get", Permanent("AccessDenied"))
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.RUNNING, [])


async def test_an_unreadable_s3_is_undecided_and_the_event_stays() -> None:
    world = World(running())
    world.queue.send(stopped(world.run, 0))
    world.results.next_error("get", Transient("no"))
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.RUNNING, [])


async def test_a_result_in_s3_is_a_success() -> None:
    world = World(running())
    world.results.records["r1", 1, ARN] = result()
    world.queue.send(stopped(world.run, 0))
    await world.tick()
    assert world.run.status is RunStatus.SUCCEEDED


async def test_duplicates_and_events_out_of_order_end_a_run_once() -> None:
    world = World(running(max_attempts=5))
    for task in (stopped(world.run), task_of(world.run), stopped(world.run)):
        world.queue.send(task)
    await world.tick()
    world.queue.send(stopped(running()))
    await world.tick()
    assert (world.run.attempt, len(world.runs.writes)) == (2, 1)
    assert world.is_quiet


async def test_a_lost_reply_of_the_delete_only_means_a_duplicate_that_changes_nothing() -> None:
    world = World(running())
    world.queue.send(stopped(world.run))
    world.queue.next_error("delete", Transient("lost"))
    with pytest.raises(Transient):
        await world.tick()
    assert world.run.status is RunStatus.FAILED
    world.queue.redeliver()
    await world.tick()
    assert (len(world.runs.writes), world.is_quiet) == (1, True)


async def test_an_event_faster_than_our_own_record_comes_again() -> None:
    world = World(launching(run_id="r1"))
    world.queue.send(stopped(running()))
    await world.tick()
    assert not world.queue.deleted
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
    world.queue.send(stopped(world.run, 1))
    await world.tick()
    assert (world.run.status, world.run.failure_class) == (status, failure_class)
    assert world.is_quiet


async def test_a_cancel_recorded_between_read_and_write_is_obeyed() -> None:
    world = World(running(max_attempts=5))
    world.runs.raced_by = request_cancel(world.run, now=NOW, by="test")
    world.queue.send(stopped(world.run, 1))
    await world.tick()
    assert world.run.status is RunStatus.CANCELLED


async def test_events_of_other_attempts_and_surplus_tasks_are_forgotten_without_effect() -> None:
    world = World(running(attempt=2))
    world.queue.send(stopped(running(attempt=1)))
    world.queue.send(stopped(world.run, 75, arn=OTHER_ARN))
    world.queue.send(stopped(running(run_id="nobody")))
    await world.tick()
    assert (world.runs.writes, world.is_quiet) == ([], True)


async def test_an_unreadable_message_is_set_aside_after_some_tries_and_stops_no_other() -> None:
    world = World(running())
    world.queue.send(None, problem="no JSON")
    world.queue.send(stopped(world.run))
    await world.tick()
    assert (world.run.status, world.queue.deleted) == (RunStatus.FAILED, ["message-2"])
    for _ in range(4):
        world.queue.redeliver()
        await world.tick()
    assert world.is_quiet


async def test_one_failing_event_does_not_hold_back_the_others() -> None:
    other = running(run_id="r2", external_id=OTHER_ARN)
    world = World(running(), other)
    world.queue.send(stopped(world.run))
    world.queue.send(stopped(other))
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
