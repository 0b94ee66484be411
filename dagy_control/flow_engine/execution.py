"""Runs one flow: takes what the graph says is ready to a host, tells the graph how it ended, and tells the reporter both."""

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta

from dagy_control.flow_engine.attempts import Finished, Host, Moment
from dagy_control.flow_engine.graph import (
    AttemptEnd,
    Change,
    FlowGraph,
    FlowOutcome,
    StopReason,
    TaskError,
)
from dagy_control.flow_engine.hooks import ENTRY, Hooks
from dagy_control.flow_engine.memory import ContainerMemory
from dagy_control.flow_engine.options import EngineOptions
from dagy_control.flow_engine.processes import ProcessHost
from dagy_control.flow_engine.reporting import EngineClock, Reporter, TaskRunState
from dagy_control.flow_engine.results import ResultStore
from dagy_control.flow_engine.running import Running
from dagy_control.flow_engine.threads import ThreadAttempt, ThreadHost
from dagy_control.flow_engine.waking import Waker
from dagy_control.model.flow_tasks import Isolation, TaskSpec, TaskState
from dagy_control.model.flow_templates import FlowSpecError, Json
from dagy_control.model.flows import FlowSpec, resolve_parameters
from dagy_control.model.outcomes import SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass

__all__ = ["EngineOptions", "FlowRunner", "usable_cpus"]

