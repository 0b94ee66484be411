"""A run's story from what is on record: made by the same lifecycle that the loops write with, and read a year later."""

from dataclasses import replace
from datetime import datetime, timedelta

from dagy_control.model.cost import PriceTable
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import (
    claim_attempt,
    claim_launch,
    commit_result,
    end_attempt,
    record_task,
    request_cancel,
)
from dagy_control.model.outcomes import Sighting, judge
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunChange, RunStatus, Transition, applied
from dagy_control.model.task_runs import TaskRun
from dagy_control.model.tasks import SeenContainer, SeenTask
from dagy_control.operations.explain import TASKS_TOLD_MAX, Explanation, Teller, explain
from dagy_control.operations.explain_batch import explain_batch
from tests.builders import ARN, NOW, OTHER_ARN, WORKER, a_run, result, stopped


class Tale:
    """A run that lives through what a test says, minute by minute."""

    def __init__(self, **values: object) -> None:
        why = "requested"
        self.now = NOW
        asked = Transition(at=NOW, from_status="", to_status="QUEUED", attempt=1, by="request", why=why)
        self.run: Run = a_run(created_at=NOW, transitions=(asked,), cpu=1024, memory=2048, **values)

    def _after(self, change: object, seconds: float) -> None:
        assert isinstance(change, RunChange), change
        self.run = applied(self.run, change, "op")
        self.now += timedelta(seconds=seconds)

    def write(self, change: object) -> None:
        """Anything else that is written to it."""
        self._after(change, 1)

    def launch(self, arn: str, *, provider: str = "FARGATE_SPOT") -> None:
        self.now += timedelta(seconds=20)
        self._after(
            claim_launch(self.run, request="{}", provider=provider, cluster="main", now=self.now, by="launching"), 1
        )
        self._after(record_task(self.run, task_arn=arn, why="RunTask answered", now=self.now, by="launching"), 10)
        self._after(claim_attempt(self.run, attempt=self.run.attempt, task_arn=arn, now=self.now), 60)

    def succeed(self) -> None:
        word = result(attempt=self.run.attempt)
        arn = self.run.external_id or ""
        self._after(commit_result(self.run, word, RetryPolicy(), task_arn=arn, now=self.now), 1)

    def end(self, task: SeenTask, policy: RetryPolicy | None = None) -> None:
        outcome = judge(Sighting(run=self.run, task=task, now=self.now, container_name=WORKER, missing_grace_s=600))
        change = end_attempt(
            self.run,
            outcome,
            policy or RetryPolicy(),
            task=task,
            container_name=WORKER,
            now=self.now,
            by="events",
            prices=PriceTable(),
        )
        self._after(change, 1)

    def reclaimed(self) -> SeenTask:
        return stopped(
            self.run,
            stop_code="SpotInterruption",
            stopped_reason="Your Spot Task was interrupted.",
            capacity_provider="FARGATE_SPOT",
            cpu=1024,
            memory_mib=2048,
            created_at=self.now - timedelta(seconds=70),
            pull_started_at=self.now - timedelta(seconds=65),
            started_at=self.now - timedelta(seconds=60),
            stopping_at=self.now - timedelta(seconds=2),
            stopped_at=self.now,
        )


def texts(story: Explanation, teller: Teller | None = None) -> list[str]:
    return [moment.text for moment in story.moments if teller in (None, moment.teller)]


