"""The state of a flow while it runs: what is ready, what an attempt's end leads to, when and how it is over.

Pure: no I/O, no clock; times are monotonic seconds that the caller passes in. One `FlowGraph` belongs to one run; it changes
only through `take_ready`, `give_back`, `finish` and `stop`, each of which costs no more than the tasks that it touches.

    PENDING ─take_ready─▶ RUNNING ─finish─▶ SUCCEEDED | FAILED | TIMED_OUT | CANCELLED
       ▲                     └──── failed, retries left: waits, then ready again ───┐
       └──────────────────────────────────────────────────────────────────────────┘
    PENDING ─▶ SKIPPED when an upstream ended otherwise than SUCCEEDED; ─▶ CANCELLED when the flow is stopped.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from dagy_control.model.flows import FlowSpec, TaskState
from dagy_control.model.outcomes import SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass, ResultStatus


class StopReason(StrEnum):
    """Why nothing new is started."""

    FAIL_FAST = "another task failed, and the flow is fail_fast"
    SHUTDOWN = "the worker is shutting down"


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a task did not succeed, as text only: an exception of the user's never enters this process as an object.

    `retryable`: another attempt might end otherwise (not so for a callable that cannot be found).
    """

    type: str
    message: str
    traceback: str = ""
    failure_class: FailureClass = FailureClass.USER_ERROR
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How one attempt ended: SUCCEEDED, FAILED, TIMED_OUT or CANCELLED; `error` is given for all but the first."""

    state: TaskState
    error: TaskError | None = None


SUCCEEDED = AttemptEnd(TaskState.SUCCEEDED)


class Change(NamedTuple):
    """A task has a new state. `attempt` counts from 1, and is 0 for a task that never began.

    PENDING here means: this attempt ended with `error`, and the next one starts `retry_in_s` later.
    """

    key: str
    state: TaskState
    attempt: int
    error: TaskError | None = None
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class FlowOutcome:
    """How a flow ended. A failed one names its first failed task (none after a shutdown) and the class of the failure."""

    status: ResultStatus
    failure_class: FailureClass | None = None
    message: str = ""
    failed_task: str | None = None
    error: TaskError | None = None


class FlowGraph:
    """The tasks of one run. The spec must be valid (`spec.validate()` is empty).

    `upstream`: the keys that each task takes from, if the caller has them already. `salt`: what makes the jitter of this run's
    retries another than that of the same flow's other runs.
    """

    def __init__(self, spec: FlowSpec, upstream: Mapping[str, tuple[str, ...]] | None = None, salt: str = "") -> None:
        upstream = spec.upstream() if upstream is None else upstream
        self._salt = salt
        self._specs = {task.key: task for task in spec.tasks}
        self._fail_fast = spec.fail_fast
        self._states = dict.fromkeys(self._specs, TaskState.PENDING)
        self._attempts = dict.fromkeys(self._specs, 0)
        self._downstream: dict[str, list[str]] = {key: [] for key in self._specs}
        self._waits_for: dict[str, int] = {}
        for follower, keys in upstream.items():
            self._waits_for[follower] = len(keys)
            for key in keys:
                self._downstream[key].append(follower)
        self._ready = deque(key for key in self._specs if not self._waits_for[key])
        self._delayed: list[tuple[float, int, str]] = []  # a heap: monotonic seconds, order of arrival, key
        self._arrivals = 0
        self._running_of: dict[str, int] = defaultdict(int)  # attempts at once, by the name of a task with a limit
        self._held: dict[str, deque[str]] = defaultdict(deque)  # ready tasks whose name is at its limit
        self._open = len(self._specs)
        self._first_failure: tuple[str, TaskState, TaskError] | None = None
        self._stopped: StopReason | None = None

    @property
    def over(self) -> bool:
        """Every task is in a terminal state."""
        return self._open == 0

    @property
    def stopped(self) -> StopReason | None:
        """Why nothing new is started, if so."""
        return self._stopped

    @property
    def next_retry_s(self) -> float | None:
        """The moment (monotonic seconds) at which the next waiting retry becomes ready."""
        return self._delayed[0][0] if self._delayed else None

    def state(self, key: str) -> TaskState:
        """The task's state now."""
        return self._states[key]

    def attempt(self, key: str) -> int:
        """Attempts that the task has begun."""
        return self._attempts[key]

    def take_ready(self, now_s: float, limit: int) -> tuple[str, ...]:
        """Set up to `limit` ready tasks RUNNING, first come, first served, and give their keys; each is a new attempt."""
        while self._delayed and self._delayed[0][0] <= now_s:
            self._ready.append(heapq.heappop(self._delayed)[2])
        taken: list[str] = []
        while self._ready and len(taken) < limit:
            key = self._ready.popleft()
            if self._states[key] is TaskState.PENDING and self._within_limit(key):
                self._states[key] = TaskState.RUNNING
                self._attempts[key] += 1
                taken.append(key)
        return tuple(taken)

    def give_back(self, key: str) -> None:
        """A task that was taken has not begun, and is not to begin now: as if it had not been taken."""
        self._leave_limit(key)
        self._states[key] = TaskState.PENDING
        self._attempts[key] -= 1
        self._ready.appendleft(key)

    def finish(self, key: str, end: AttemptEnd, now_s: float) -> tuple[Change, ...]:
        """A RUNNING task's attempt ended. Gives every change that follows, the task's own first.

        Raises `ValueError` for a task that is not RUNNING, or an end that is none.
        """
        if self._states[key] is not TaskState.RUNNING or not end.state.is_terminal:
            raise ValueError(f"task {key!r} is {self._states[key]}, an attempt of it cannot end as {end.state}")
        self._leave_limit(key)
        if end.state is TaskState.SUCCEEDED:
            for follower in self._downstream[key]:
                self._waits_for[follower] -= 1
                if not self._waits_for[follower] and self._states[follower] is TaskState.PENDING:
                    self._ready.append(follower)
            return (self._end(key, end.state),)
        error = end.error or TaskError("Unknown", "no error was given")
        if end.state is TaskState.CANCELLED:
            return (self._end(key, end.state, error), *self._skip_followers(key))
        if error.retryable and self._attempts[key] <= self._specs[key].retries:
            return self._retry(key, error, now_s)
        if self._first_failure is None:
            self._first_failure = (key, end.state, error)
        changes = (self._end(key, end.state, error), *self._skip_followers(key))
        return (*changes, *self.stop(StopReason.FAIL_FAST)) if self._fail_fast else changes

    def stop(self, reason: StopReason) -> tuple[Change, ...]:
        """Start nothing more: every PENDING task becomes CANCELLED. The running ones are the caller's to end. Idempotent."""
        if self._stopped is not None:
            return ()
        self._stopped = reason
        error = TaskError("Cancelled", f"Cancelled before it started: {reason}")
        pending = [key for key, state in self._states.items() if state is TaskState.PENDING]
        return tuple(self._end(key, TaskState.CANCELLED, error) for key in pending)

    def outcome(self) -> FlowOutcome:
        """How the flow ended. The first task that failed for good decides; else a cancelled task makes it a shutdown.

        A shutdown that found every task succeeding is a success. Raises `ValueError` before the flow is over.
        """
        if not self.over:
            raise ValueError(f"{self._open} tasks are not over")
        if self._first_failure is not None:
            key, state, error = self._first_failure
            attempts = f" after {self._attempts[key]} attempts" if self._attempts[key] > 1 else ""
            message = f"Task {key!r} {state}{attempts}: {error.type}: {error.message}"
            return FlowOutcome(ResultStatus.FAILED, error.failure_class, message, key, error)
        if TaskState.CANCELLED in self._states.values():
            return FlowOutcome(ResultStatus.FAILED, FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
        return FlowOutcome(ResultStatus.SUCCEEDED)

    def _within_limit(self, key: str) -> bool:
        """Whether one more of this name may run, and if so it is counted; if not it waits until one of them ends."""
        task = self._specs[key]
        if task.concurrency_limit is None:
            return True
        if self._running_of[task.name] >= task.concurrency_limit:
            self._held[task.name].append(key)
            return False
        self._running_of[task.name] += 1
        return True

    def _leave_limit(self, key: str) -> None:
        task = self._specs[key]
        if task.concurrency_limit is not None:
            self._running_of[task.name] -= 1
            if held := self._held[task.name]:
                self._ready.appendleft(held.popleft())  # it was ready before whatever is ready now

    def _retry(self, key: str, error: TaskError, now_s: float) -> tuple[Change, ...]:
        if self._stopped is not None:
            # It had attempts left: that it will not get them is the stop's doing, not the task's failure.
            return (self._end(key, TaskState.CANCELLED, error), *self._skip_followers(key))
        delay_s = self._specs[key].retry_delay_s(self._attempts[key], self._salt)
        self._states[key] = TaskState.PENDING
        self._arrivals += 1
        heapq.heappush(self._delayed, (now_s + delay_s, self._arrivals, key))
        return (Change(key, TaskState.PENDING, self._attempts[key], error, delay_s),)

    def _skip_followers(self, key: str) -> Iterator[Change]:
        waiting = deque([key])
        while waiting:
            upstream = waiting.popleft()
            for follower in self._downstream[upstream]:
                if self._states[follower] is TaskState.PENDING:
                    error = TaskError("Skipped", f"Upstream task {upstream!r} ended {self._states[upstream]}")
                    yield self._end(follower, TaskState.SKIPPED, error)
                    waiting.append(follower)

    def _end(self, key: str, state: TaskState, error: TaskError | None = None) -> Change:
        self._states[key] = state
        self._open -= 1
        return Change(key, state, self._attempts[key], error)
