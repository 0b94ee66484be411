"""One attempt, from claim to result."""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from dagy_control.errors import DagyError
from dagy_control.flow_engine.execution import EngineOptions, FlowRunner
from dagy_control.flow_engine.graph import FlowOutcome
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.tasks import background, within
from dagy_control.kernel.telemetry import log
from dagy_control.model.flow_templates import FlowSpecError, Json
from dagy_control.model.flows import FlowRecord
from dagy_control.model.lifecycle import Refused
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED, SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass, ResultStatus, Run, WorkerResult
from dagy_control.ports.flows import Artifacts, Flows, Results
from dagy_control.ports.runs import Runs, TaskRuns
from dagy_control.worker.artifact import fetch
from dagy_control.worker.claim import claim
from dagy_control.worker.failure import WorkerFailure
from dagy_control.worker.report import TaskRunReporter
from dagy_control.worker.result import commit

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_SHUTDOWN = 143
"""128 + SIGTERM, as a shell reports it."""

_log = log("dagy.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPolicy:
    """All that the worker is told by the configuration. Times in seconds.

    `drain_s`: how long after SIGTERM the tasks in flight may go on; with `stop_grace_s` for the children and the last writes it
    must fit into the task's stopTimeout (30 by default). `last_write_s`: for each of the last writes then, first the rows of
    the tasks, then the result into the table, then into S3; for the rows always, since the result matters more.
    """

    drain_s: float = 15.0
    stop_grace_s: float = 5.0
    last_write_s: float = 3.0
    max_concurrency: int | None = None
    result_write_timeout_s: float = 30.0
    artifact_max_bytes: int = 256 * 1024 * 1024
    work_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """What the worker reads and writes."""

    runs: Runs
    task_runs: TaskRuns
    flows: Flows
    artifacts: Artifacts
    results: Results


class Worker:
    """Runs one attempt of one run. `run()` gives the process's exit code; `request_shutdown()` is what SIGTERM calls."""

    def __init__(self, ports: WorkerPorts, writer: RecordWriter, clock: Clock, policy: WorkerPolicy) -> None:
        self._ports = ports
        self._writer = writer
        self._clock = clock
        self._policy = policy
        self._runner: FlowRunner | None = None
        self._shutdown_requested = False

    def request_shutdown(self) -> None:
        """Start no further task; give those in flight `drain_s`; then end. Idempotent."""
        if self._shutdown_requested:
            return
        self._shutdown_requested = True
        _log.warning("shutdown requested", event_type="shutdown", drain_s=self._policy.drain_s)
        if self._runner is not None:
            self._runner.request_shutdown(self._policy.drain_s)

    async def run(self, *, run_id: str, attempt: int, task_arn: str) -> int:
        """The whole attempt. Never raises a `DagyError`: what goes wrong is a result, or an exit code that says so."""
        structlog.contextvars.bind_contextvars(run_id=run_id, run_attempt=attempt)
        try:
            claimed = await claim(
                self._ports.runs, self._writer, self._clock, run_id=run_id, attempt=attempt, task_arn=task_arn
            )
        except DagyError as error:
            _log.error("claim failed; nothing has run", event_type="claim_failed", error=str(error))
            return EXIT_CLAIM_REFUSED
        if isinstance(claimed, Refused):
            _log.warning("claim refused; nothing has run", event_type="claim_refused", why=claimed.reason)
            return EXIT_CLAIM_REFUSED
        structlog.contextvars.bind_contextvars(
            flow_name=claimed.flow_name, org_id=claimed.org_id, correlation_id=claimed.correlation_id
        )
        _log.info("run started", event_type="run_started", task_arn=task_arn)
        result = await self._attempt(claimed)
        return await self._finish(claimed, result)

    async def _attempt(self, run: Run) -> WorkerResult:
        try:
            if self._policy.work_dir is not None:
                self._policy.work_dir.mkdir(parents=True, exist_ok=True)
            # What cannot be removed dies with the container: it must not turn a success into a failure.
            with tempfile.TemporaryDirectory(
                prefix="dagy-", dir=self._policy.work_dir, ignore_cleanup_errors=True
            ) as folder:
                outcome = await self._run_flow(run, Path(folder))
        except WorkerFailure as failure:
            return _failed(run, failure.failure_class, str(failure))
        except FlowSpecError as error:
            return _failed(run, FailureClass.USER_ERROR, str(error))
        except DagyError as error:
            return _failed(run, FailureClass.INFRASTRUCTURE, f"the worker could not run the flow: {error}")
        except Exception as error:  # noqa: BLE001 - a bug of ours must not look like one of the user's
            _log.exception("the worker itself failed", event_type="worker_failed")
            return _failed(
                run, FailureClass.INFRASTRUCTURE, f"the worker itself failed: {type(error).__name__}: {error}"
            )
        if outcome.status is ResultStatus.SUCCEEDED:
            return WorkerResult(status=ResultStatus.SUCCEEDED, attempt=run.attempt, exit_code=EXIT_SUCCEEDED)
        return _failed(run, outcome.failure_class or FailureClass.USER_ERROR, outcome.message)

    async def _run_flow(self, run: Run, folder: Path) -> FlowOutcome:
        record = await self._flow_record(run)
        _log.info("Downloading flow artifact", event_type="artifact_download", uri=record.artifact_s3_uri)
        spec = await fetch(
            record, self._ports.artifacts, self._clock, folder, max_bytes=self._policy.artifact_max_bytes
        )
        _log.info("artifact unpacked", event_type="artifact_downloaded", uri=record.artifact_s3_uri)
        reporter = TaskRunReporter(run, self._ports.task_runs, self._clock)
        if self._shutdown_requested:
            return FlowOutcome(ResultStatus.FAILED, FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
        sys.path.insert(0, str(folder))  # for tasks in threads; the children get it by sys_path
        self._runner = FlowRunner(
            spec,
            _parameters(run),
            reporter=reporter,
            clock=self._clock,
            options=EngineOptions(
                max_concurrency=self._policy.max_concurrency,
                stop_grace_s=self._policy.stop_grace_s,
                sys_path=tuple(sys.path),
            ),
        )
        try:
            async with background(reporter.flush_for_ever(), name="task runs"):
                return await self._runner.run()
        finally:
            await self._flush(reporter)

    async def _flush(self, reporter: TaskRunReporter) -> None:
        """The last states of the tasks; given up in time for the result, which matters more."""
        try:
            await within(self._clock, self._policy.last_write_s, reporter.flush(), name="writing the last task runs")
        except TimeoutError as error:
            _log.warning("last task runs not written", event_type="task_runs_lost", error=str(error))

    async def _flow_record(self, run: Run) -> FlowRecord:
        record = await retrying(
            lambda: self._ports.flows.get(run.org_id, run.flow_name, run.flow_version), self._clock, key=run.run_id
        )
        if record is None:
            version = f" version {run.flow_version}" if run.flow_version else ""
            raise WorkerFailure(
                FailureClass.ARTIFACT,
                f"flow {run.flow_name!r}{version} is not registered for organisation {run.org_id!r}; register it again",
            )
        return record

    async def _finish(self, run: Run, result: WorkerResult) -> int:
        timeout_s = self._policy.result_write_timeout_s
        if self._shutdown_requested:
            timeout_s = min(timeout_s, self._policy.last_write_s)
        try:
            committed = await commit(
                run,
                result,
                writer=self._writer,
                results=self._ports.results,
                clock=self._clock,
                timeout_s=timeout_s,
            )
        except DagyError as error:
            _log.error("result lost: neither table nor S3 could be written", event_type="result_lost", error=str(error))
            committed = None
        if isinstance(committed, Refused):
            _log.warning("result refused", event_type="result_refused", why=committed.reason)
        log_end = _log.info if result.status is ResultStatus.SUCCEEDED else _log.error
        log_end(
            "run ended",
            event_type="run_end",
            status=result.status,
            failure_class=result.failure_class,
            error=result.message or None,
        )
        if result.failure_class is FailureClass.SHUTDOWN:
            return EXIT_SHUTDOWN
        return EXIT_SUCCEEDED if result.status is ResultStatus.SUCCEEDED else EXIT_FAILED


def _parameters(run: Run) -> dict[str, Json]:
    try:
        parameters = json.loads(run.parameters)
    except ValueError as error:
        raise WorkerFailure(FailureClass.USER_ERROR, f"the run's parameters are not JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise WorkerFailure(FailureClass.USER_ERROR, "the run's parameters are not a JSON object")
    return parameters


def _failed(run: Run, failure_class: FailureClass, message: str) -> WorkerResult:
    exit_code = EXIT_SHUTDOWN if failure_class is FailureClass.SHUTDOWN else EXIT_FAILED
    return WorkerResult(
        status=ResultStatus.FAILED,
        attempt=run.attempt,
        failure_class=failure_class,
        message=message,
        exit_code=exit_code,
    )