def test_a_spot_reclaim_and_its_retry_are_told_in_order_with_what_ecs_said_of_the_first_task() -> None:
    tale = Tale()
    tale.launch(ARN)
    tale.end(tale.reclaimed())
    tale.launch(OTHER_ARN, provider="FARGATE")
    tale.succeed()
    story = explain(tale.run, ())
    assert [moment.at for moment in story.moments] == sorted(moment.at for moment in story.moments)
    told = texts(story)
    order = [
        "acme asked for etl",
        "QUEUED -> LAUNCHING: launch try 1 on FARGATE_SPOT; it had waited 20.0 s in the queue",
        "task created on FARGATE_SPOT, 1024 CPU / 2048 MiB",
        "image pull began",
        "task stopped: SpotInterruption; Your Spot Task was interrupted.; container dagy-worker: exit code 1",
        "RUNNING -> QUEUED: SPOT_INTERRUPTED",
        "QUEUED -> LAUNCHING: launch try 1 on FARGATE;",
        "RUNNING -> SUCCEEDED: the flow succeeded",
    ]
    places = [next(i for i, text in enumerate(told) if text.startswith(each)) for each in order]
    assert places == sorted(places)
    assert story.summary.startswith("SUCCEEDED in ")
    assert "2 attempts, 1 of them lost to infrastructure" in story.summary
    assert story.waited_seconds == 40 + 1
    assert story.remedy == ""


def test_a_failed_run_is_told_with_its_class_its_message_and_a_remedy() -> None:
    tale = Tale()
    tale.launch(ARN)
    memory = SeenContainer(name=WORKER, exit_code=137, reason="OutOfMemoryError: Container killed due to memory usage")
    tale.end(replace(tale.reclaimed(), stop_code="EssentialContainerExited", stopped_reason="", containers=(memory,)))
    story = explain(tale.run, ())
    assert story.status is RunStatus.FAILED
    assert "FAILED, OUT_OF_MEMORY, after 1 attempt" in story.summary
    assert "USD" in story.summary
    assert "larger" in story.remedy or "profile" in story.remedy
    assert any("exit code 137, OutOfMemoryError" in text for text in texts(story, Teller.ECS))


def test_a_cancel_is_told_at_its_own_time_and_a_waiting_run_with_when_it_may_start() -> None:
    tale = Tale()
    tale.launch(ARN)
    tale._after(request_cancel(tale.run, now=tale.now, by="request"), 5)
    assert "being cancelled" in explain(tale.run, ()).summary
    assert any(text.startswith("its cancel was requested") for text in texts(explain(tale.run, ()), Teller.REQUEST))
    waiting = a_run(not_before=NOW + timedelta(minutes=5), attempt=2, active_since=NOW)
    assert explain(waiting, ()).summary == "QUEUED since 2026-01-01 00:00:00, attempt 2, not before 2026-01-01 00:05:00"
    third_try = explain(replace(waiting, launch_try=3, not_before=None), (), waits_for="no_room: of course")
    assert third_try.summary == "QUEUED since 2026-01-01 00:00:00, attempt 2, launch try 3"
    assert third_try.waits_for == "no_room: of course"


def test_a_launch_is_told_with_what_had_held_it_back() -> None:
    tale = Tale()
    held = "15.0 s by no_room, 4.0 s by api_budget"
    tale.now += timedelta(seconds=20)
    tale.write(
        claim_launch(tale.run, request="{}", provider="FARGATE", cluster="c", now=tale.now, by="launching", held=held)
    )
    assert texts(explain(tale.run, ()))[-1] == (
        f"QUEUED -> LAUNCHING: launch try 1 on FARGATE; held back {held}; it had waited 20.0 s in the queue"
    )


def a_task(number: int, status: str = "SUCCEEDED", **values: object) -> TaskRun:
    at = NOW + timedelta(seconds=number)
    defaults: dict[str, object] = {"completed_at": at, "duration_seconds": 1.5, "attempts": 1, "run_attempt": 1}
    given = {**defaults, **values}
    return TaskRun(run_id="r1", task_run_id=f"0001#t{number}", task_name="t", status=status, **given)  # type: ignore[arg-type]  # a test's own values


