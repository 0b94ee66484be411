"""Hooks: the author's functions that are told how a task fares. Each call is one of its own, and no hook can harm its task.

A hook runs where its task runs, in a child process or a thread, but never in the task's own attempt: so it is also told of a
task that timed out, was killed, or ran out of memory, and it can neither spend the task's time nor lose its result.
"""

import asyncio
import inspect
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dagy_control.flow_engine.attempts import Attempt, Finished, Host, Moment
from dagy_control.flow_engine.calls import Call, resolve_callable
from dagy_control.flow_engine.graph import AttemptEnd, Change, TaskError
from dagy_control.flow_engine.packing import Packing
from dagy_control.model.flow_tasks import NO_HOOKS, HookKind, Isolation, ResultFormat, TaskSpec, TaskState

ENTRY = f"{__name__}:tell"
_NOTHING_KEPT = Packing(ResultFormat.JSON, file="/nowhere", inline_bytes_max=64, bytes_max=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """What a hook is given. `attempt` counts from 1; the error is that attempt's; `retry_in_s`: when another one follows."""

    kind: str
    run_id: str
    flow_name: str
    task_key: str
    task_name: str
    attempt: int
    error_type: str | None = None
    error_message: str | None = None
    error_traceback: str | None = None
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A hook that raised, died or took too long. `function`: its import path."""

    kind: HookKind
    task_key: str
    function: str
    error: TaskError


def say_on_standard_error(failure: HookFailure) -> None:
    """What is done with a hook's failure unless the caller of the engine wants it otherwise."""
    error = failure.error
    text = f"{failure.kind} {failure.function} of task {failure.task_key!r} failed: {error.type}: {error.message}\n"
    sys.stderr.write(text + error.traceback)


def tell(function: str, event: Mapping[str, Any]) -> None:
    """Call one hook: the callable of every hook's own `Call`, in the child or the thread."""
    told = resolve_callable(function, event["task_key"])(TaskEvent(**event))
    if inspect.iscoroutine(told):
        asyncio.run(told)


class Hooks:
    """The hooks of one run: those that wait and those that run, at most `limit` at once, each for at most `timeout_s`.

    `on_change` is called when one has ended.
    """

    def __init__(
        self,
        hosts: Mapping[Isolation, Host],
        *,
        run_id: str,
        flow_name: str,
        limit: int,
        timeout_s: float,
        on_failed: Callable[[HookFailure], None],
        on_change: Callable[[], None],
    ) -> None:
        self._hosts = hosts
        self._names = {"run_id": run_id, "flow_name": flow_name}
        self._limit = limit
        self._timeout_s = timeout_s
        self._on_failed = on_failed
        self._on_change = on_change
        self._waiting: deque[tuple[TaskSpec, HookKind, str, dict[str, Any]]] = deque()
        self._running: dict[_RunningHook, tuple[Attempt, asyncio.TimerHandle]] = {}

    @property
    def active(self) -> bool:
        """Some hook waits or runs."""
        return bool(self._waiting or self._running)

    def began(self, task: TaskSpec, attempt: int) -> None:
        """An attempt begins."""
        if task.hooks is not NO_HOOKS:
            self._add(task, HookKind.ON_RUNNING, Change(task.key, TaskState.RUNNING, attempt))

    def changed(self, task: TaskSpec, change: Change) -> None:
        """An attempt has ended."""
        if task.hooks is not NO_HOOKS and (kind := _KINDS.get(change.state)) is not None:
            self._add(task, kind, change)

    def start_waiting(self) -> None:
        """Start as many as may run."""
        while self._waiting and len(self._running) < self._limit:
            task, kind, function, event = self._waiting[0]
            host = self._hosts[task.isolation]
            if not host.ready:
                return
            self._waiting.popleft()
            call = Call(task.key, ENTRY, (function, event), {}, {}, {}, _NOTHING_KEPT)
            running = _RunningHook(self, kind, task.key, function)
            attempt = host.start(call, running)
            message = f"it took longer than {self._timeout_s:g} s and was ended"
            verdict = AttemptEnd(TaskState.TIMED_OUT, TaskError("TimeoutError", message))
            timer = asyncio.get_running_loop().call_later(self._timeout_s, attempt.terminate, verdict)
            self._running[running] = attempt, timer

    def cancel(self) -> None:
        """Start no more, and end those that run; each is told of as failed."""
        waiting, self._waiting = self._waiting, deque()
        for task, kind, function, _ in waiting:
            error = TaskError("Cancelled", "it was not called: the worker is shutting down")
            self._on_failed(HookFailure(kind, task.key, function, error))
        for attempt, _ in list(self._running.values()):
            attempt.terminate(AttemptEnd(TaskState.CANCELLED, TaskError("Cancelled", "the worker is shutting down")))

    def close(self) -> None:
        """The run is over or has been given up: let go of the timers."""
        for _, timer in self._running.values():
            timer.cancel()

    def _add(self, task: TaskSpec, kind: HookKind, change: Change) -> None:
        error = change.error
        event = TaskEvent(
            kind=kind.value,
            task_key=task.key,
            task_name=task.name,
            attempt=change.attempt,
            error_type=error.type if error else None,
            error_message=error.message if error else None,
            error_traceback=error.traceback if error else None,
            retry_in_s=change.retry_in_s,
            **self._names,
        )
        for function in task.hooks.of(kind):
            self._waiting.append((task, kind, function, asdict(event)))

    def ended(self, hook: "_RunningHook", finished: Finished) -> None:
        """One has ended."""
        _, timer = self._running.pop(hook)
        timer.cancel()
        if finished.end.error is not None:
            self._on_failed(HookFailure(hook.kind, hook.task_key, hook.function, finished.end.error))
        self._on_change()


@dataclass(frozen=True, slots=True, eq=False)
class _RunningHook:
    hooks: Hooks
    kind: HookKind
    task_key: str
    function: str

    def began(self, moment: Moment) -> None:
        """Nobody asks."""

    def ended(self, finished: Finished) -> None:
        """Let the run know."""
        self.hooks.ended(self, finished)


_KINDS = {
    TaskState.SUCCEEDED: HookKind.ON_COMPLETION,
    TaskState.FAILED: HookKind.ON_FAILURE,
    TaskState.TIMED_OUT: HookKind.ON_FAILURE,
    TaskState.PENDING: HookKind.ON_RETRY,
}
