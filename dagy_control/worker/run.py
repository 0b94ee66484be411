"""One attempt, from claim to result."""

import asyncio
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from dagy_control.errors import DagyError
from dagy_control.flow_engine.execution import FlowRunner
from dagy_control.flow_engine.graph import FlowOutcome
from dagy_control.flow_engine.options import EngineOptions
from dagy_control.flow_engine.results import ResultLimits
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.tasks import background, end_tasks, start_task, within
from dagy_control.kernel.telemetry import log
from dagy_control.model.flow_templates import FlowSpecError
from dagy_control.model.lifecycle import Refused
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED, SHUTDOWN_MESSAGE
from dagy_control.model.resources import CapacityProvider
from dagy_control.model.runs import FailureClass, ResultStatus, Run, WorkerResult
from dagy_control.worker.claim import claim
from dagy_control.worker.failure import ShutdownRequested, WorkerFailure
from dagy_control.worker.imports import ImportPlaces
from dagy_control.worker.lines import Redactor
from dagy_control.worker.phases import StartPhases
from dagy_control.worker.policy import WorkerPolicy, WorkerPorts
from dagy_control.worker.preparation import Preparation, Prepared, parameters_of
from dagy_control.worker.report import TaskRunReporter
from dagy_control.worker.result import ROUNDS, commit
from dagy_control.worker.traces import Traces

T = TypeVar("T")

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_SHUTDOWN = 143
"""128 + SIGTERM, as a shell reports it."""

