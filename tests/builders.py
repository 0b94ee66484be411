"""Runs, tasks and policies as tests need them: everything has a plain default, so that a test names only what it is about."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.ticker import Tick
from dagy_control.launching.request import LaunchTarget
from dagy_control.model.launch_failure import LaunchFailure, LaunchFailureKind
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunStatus, WorkerResult, launch_token
from dagy_control.model.tasks import SeenContainer, SeenTask, TaskIdentity
from dagy_control.ports.runs import Runs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""Where a `VirtualClock` starts."""

INSTALLATION = "dagy"
CLUSTER = "main"
WORKER = "dagy-worker"
ARN = "arn:aws:ecs:us-east-1:123456789012:task/main/aaaa"
OTHER_ARN = "arn:aws:ecs:us-east-1:123456789012:task/main/bbbb"


def ago(seconds: float) -> datetime:
    """So long before `NOW`."""
    return NOW - timedelta(seconds=seconds)


def a_run(status: RunStatus = RunStatus.QUEUED, **values: Any) -> Run:
    """A run of organisation `acme`, flow `etl`, at its first attempt."""
    defaults: dict[str, Any] = {
        "run_id": "r1",
        "org_id": "acme",
        "flow_name": "etl",
        "executor": "ecs",
        "attempt": 1,
        "launch_try": 1,
        "max_attempts": 1,
        "infra_failures": 0,
        "version": 7,
        "active_since": None if status.is_terminal else ago(60),
        "correlation_id": "batch-1.1",
        "created_at": ago(7200),
    }
    return Run(status=status, **{**defaults, **values})


def launching(*, sent_s_ago: float = 60, claimed_s_ago: float | None = None, **values: Any) -> Run:
    """A LAUNCHING run: its first send so long ago, its last send so long ago."""
    run_id, attempt, launch_try = values.get("run_id", "r1"), values.get("attempt", 1), values.get("launch_try", 1)
    defaults: dict[str, Any] = {
        "active_since": ago(sent_s_ago if claimed_s_ago is None else claimed_s_ago),
        "launch_sent_at": ago(sent_s_ago),
        "launch_sends": 1,
        "launch_token": launch_token(run_id, attempt, launch_try),
        "cluster": CLUSTER,
        "capacity_provider": "FARGATE",
    }
    return a_run(RunStatus.LAUNCHING, **{**defaults, **values})


def running(*, for_s: float = 3600, **values: Any) -> Run:
    """A RUNNING run, whose worker claimed it when it began, so long ago."""
    defaults: dict[str, Any] = {
        "active_since": ago(for_s),
        "launch_sent_at": ago(for_s + 30),
        "launch_sends": 1,
        "started_at": ago(for_s),
        "external_id": ARN,
        "cluster": CLUSTER,
    }
    return a_run(RunStatus.RUNNING, **{**defaults, **values})


def task_of(run: Run, **values: Any) -> SeenTask:
    """The run's task as ECS shows it: RUNNING."""
    defaults: dict[str, Any] = {
        "arn": run.external_id or ARN,
        "cluster": CLUSTER,
        "last_status": "RUNNING",
        "desired_status": "RUNNING",
        "started_by": TaskIdentity(INSTALLATION, run.run_id, run.attempt).started_by(),
        "containers": (SeenContainer(name=WORKER, last_status="RUNNING"),),
        "created_at": ago(3700),
        "started_at": ago(3600),
    }
    return SeenTask(**{**defaults, **values})


def stopped(run: Run, exit_code: int | None = 1, *, reason: str = "", **values: Any) -> SeenTask:
    """The run's task, STOPPED because its worker's container ended with this code and reason."""
    defaults: dict[str, Any] = {
        "last_status": "STOPPED",
        "desired_status": "STOPPED",
        "stop_code": "EssentialContainerExited",
        "stopped_reason": "Essential container in task exited",
        "containers": (SeenContainer(name=WORKER, last_status="STOPPED", exit_code=exit_code, reason=reason),),
    }
    return task_of(run, **{**defaults, **values})


def result(
    status: ResultStatus = ResultStatus.SUCCEEDED,
    *,
    attempt: int = 1,
    failure_class: FailureClass | None = None,
    message: str = "done",
) -> WorkerResult:
    """A worker's word."""
    return WorkerResult(status=status, attempt=attempt, failure_class=failure_class, message=message)


def committed(word: WorkerResult) -> dict[str, Any]:
    """The fields of a run on which a worker has committed its result, a minute ago."""
    return {
        "result_status": word.status,
        "result_attempt": word.attempt,
        "result_class": word.failure_class,
        "result_message": word.message,
        "result_at": ago(60),
    }


def refusal(
    kind: LaunchFailureKind, failure_class: FailureClass = FailureClass.CAPACITY, **values: Any
) -> LaunchFailure:
    """A RunTask without a task."""
    return LaunchFailure(kind=kind, failure_class=failure_class, message="ECS said no", **values)


def target(**values: Any) -> LaunchTarget:
    """Where attempts are launched: all on demand."""
    defaults: dict[str, Any] = {
        "installation": INSTALLATION,
        "cluster": CLUSTER,
        "task_definition": "dagy-worker:3",
        "container_name": WORKER,
        "subnets": ("subnet-1", "subnet-2"),
        "security_groups": ("sg-1",),
        "assign_public_ip": False,
        "provider_weights": {"FARGATE": 1},
        "default_size": TaskSize(256, 512),
    }
    return LaunchTarget(**{**defaults, **values})


def writer_of(runs: Runs, clock: Clock) -> RecordWriter:
    """A writer whose operation ids are op-1, op-2 and so on."""
    numbers = count(1)
    return RecordWriter(runs, clock, lambda: f"op-{next(numbers)}")


def tick_at(clock: Clock, drain: Drain | None = None) -> Tick:
    """A tick that starts now."""
    return Tick(now=clock.now(), drain=drain or Drain())
