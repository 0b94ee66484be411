"""What other schedulers took for orphans, in their users' own threads: told in our terms, and none of it is stopped here."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from dagy_control.kernel.drain import Drain
from dagy_control.kernel.ticker import Tick
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import commit_result
from dagy_control.model.runs import Run, RunChange, RunStatus, applied
from tests.builders import ARN, NOW, OTHER_ARN, ago, launching, result, running, task_of
from tests.fakes.permit import FakePermit
from tests.fakes.runs import FakeRuns
from tests.unit.orphans.world import World, over

MINUTES = 60


async def test_airflow_16023_tasks_that_the_scheduler_has_no_note_of_having_queued_are_not_reset_while_they_run() -> (
    None
):
    """There: a task started by hand has no `queued_by_job_id`, so every five minutes it is "orphaned", and killed.

    Here: a task that a person ran from the worker's own definition, and runs that another process, long gone, has launched. Nobody
    sends heartbeats.
    """
    by_hand = task_of(running(), arn="arn-by-hand", started_by="", task_definition="dagy-worker:3")
    runs = [running(run_id=f"run-{number}", external_id=f"arn-{number}", for_s=5 * 3600) for number in range(3)]
    world = World(*runs, tasks=[by_hand, *(task_of(run, started_at=ago(5 * 3600)) for run in runs)])
    for _ in range(12):
        world.restarted()
        await world.scan()
        await world.clock.advance(5 * MINUTES - 1)
    assert (world.stopped, world.suspicions.records, world.runs.writes) == ([], {}, [])


async def test_airflow_13808_a_task_that_one_replica_has_adopted_is_not_reset_by_the_other_a_quarter_of_an_hour_later() -> (
    None
):
    """There: two schedulers restart at once; the first adopts the pod, the second resets it 15 minutes later.

    Here: the second replica has looked at the task while its record was not to be seen, and looks again when the first has adopted it.
    """
    world = World(tasks=[task_of(running())])
    await world.scan()
    assert list(world.suspicions.records) == [ARN], "the first look of the second replica"
    world.runs.seed(launching())
    world.restarted()
    await world.scan()
    world.runs.seed(running())
    await world.clock.advance(15 * MINUTES)
    world.restarted()
    await world.scan()
    assert world.stopped == []


async def test_airflow_13808_what_was_suspicious_long_ago_and_well_since_is_not_stopped_at_its_next_odd_moment() -> (
    None
):
    world = World(tasks=[task_of(running())])
    await world.scan()
    world.runs.seed(running())
    for _ in range(13):
        await world.clock.advance(5 * MINUTES)
        await world.scan()
    del world.runs.records["r1"]
    await world.scan()
    assert world.stopped == []


async def test_airflow_31198_a_replica_whose_heartbeat_is_late_and_one_that_takes_its_place_delete_nothing_that_runs() -> (
    None
):
    """There: a scheduler whose heartbeat is delayed counts as dead; schedulers race for its pods, and delete them.

    Here: the lease is late, and so both scan at the same time.
    """
    runs = [running(run_id=f"run-{number}", external_id=f"arn-{number}") for number in range(20)]
    world = World(*runs, tasks=[task_of(run) for run in runs])
    late, other = world.loop, world.restarted()
    for loop in (late, other, late):
        await world.clock.run(loop.scan(Tick(now=world.clock.now(), drain=Drain())))
    assert (world.stopped, world.runs.writes) == ([], [])


async def test_airflow_31198_a_replica_that_has_lost_its_lease_meanwhile_stops_no_more() -> None:
    world = World(over(), tasks=[task_of(over())])
    permit = FakePermit(held=False)
    await world.clock.run(world.loop.scan(Tick(now=world.clock.now(), drain=Drain(), permit=permit)))
    assert world.stopped == []


async def test_a_replica_that_has_lost_its_lease_meanwhile_records_no_suspicion() -> None:
    world = World(tasks=[task_of(running())])
    permit = FakePermit(held=False)
    await world.clock.run(world.loop.scan(Tick(now=world.clock.now(), drain=Drain(), permit=permit)))
    assert world.suspicions.records == {}
    await world.scan()
    assert list(world.suspicions.records) == [ARN]


async def test_airflow_12396_a_sweep_that_comes_after_a_task_has_succeeded_never_makes_a_failure_of_it() -> None:
    """There: the zombie check marks a task failed that has just concluded with success.

    Here: the worker commits its result between the scan's look at a task that runs too long and the record of why it is stopped.
    """

    class Raced(FakeRuns):
        async def change(self, change: RunChange, op_id: str) -> Run:
            run = self.records["r1"]
            if run.status is RunStatus.RUNNING:
                won: Any = commit_result(run, result(), RetryPolicy(), task_arn=ARN, now=NOW)
                self.seed(applied(run, won, "worker"))
            return await super().change(change, op_id)

    world = World(tasks=[task_of(running(), started_at=ago(30_000))])
    world.runs = Raced(running(for_s=30_000))
    world.restarted()
    await world.scan()
    succeeded = world.runs.records["r1"]
    assert succeeded.status is RunStatus.SUCCEEDED
    assert succeeded.stop_cause is None


async def test_airflow_12396_a_task_whose_run_has_just_succeeded_may_end_by_itself() -> None:
    run = replace(over(), completed_at=NOW - timedelta(seconds=1))
    world = World(run, tasks=[task_of(run)])
    await world.scan()
    assert (world.stopped, world.report["data"]["orphans"]) == ([], [])


async def test_a_training_that_begins_before_its_predecessors_record_is_overwritten_is_not_that_predecessor() -> None:
    """The documented second criterion alone would stop it: the record says "completed", of the last training of this model."""
    task = task_of(running(), arn=OTHER_ARN, started_by="", tags={"model_name": "m"})
    world = World(tasks=[task])
    world.tables.tables["RETRAINING"] = [{"model_name": "m", "status": "completed", "task_arn": ARN}]
    await world.scan()
    world.tables.tables["RETRAINING"] = [{"model_name": "m", "status": "running", "task_arn": OTHER_ARN}]
    await world.clock.advance(5 * MINUTES)
    await world.scan()
    assert world.stopped == []
