"""What the engine tells about a run, and the clock that it is given."""

from datetime import datetime
from typing import NamedTuple, Protocol

from dagy_control.model.flows import TaskState


class EngineClock(Protocol):
    """Time, handed in; the kernel's clock fits."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC: for the times in reports."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards: for durations and retry delays."""
        ...


class TaskRunState(NamedTuple):
    """A task of a run, just after it changed. `attempt` counts from 1, 0 if it never began; times are this attempt's.

    PENDING with `retry_at`: this attempt failed with the error given, and another follows. `peak_memory_mb` (MiB) is that of
    the attempt's process, with what it shares with the zygote; None for a thread.
    """

    task_key: str
    name: str
    state: TaskState
    attempt: int
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    peak_memory_mb: float | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_traceback: str | None = None
    retry_at: datetime | None = None


class Reporter(Protocol):
    """Hears of every change of every task, one at a time and in order.

    RUNNING is told before the attempt begins; of a call that a thread took by itself, as soon as the loop hears of it.
    The engine waits for the reporter: a slow one should take the change and return. An exception raised here ends the run: the
    children are killed and `run` raises it.
    """

    async def task_changed(self, task: TaskRunState) -> None:
        """`task` is in a new state."""
        ...


class SilentReporter:
    """Tells nobody."""

    async def task_changed(self, task: TaskRunState) -> None:
        """Drop it."""
