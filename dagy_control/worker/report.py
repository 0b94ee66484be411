"""Tells of the flow's tasks: a log line for each change, rows in the task-runs table in batches, and traces in S3."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from dagy_control.errors import DagyError
from dagy_control.flow_engine.hooks import HookFailure
from dagy_control.flow_engine.reporting import TaskRunState
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.telemetry import log
from dagy_control.model.flows import TaskSpec, TaskState
from dagy_control.model.runs import Run
from dagy_control.model.task_runs import TaskRun, task_run_id
from dagy_control.ports.runs import TaskRuns
from dagy_control.worker.texts import storable
from dagy_control.worker.traces import Traces

FLUSH_INTERVAL_S = 1.0
ERROR_MAX_CHARACTERS = 2000
_log = log("dagy.worker")


def as_it_is(text: str) -> str:
    """No redaction, no explanation."""
    return text


def nothing() -> None:
    """Nobody waits for the first task."""


class TaskRunReporter:
    """Takes every change at once and writes only the latest state of each task, at most once per `FLUSH_INTERVAL_S`.

    A table, or S3, that cannot be written delays the rows; it never delays or fails the flow. `told`: what becomes of an error's text
    before anybody reads it. `on_first_task`: called when the first task begins.
    """

    def __init__(
        self,
        run: Run,
        task_runs: TaskRuns,
        clock: Clock,
        *,
        traces: Traces | None = None,
        told: Callable[[str], str] = as_it_is,
        on_first_task: Callable[[], None] = nothing,
    ) -> None:
        self._run = run
        self._task_runs = task_runs
        self._clock = clock
        self._traces = traces
        self._told = told
        self._on_first_task = on_first_task
        self._rows: dict[str, TaskRun] = {}
        self._dirty: dict[str, TaskRun] = {}

    async def task_changed(self, task: TaskRunState) -> None:
        """Log the change and keep the row for the next flush."""
        row = self._row(task)
        self._dirty[row.task_run_id] = row
        trace = self._told(task.error_traceback) if task.error_traceback else None
        if trace is not None and self._traces is not None:
            self._rows[row.task_run_id] = row
            self._traces.keep(row.task_run_id, task.attempt, trace)
        fields = {
            "task_run_id": row.task_run_id,
            "task_name": task.name,
            "status": task.state,
            "attempt": task.attempt,
            "duration_seconds": row.duration_seconds,
            "peak_memory_mb": row.peak_memory_mb,
            "error": row.error_message,
            "error_type": row.error_type,
            "trace": trace,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        why = f": {_named(row.error_type)}: {row.error_message}" if row.error_type else ""
        if task.state is TaskState.RUNNING:
            self._on_first_task()
            _log.info(f"task {task.task_key} started", event_type="task_start", **given)
        elif task.retry_at is not None:
            _log.warning(f"task {task.task_key} is tried again{why}", event_type="task_retry", **given)
        elif task.state in (TaskState.FAILED, TaskState.TIMED_OUT):
            _log.error(f"task {task.task_key} ended {task.state}{why}", event_type="task_end", **given)
        else:
            _log.info(f"task {task.task_key} ended {task.state}{why}", event_type="task_end", **given)

    async def cancelled(self, tasks: Iterable[TaskSpec]) -> None:
        """None of these will begin."""
        now = self._clock.now()
        for task in tasks:
            await self.task_changed(
                TaskRunState(
                    task_key=task.key,
                    name=task.name,
                    state=TaskState.CANCELLED,
                    attempt=0,
                    ended_at=now,
                    error_type="Cancelled",
                    error_message="Cancelled before it started: the worker is shutting down",
                )
            )

    def hook_failed(self, failure: HookFailure) -> None:
        """Log a hook of the flow's that failed; the task's own end stands."""
        _log.warning(
            f"{failure.kind} hook of task {failure.task_key} failed: {failure.error.type}",
            event_type="hook_failed",
            task_run_id=task_run_id(self._run.attempt, failure.task_key),
            hook=failure.function,
            error=self._told(failure.error.message),
            trace=self._told(failure.error.traceback) or None,
        )

    async def flush_for_ever(self) -> None:
        """Write what changed, again and again; for a background task."""
        while True:
            await self._clock.sleep(FLUSH_INTERVAL_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what changed since the last flush, then the traces, and their URIs. On an error the rows wait for the next one."""
        if not await self._flush_rows() or self._traces is None:
            return
        await self._traces.store(self._note_trace)
        await self._flush_rows()

    async def _flush_rows(self) -> bool:
        """Whether the table has all of them."""
        rows = list(self._dirty.values())
        if not rows:
            return True
        try:
            await self._task_runs.put_many(rows)
        except DagyError as error:
            _log.warning("task runs not written", event_type="task_runs_delayed", rows=len(rows), error=str(error))
            return False
        for row in rows:
            if self._dirty.get(row.task_run_id) is row:
                del self._dirty[row.task_run_id]
        return True

    def _note_trace(self, row_id: str, uri: str) -> None:
        """The newest row of the task names the newest trace, whatever has become of the task meanwhile."""
        row = self._dirty.get(row_id) or self._rows[row_id]
        self._rows[row_id] = self._dirty[row_id] = replace(row, trace_uri=uri)

    def _row(self, task: TaskRunState) -> TaskRun:
        row_id = task_run_id(self._run.attempt, task.task_key)
        before = self._rows.get(row_id)
        row = TaskRun(
            run_id=self._run.run_id,
            task_run_id=row_id,
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
            error_message=storable(self._told(task.error_message), ERROR_MAX_CHARACTERS)
            if task.error_message
            else None,
            trace_uri=before.trace_uri if before else None,
        )
        if before is not None:
            self._rows[row_id] = row
        return row


def _named(error_type: str) -> str:
    """An error's type for the log's message, in the words by which the runbook looks for tasks that ran out of memory."""
    return "out of memory" if error_type == "OutOfMemory" else error_type
