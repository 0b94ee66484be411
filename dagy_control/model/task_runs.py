"""One task of a run, as DAGY_TASK_RUNS holds it."""

from dataclasses import dataclass
from datetime import datetime

from dagy_control.model.flow_tasks import TaskState
from dagy_control.model.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """A task's latest state. `task_run_id` is `{attempt:04d}#{task key}`: a retried run keeps the rows of its earlier attempts.

    `attempts` counts the tries of the task within this attempt of the run, from 1. Durations in seconds, memory in MiB.
    """

    run_id: str
    task_run_id: str
    task_name: str
    status: str
    attempts: int
    run_attempt: int
    org_id: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: float | None = None
    peak_memory_mb: float | None = None
    error_type: str | None = None
    error_message: str | None = None
    trace_uri: str | None = None


def task_run_id(run_attempt: int, task_key: str) -> str:
    """The sort key of a task's row."""
    return f"{run_attempt:04d}#{task_key}"


def cut_off(row: TaskRun, run: Run) -> bool:
    """Still under way on record though its attempt of the run is over: a worker that is killed writes nothing more."""
    under_way = row.status in {TaskState.PENDING, TaskState.RUNNING}
    return under_way and (run.status.is_terminal or row.run_attempt < run.attempt)