_SHUT_DOWN = FlowOutcome(ResultStatus.FAILED, FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError")
_log = log("dagy.worker")


class Worker:
    """Runs one attempt of one run. `run()` gives the process's exit code; `request_shutdown()` is what SIGTERM calls.

    `redactor` hides values in what is logged and recorded; it learns the run's parameters. `process_age_s`, `pull_s`: for the
    start's phases.
    """

    def __init__(
        self,
        ports: WorkerPorts,
        writer: RecordWriter,
        clock: Clock,
        policy: WorkerPolicy,
        *,
        redactor: Redactor | None = None,
        process_age_s: float | None = None,
        pull_s: float | None = None,
    ) -> None:
        self._ports = ports
        self._writer = writer
        self._clock = clock
        self._policy = policy
        self._redactor = redactor or Redactor(())
        self._phases = StartPhases(clock, process_age_s, pull_s)
        self._started_s = clock.monotonic()
        self._runner: FlowRunner | None = None
        self._shutdown = asyncio.Event()
        self._provider: str | None = None

    def request_shutdown(self) -> None:
        """Start no further task; give those in flight `drain_s`; then end. Idempotent."""
        if self._shutdown.is_set():
            return
        self._shutdown.set()
        _log.warning(SHUTDOWN_MESSAGE, event_type="shutdown", drain_s=self._policy.drain_s)
        if self._provider == CapacityProvider.FARGATE_SPOT:
            _log.warning(
                "this task runs on Fargate Spot, which sends SIGTERM when it takes the capacity back; ECS will say whether it did",
                event_type="spot_notice",
                capacity_provider=self._provider,
            )
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
        self._phases.over("claim")
        self._provider = claimed.capacity_provider
        structlog.contextvars.bind_contextvars(
            flow_name=claimed.flow_name, org_id=claimed.org_id, correlation_id=claimed.correlation_id
        )
        _log.info("run started", event_type="run_started", status=claimed.status, task_arn=task_arn)
        result = await self._attempt(claimed)
        return await self._finish(claimed, result)

    async def _attempt(self, run: Run) -> WorkerResult:
        try:
            parameters = parameters_of(run)
            self._redactor.learn(parameters)
            _log.debug("parameters", event_type="run_parameters", parameters=parameters)
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
        preparation = Preparation(run, self._ports, self._clock, self._policy, self._phases)
        reporter = TaskRunReporter(
            run,
            self._ports.task_runs,
            self._clock,
            traces=Traces(run, self._ports.traces, self._policy.trace_prefix),
            told=self._redactor.text,
            on_first_task=self._phases.first_task,
        )
        try:
            prepared = await self._unless_shutdown(preparation.prepare(folder))
        except ShutdownRequested:
            await reporter.cancelled(preparation.tasks)
            await self._flush(reporter)
            return _SHUT_DOWN
        sys.path[:0] = prepared.own_paths  # for tasks in threads; the children get it by sys_path
        self._runner = self._runner_of(run, prepared, reporter, folder)
        try:
            async with background(reporter.flush_for_ever(), name="task runs"):
                return _explained(await self._runner.run(), prepared.places)
        finally:
            await self._flush(reporter)

    def _runner_of(self, run: Run, prepared: Prepared, reporter: TaskRunReporter, folder: Path) -> FlowRunner:
        return FlowRunner(
            prepared.spec,
            prepared.parameters,
            reporter=reporter,
            clock=self._clock,
            options=EngineOptions(
                run_id=run.run_id,
                results=ResultLimits(folder=folder),
                on_hook_failed=reporter.hook_failed,
                max_concurrency=self._policy.max_concurrency,
                stop_grace_s=self._policy.stop_grace_s,
                sys_path=tuple(sys.path),
                cgroup_dir=self._policy.cgroup_dir,
                tasks_per_process_max=self._policy.max_tasks_per_process,
            ),
        )

    async def _unless_shutdown(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; it is given up, and `ShutdownRequested` raised, when SIGTERM comes before it is done."""
        working = start_task(work, name="preparing the run")
        stopping = start_task(self._shutdown.wait(), name="waiting for SIGTERM")
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._shutdown.is_set():
                raise ShutdownRequested(SHUTDOWN_MESSAGE)
            return working.result()
        finally:
            await end_tasks(working, stopping)

    async def _flush(self, reporter: TaskRunReporter) -> None:
        """The last states of the tasks; given up in time for the result, which matters more."""
        try:
            await within(self._clock, self._policy.last_write_s, reporter.flush(), name="writing the last task runs")
        except TimeoutError as error:
            _log.warning("last task runs not written", event_type="task_runs_lost", error=str(error))

    async def _finish(self, run: Run, result: WorkerResult) -> int:
        result = replace(result, message=self._redactor.text(result.message))
        timeout_s, rounds = self._policy.result_write_timeout_s, ROUNDS
        if self._shutdown.is_set():
            timeout_s, rounds = min(timeout_s, self._policy.last_write_s), 1
        try:
            committed = await commit(
                run,
                result,
                writer=self._writer,
                results=self._ports.results,
                clock=self._clock,
                timeout_s=timeout_s,
                rounds=rounds,
            )
        except DagyError as error:
            _log.error("result lost: neither table nor S3 could be written", event_type="result_lost", error=str(error))
            committed = None
        if isinstance(committed, Refused):
            _log.warning("result refused", event_type="result_refused", why=committed.reason)
        succeeded = result.status is ResultStatus.SUCCEEDED
        log_end = _log.info if succeeded else _log.error
        log_end(
            f"run ended {result.status}" + ("" if succeeded else f": {result.failure_class}: {result.message}"),
            event_type="run_end",
            status=result.status,
            duration_seconds=round(self._clock.monotonic() - self._started_s, 3),
            failure_class=result.failure_class,
            error=result.message or None,
        )
        if result.failure_class is FailureClass.SHUTDOWN:
            return EXIT_SHUTDOWN
        return EXIT_SUCCEEDED if succeeded else EXIT_FAILED


def _explained(outcome: FlowOutcome, places: ImportPlaces) -> FlowOutcome:
    """The outcome with what a failed import means here: what was looked for, where, and what is there instead."""
    error = outcome.error
    if error is None or error.type not in _IMPORT_ERRORS:
        return outcome
    explanation = places.explain(error.message)
    if explanation is None:
        return outcome
    message = f"{outcome.message.rstrip('.')}. {explanation.sentence}"
    return replace(outcome, failure_class=explanation.failure_class, message=message)


def _failed(run: Run, failure_class: FailureClass, message: str) -> WorkerResult:
    exit_code = EXIT_SHUTDOWN if failure_class is FailureClass.SHUTDOWN else EXIT_FAILED
    return WorkerResult(
        status=ResultStatus.FAILED,
        attempt=run.attempt,
        failure_class=failure_class,
        message=message,
        exit_code=exit_code,
    )
