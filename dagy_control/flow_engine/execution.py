"""Runs one flow: takes what the graph says is ready to a host, tells the graph how it ended, and tells the reporter both."""

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from dagy_control.flow_engine.attempts import Attempt, Finished, Host
from dagy_control.flow_engine.graph import (
    AttemptEnd,
    Change,
    FlowGraph,
    FlowOutcome,
    StopReason,
    TaskError,
)
from dagy_control.flow_engine.processes import ProcessHost
from dagy_control.flow_engine.reporting import EngineClock, Reporter, TaskRunState
from dagy_control.flow_engine.results import ResultStore
from dagy_control.flow_engine.threads import ThreadHost
from dagy_control.model.flow_templates import FlowSpecError, Json
from dagy_control.model.flows import FlowSpec, Isolation, TaskSpec, TaskState, resolve_parameters
from dagy_control.model.outcomes import SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to run, whatever the flow says.

    `max_concurrency`: most attempts at once; the flow may ask for fewer. None: the CPUs that this process may use.
    `stop_grace_s`: from SIGTERM to SIGKILL for a child that is ended. `result_bytes_max`: of one task's pickled result.
    `sys_path`: where children look for modules; None: as this process does when the run starts.
    """

    max_concurrency: int | None = None
    stop_grace_s: float = 5.0
    result_bytes_max: int = 256 * 1024 * 1024
    sys_path: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Running:
    attempt: Attempt
    started_at: datetime
    started_s: float
    timer: asyncio.TimerHandle | None
    ended_at: datetime | None = None
    ended_s: float = 0.0


class FlowRunner:
    """One run of one flow. `run` once; `request_shutdown` at any time, from the event loop's thread.

    Raises `FlowSpecError` when the spec is invalid or the parameters do not fit it.
    """

    def __init__(
        self,
        spec: FlowSpec,
        parameters: Mapping[str, Json],
        *,
        reporter: Reporter,
        clock: EngineClock,
        options: EngineOptions | None = None,
    ) -> None:
        resolved = resolve_parameters(spec, parameters)
        if problems := spec.validate() or resolved.problems:
            raise FlowSpecError(f"flow {spec.name!r} cannot run: " + "; ".join(problems))
        self._spec = spec
        self._tasks = {task.key: task for task in spec.tasks}
        self._graph = FlowGraph(spec)
        self._results = ResultStore(spec, resolved.values)
        self._reporter = reporter
        self._clock = clock
        self._options = options or EngineOptions()
        bounds = [bound for bound in (spec.max_concurrency, self._options.max_concurrency) if bound]
        self._concurrency = min(bounds) if bounds else usable_cpus()
        self._hosts: dict[Isolation, Host] = {}
        self._processes: ProcessHost | None = None
        self._running: dict[str, _Running] = {}
        self._ended: list[str] = []
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._begun = False
        self._drain_until_s: float | None = None
        self._drained = False

    async def run(self) -> FlowOutcome:
        """Run the flow to its end. When this returns or raises, no child of it is alive. Raises what the reporter raises."""
        if self._begun:
            raise RuntimeError("a FlowRunner runs once")
        self._begun = True
        try:
            self._open_hosts()
            while not self._graph.over:
                self._wake.clear()
                await self._collect_ended()
                await self._heed_stop()
                await self._start_ready()
                await self._wait()
            return self._graph.outcome()
        finally:
            for running in self._running.values():
                if running.timer is not None:
                    running.timer.cancel()
            for host in self._hosts.values():
                await host.close()
            self._over.set()

    def request_shutdown(self, drain_s: float) -> None:
        """Start nothing new; give what is in flight `drain_s` seconds, then end it; cancel the rest. Later calls change nothing."""
        if self._drain_until_s is None:
            self._drain_until_s = self._clock.monotonic() + drain_s
            self._wake.set()

    async def shutdown(self, drain_s: float) -> None:
        """`request_shutdown`, and wait until the run is over: at most `drain_s` + `stop_grace_s` and a moment."""
        self.request_shutdown(drain_s)
        if self._begun:
            await self._over.wait()

    def result(self) -> object:
        """What the flow's function returned, with the tasks' results in it. Only after `run` gave a success.

        Unpickles in this process: for an author's machine, not for the worker.
        """
        return self._results.flow_result()

    def _open_hosts(self) -> None:
        loop = asyncio.get_running_loop()
        used = {task.isolation for task in self._spec.tasks}
        if Isolation.THREAD in used:
            self._hosts[Isolation.THREAD] = ThreadHost(loop)
        if Isolation.PROCESS in used:
            modules = dict.fromkeys(task.import_path.partition(":")[0] for task in self._spec.tasks)
            self._processes = ProcessHost(
                preload=tuple(modules),
                sys_path=self._options.sys_path or tuple(sys.path),
                stop_grace_s=self._options.stop_grace_s,
                on_change=self._wake.set,
            )
            self._hosts[Isolation.PROCESS] = self._processes

    async def _heed_stop(self) -> None:
        if self._processes is not None and self._processes.failure is not None:
            raise self._processes.failure
        if self._drain_until_s is not None:
            await self._report_all(self._graph.stop(StopReason.SHUTDOWN))
            if self._clock.monotonic() >= self._drain_until_s:
                self._drained = True
                self._cancel_running(TaskError("Cancelled", SHUTDOWN_MESSAGE, failure_class=FailureClass.SHUTDOWN))
        if self._graph.stopped is StopReason.FAIL_FAST:
            self._cancel_running(TaskError("Cancelled", f"Cancelled while it ran: {StopReason.FAIL_FAST}"))

    def _cancel_running(self, error: TaskError) -> None:
        for running in self._running.values():
            running.attempt.terminate(AttemptEnd(TaskState.CANCELLED, error))

    async def _start_ready(self) -> None:
        for key in self._graph.take_ready(self._clock.monotonic(), self._free_places()):
            task = self._tasks[key]
            started_at, started_s = self._clock.now(), self._clock.monotonic()
            await self._reporter.task_changed(
                TaskRunState(
                    task_key=key,
                    name=task.name,
                    state=TaskState.RUNNING,
                    attempt=self._graph.attempt(key),
                    started_at=started_at,
                )
            )
            attempt = self._hosts[task.isolation].start(self._results.call(task, self._options.result_bytes_max))
            self._running[key] = _Running(attempt, started_at, started_s, _timer(task, attempt))
            attempt.ended.add_done_callback(functools.partial(self._note_end, key))

    def _note_end(self, key: str, _: asyncio.Future[Finished]) -> None:
        running = self._running[key]
        running.ended_at, running.ended_s = self._clock.now(), self._clock.monotonic()
        self._ended.append(key)
        self._wake.set()

    async def _collect_ended(self) -> None:
        ended, self._ended = self._ended, []
        for key in ended:
            running = self._running.pop(key)
            if running.timer is not None:
                running.timer.cancel()
            finished = running.attempt.ended.result()
            if finished.result is not None:
                self._results.put(key, finished.result)
            own, *others = self._graph.finish(key, finished.end, self._clock.monotonic())
            await self._report(own, running, finished)
            await self._report_all(others)

    async def _wait(self) -> None:
        """Until an attempt ends, a host changes, a shutdown is requested, a retry is due, or the drain is over."""
        moments: list[float] = []
        if self._drain_until_s is not None and not self._drained:
            moments.append(self._drain_until_s)
        if self._graph.next_retry_s is not None and self._free_places():
            moments.append(self._graph.next_retry_s)
        if self._graph.over:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(moments) - self._clock.monotonic() if moments else None):
                await self._wake.wait()

    def _free_places(self) -> int:
        ready = all(host.ready for host in self._hosts.values())
        return self._concurrency - len(self._running) if ready else 0

    async def _report_all(self, changes: Iterable[Change]) -> None:
        for change in changes:
            await self._report(change, None, None)

    async def _report(self, change: Change, running: _Running | None, finished: Finished | None) -> None:
        now = self._clock.now()
        error = change.error
        if change.state.is_terminal:
            self._results.task_over(change.key)
        await self._reporter.task_changed(
            TaskRunState(
                task_key=change.key,
                name=self._tasks[change.key].name,
                state=change.state,
                attempt=change.attempt,
                started_at=running.started_at if running else None,
                ended_at=running.ended_at if running else now,
                duration_s=round(running.ended_s - running.started_s, 3) if running else None,
                peak_memory_mb=finished.peak_memory_mb if finished else None,
                error_type=error.type if error else None,
                error_message=error.message if error else None,
                error_traceback=error.traceback if error else None,
                retry_at=now + timedelta(seconds=change.retry_in_s) if change.retry_in_s is not None else None,
            )
        )


def usable_cpus() -> int:
    """CPUs that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _timer(task: TaskSpec, attempt: Attempt) -> asyncio.TimerHandle | None:
    if task.timeout_seconds is None:
        return None
    message = (
        f"task {task.key!r} exceeded timeout of {task.timeout_seconds:g} s; raise timeout_seconds, or find what hangs"
    )
    error = TaskError("TimeoutError", message, failure_class=FailureClass.TIMED_OUT)
    verdict = AttemptEnd(TaskState.TIMED_OUT, error)
    return asyncio.get_running_loop().call_later(task.timeout_seconds, attempt.terminate, verdict)
