"""Tells of the flow's tasks: a log line for each change, and rows in the task-runs table, written in batches."""

from dagy_control.errors import DagyError
from dagy_control.flow_engine.reporting import TaskRunState
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.telemetry import log
from dagy_control.model.flows import TaskState
from dagy_control.model.runs import Run
from dagy_control.model.task_runs import TaskRun, task_run_id
from dagy_control.ports.runs import TaskRuns
from dagy_control.worker.texts import storable

FLUSH_INTERVAL_S = 1.0
ERROR_MAX_CHARACTERS = 2000
_log = log("dagy.worker")


class TaskRunReporter:
    """Takes every change at once and writes only the latest state of each task, at most once per `FLUSH_INTERVAL_S`.

    A table that cannot be written delays the rows; it never delays or fails the flow.
    """

    def __init__(self, run: Run, task_runs: TaskRuns, clock: Clock) -> None:
        self._run = run
        self._task_runs = task_runs
        self._clock = clock
        self._dirty: dict[str, TaskRun] = {}

    async def task_changed(self, task: TaskRunState) -> None:
        """Log the change and keep the row for the next flush."""
        row = self._row(task)
        self._dirty[row.task_run_id] = row
        fields = {
            "task_run_id": row.task_run_id,
            "task_name": task.name,
            "status": task.state,
            "attempt": task.attempt,
            "duration_seconds": row.duration_seconds,
            "peak_memory_mb": row.peak_memory_mb,
            "error": row.error_message,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        if task.state is TaskState.RUNNING:
            _log.info("task started", event_type="task_start", **given)
        elif task.retry_at is not None:
            _log.warning("task is tried again", event_type="task_retry", trace=task.error_traceback or None, **given)
        elif task.state in (TaskState.FAILED, TaskState.TIMED_OUT):
            _log.error("task ended", event_type="task_end", trace=task.error_traceback or None, **given)
        else:
            _log.info("task ended", event_type="task_end", **given)

    async def flush_for_ever(self) -> None:
        """Write what changed, again and again; for a background task."""
        while True:
            await self._clock.sleep(FLUSH_INTERVAL_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what changed since the last flush. On an error the rows wait for the next one."""
        rows = list(self._dirty.values())
        if not rows:
            return
        try:
            await self._task_runs.put_many(rows)
        except DagyError as error:
            _log.warning("task runs not written", rows=len(rows), error=str(error))
            return
        for row in rows:
            if self._dirty.get(row.task_run_id) is row:
                del self._dirty[row.task_run_id]

    def _row(self, task: TaskRunState) -> TaskRun:
        return TaskRun(
            run_id=self._run.run_id,
            task_run_id=task_run_id(self._run.attempt, task.task_key),
            org_id=self._run.org_id,
            task_name=task.name,
            status=task.state,
            attempts=task.attempt,
            run_attempt=self._run.attempt,
            started_at=task.started_at,
            completed_at=task.ended_at if task.state.is_terminal else None,
            duration_seconds=None if task.duration_s is None else round(task.duration_s, 3),
            peak_memory_mb=None if task.peak_memory_mb is None else round(task.peak_memory_mb, 1),
            error_type=storable(task.error_type, ERROR_MAX_CHARACTERS) if task.error_type else None,
            error_message=storable(task.error_message, ERROR_MAX_CHARACTERS) if task.error_message else None,
        )