THREADS_AHEAD = 32
"""Attempts of a flow of threads alone that are handed over before a thread is free for them; see `threads`."""


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
        self._options = options or EngineOptions()
        self._tasks = {task.key: task for task in spec.tasks}
        upstream = spec.upstream()
        self._graph = FlowGraph(spec, upstream, self._options.run_id)
        self._results = ResultStore(spec, resolved.values, upstream, self._options.results)
        self._reporter = reporter
        self._clock = clock
        bounds = [bound for bound in (spec.max_concurrency, self._options.max_concurrency) if bound]
        self._concurrency = min(bounds) if bounds else usable_cpus()
        self._threads: ThreadHost | None = None
        self._hook_hosts: dict[Isolation, Host] = {}
        self._ahead = 0
        self._processes: ProcessHost | None = None
        self._running: dict[str, Running] = {}
        self._news: list[Running] = []
        self._waker = Waker()
        self._hooks = Hooks(
            self._hook_hosts,
            run_id=self._options.run_id,
            flow_name=spec.name,
            limit=self._concurrency,
            timeout_s=self._options.hook_timeout_s,
            on_failed=self._options.on_hook_failed,
            on_change=self._waker.wake,
        )
        self._begun = False
        self._drain_until_s: float | None = None
        self._drained = False

    async def run(self) -> FlowOutcome:
        """Run the flow to its end, hooks included. When this returns or raises, no child of it is alive.

        Raises what the reporter raises.
        """
        if self._begun:
            raise RuntimeError("a FlowRunner runs once")
        self._begun = True
        kept = False
        try:
            self._results.open()
            self._open_hosts()
            while not self._graph.over or self._hooks.active:
                self._waker.clear()
                await self._collect_news()
                await self._heed_stop()
                await self._start_ready()
                self._hooks.start_waiting()
                await self._wait()
            outcome = self._graph.outcome()
            kept = outcome.failure_class is None
            return outcome
        finally:
            self._hooks.close()
            for running in self._running.values():
                running.stop_timer()
            for host in (self._threads, self._processes, *self._hook_hosts.values()):
                if host is not None:
                    await host.close()
            if not kept:
                self._results.close()

    def request_shutdown(self, drain_s: float) -> None:
        """Start nothing new; give what is in flight `drain_s` seconds, then end it; cancel the rest. Later calls change nothing.

        The run is over at most `drain_s` + `stop_grace_s` and a moment later.
        """
        if self._drain_until_s is None:
            self._drain_until_s = self._clock.monotonic() + drain_s
            self._waker.wake()

    def result(self) -> object:
        """What the flow's function returned, with the tasks' results in it. Only after `run` gave a success.

        Unpacks in this process: for an author's machine, not for the worker.
        """
        return self._results.flow_result()

    def _open_hosts(self) -> None:
        loop = asyncio.get_running_loop()
        used = {task.isolation for task in self._spec.tasks}
        if Isolation.THREAD in used:
            self._threads = ThreadHost(loop, self._clock, self._concurrency)
            # Not in the places of the tasks: a hook must not wait for them, nor they for it.
            self._hook_hosts[Isolation.THREAD] = ThreadHost(loop, self._clock, self._concurrency)
        if used - {Isolation.THREAD}:
            modules = dict.fromkeys(path.partition(":")[0] for task in self._spec.tasks for path in _imports(task))
            self._processes = ProcessHost(
                preload=tuple(modules),
                sys_path=self._options.sys_path or tuple(sys.path),
                stop_grace_s=self._options.stop_grace_s,
                on_change=self._waker.wake,
                memory=ContainerMemory(self._options.cgroup_dir),
                attempts_max=self._options.tasks_per_process_max,
            )
            self._hook_hosts[Isolation.PROCESS] = self._hook_hosts[Isolation.FRESH] = self._processes
        elif not self._spec.fail_fast:  # which starts nothing after a failure
            self._ahead = THREADS_AHEAD

    async def _heed_stop(self) -> None:
        if self._processes is not None and self._processes.failure is not None:
            raise self._processes.failure
        if self._drain_until_s is not None:
            self._withdraw_unbegun()
            await self._report_all(self._graph.stop(StopReason.SHUTDOWN))
            if self._clock.monotonic() >= self._drain_until_s:
                self._drained = True
                self._cancel_running(TaskError("Cancelled", SHUTDOWN_MESSAGE, failure_class=FailureClass.SHUTDOWN))
                self._hooks.cancel()
        if self._graph.stopped is StopReason.FAIL_FAST:
            self._cancel_running(TaskError("Cancelled", f"Cancelled while it ran: {StopReason.FAIL_FAST}"))

    def _cancel_running(self, error: TaskError) -> None:
        for running in self._running.values():
            if running.attempt is not None:
                running.attempt.terminate(AttemptEnd(TaskState.CANCELLED, error))

    def _withdraw_unbegun(self) -> None:
        for running in list(self._running.values()):
            if isinstance(running.attempt, ThreadAttempt) and running.attempt.withdraw():
                del self._running[running.task.key]
                self._graph.give_back(running.task.key)

    async def _start_ready(self) -> None:
        clock = self._clock
        for key in self._graph.take_ready(clock.monotonic(), self._free_places()):
            task, ahead = self._tasks[key], len(self._running) >= self._concurrency
            running = Running(task, self._graph.attempt(key), self._note)
            if not ahead:
                running.began_at = Moment(clock.now(), clock.monotonic())
                await self._tell_running(running, running.began_at)
            self._running[key] = running
            call = self._results.call(task)
            if task.isolation is Isolation.THREAD and self._threads is not None:
                running.attempt = self._threads.start(call, running, ahead=ahead)
            elif self._processes is not None:
                # A retry begins clean, whatever the earlier attempts of others have left in their processes.
                fresh = task.isolation is Isolation.FRESH or running.number > 1
                running.attempt = self._processes.start(call, running, fresh=fresh)
            if not ahead:
                running.start_timer()

    def _note(self, running: Running) -> None:
        self._news.append(running)
        self._waker.wake()

    async def _collect_news(self) -> None:
        news, self._news = self._news, []
        for running in news:
            key, finished = running.task.key, running.finished
            if running.began_at is not None and not running.told:
                await self._tell_running(running, running.began_at)
                running.start_timer()
            if finished is None or self._running.get(key) is not running:
                continue
            del self._running[key]
            running.stop_timer()
            if finished.result is not None:
                self._results.put(key, finished.result)
            own, *others = self._graph.finish(key, finished.end, self._clock.monotonic())
            self._hooks.changed(running.task, own)
            await self._report(own, running, finished)
            if others:
                await self._report_all(others)

    async def _tell_running(self, running: Running, began_at: Moment) -> None:
        running.told = True
        state = TaskRunState(
            task_key=running.task.key,
            name=running.task.name,
            state=TaskState.RUNNING,
            attempt=running.number,
            started_at=began_at.at,
        )
        await self._reporter.task_changed(state)
        self._hooks.began(running.task, running.number)

    async def _wait(self) -> None:
        """Until an attempt or hook ends, a host changes, a shutdown is requested, a retry is due, or the drain is over."""
        if self._graph.over and not self._hooks.active:
            return
        moments: list[float] = []
        if self._drain_until_s is not None and not self._drained:
            moments.append(self._drain_until_s)
        if self._graph.next_retry_s is not None and self._free_places():
            moments.append(self._graph.next_retry_s)
        await self._waker.wait(min(moments) - self._clock.monotonic() if moments else None)

    def _free_places(self) -> int:
        if self._processes is not None and not self._processes.ready:
            return 0
        return self._concurrency + self._ahead - len(self._running)

    async def _report_all(self, changes: Iterable[Change]) -> None:
        for change in changes:
            await self._report(change, None, None)

    async def _report(self, change: Change, running: Running | None, finished: Finished | None) -> None:
        error = change.error
        if change.state.is_terminal:
            self._results.task_over(change.key)
        ended = finished.at if finished and finished.at else Moment(self._clock.now(), self._clock.monotonic())
        began = running.began_at if running else None
        await self._reporter.task_changed(
            TaskRunState(
                task_key=change.key,
                name=self._tasks[change.key].name,
                state=change.state,
                attempt=change.attempt,
                started_at=began.at if began else None,
                ended_at=ended.at,
                duration_s=round(ended.s - began.s, 3) if began else None,
                peak_memory_mb=finished.peak_memory_mb if finished else None,
                error_type=error.type if error else None,
                error_message=error.message if error else None,
                error_traceback=error.traceback if error else None,
                retry_at=ended.at + timedelta(seconds=change.retry_in_s) if change.retry_in_s is not None else None,
            )
        )


def usable_cpus() -> int:
    """CPUs that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _imports(task: TaskSpec) -> tuple[str, ...]:
    """The import paths of all that an attempt of this task, or a hook of it, calls."""
    functions = tuple(path for _, path in task.function_paths())
    return (task.import_path, *functions, ENTRY) if functions else (task.import_path,)