def test_tasks_are_told_and_of_very_many_those_that_went_wrong() -> None:
    rows = [a_task(number) for number in range(10_000)]
    rows[9_999] = a_task(9_999, "FAILED", attempts=3, error_type="ValueError", error_message="no", peak_memory_mb=91.4)
    told = texts(explain(a_run(RunStatus.FAILED), rows), Teller.WORKER)
    assert len(told) == TASKS_TOLD_MAX + 1
    assert "task t9999 FAILED in 1.50 s, try 3, at most 91 MiB: ValueError: no" in told
    assert f"and {10_000 - TASKS_TOLD_MAX} further tasks: {10_000 - TASKS_TOLD_MAX} SUCCEEDED" in told


def test_a_task_that_a_killed_worker_left_running_is_told_as_such_once_its_attempt_is_over() -> None:
    left = [a_task(1, "RUNNING", completed_at=None, duration_seconds=None, started_at=NOW)]
    still = a_run(RunStatus.RUNNING, started_at=NOW)
    retried = a_run(RunStatus.RUNNING, started_at=NOW, attempt=2)
    assert "task t1 RUNNING" in texts(explain(still, left), Teller.WORKER)
    told = "task t1 RUNNING, no end on record: its worker ended first"
    assert told in texts(explain(retried, left), Teller.WORKER)
    assert told in texts(explain(a_run(RunStatus.FAILED), left), Teller.WORKER)


def test_a_record_from_before_evidence_was_kept_tells_what_it_has() -> None:
    old = a_run(RunStatus.FAILED, evidence={"stopped_at": "yesterday", "created_at": "2025-01-01T00:00:00"})
    assert texts(explain(old, ()), Teller.ECS) == []
    bare = {"stopped_at": "2025-01-01T00:00:00+00:00"}
    assert texts(explain(a_run(RunStatus.FAILED, evidence=bare), ()), Teller.ECS) == ["task stopped: no stop code"]


def test_a_batch_is_told_by_status_by_class_with_an_example_and_by_its_costs() -> None:
    def ended(run_id: str, status: RunStatus, cost: float | None, failure_class: FailureClass | None = None) -> Run:
        return a_run(
            status,
            run_id=run_id,
            created_at=datetime(2026, 1, 1, int(run_id), tzinfo=NOW.tzinfo),
            completed_at=datetime(2026, 1, 2, int(run_id), tzinfo=NOW.tzinfo),
            estimated_cost_usd=cost,
            failure_class=failure_class,
        )

    batch = explain_batch(
        "nightly",
        [
            ended("1", RunStatus.SUCCEEDED, 0.25),
            ended("2", RunStatus.FAILED, 0.5, FailureClass.IMPORT),
            ended("3", RunStatus.FAILED, None, FailureClass.IMPORT),
            ended("4", RunStatus.FAILED, None, FailureClass.LOST),
        ],
    )
    assert batch.by_status == {"FAILED": 3, "SUCCEEDED": 1}
    assert batch.failures == {"IMPORT": (2, "2"), "LOST": (1, "4")}
    assert (batch.estimated_cost_usd, batch.without_cost) == (0.75, 2)
    assert (batch.first_created_at, batch.last_completed_at) == (
        datetime(2026, 1, 1, 1, tzinfo=NOW.tzinfo),
        datetime(2026, 1, 2, 4, tzinfo=NOW.tzinfo),
    )


def test_a_batch_of_which_nothing_has_ended_has_no_cost_rather_than_none() -> None:
    batch = explain_batch("nightly", [a_run()])
    assert (batch.estimated_cost_usd, batch.without_cost, batch.last_completed_at) == (None, 1, None)


def test_why_a_worker_failed_is_said_once() -> None:
    tale = Tale()
    tale.launch(ARN)
    word = result(ResultStatus.FAILED, failure_class=FailureClass.USER_ERROR, message="no such customer")
    tale.write(commit_result(tale.run, word, RetryPolicy(), task_arn=ARN, now=tale.now))
    texts = [moment.text for moment in explain(tale.run, []).moments if "FAILED" in moment.text]
    assert texts == ["the worker committed its result, FAILED", "RUNNING -> FAILED: USER_ERROR: no such customer"]
