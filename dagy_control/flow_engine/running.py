"""An attempt from its start to its end, as the runner keeps it."""

import asyncio
from collections.abc import Callable

from dagy_control.flow_engine.attempts import Attempt, Finished, Moment
from dagy_control.flow_engine.graph import AttemptEnd, TaskError
from dagy_control.model.flow_tasks import TaskSpec, TaskState
from dagy_control.model.runs import FailureClass


class Running:
    """An attempt that was started, and what has become of it; the listener of its host. `on_news` is called with it then."""

    __slots__ = ("_on_news", "attempt", "began_at", "finished", "number", "task", "timer", "told")

    def __init__(self, task: TaskSpec, number: int, on_news: Callable[["Running"], None]) -> None:
        self.task = task
        self.number = number
        self.told = False  # the reporter has heard that it runs
        self.attempt: Attempt | None = None
        self.began_at: Moment | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.finished: Finished | None = None
        self._on_news = on_news

    def began(self, moment: Moment) -> None:
        """It was started ahead, and has begun."""
        self.began_at = moment
        self._on_news(self)

    def ended(self, finished: Finished) -> None:
        """It has ended."""
        self.finished = finished
        self._on_news(self)

    def start_timer(self) -> None:
        """End it when its time is over."""
        timeout_s = self.task.timeout_seconds
        if timeout_s is None or self.attempt is None or self.finished is not None:
            return
        message = (
            f"task {self.task.key!r} exceeded timeout of {timeout_s:g} s; raise timeout_seconds, or find what hangs"
        )
        error = TaskError("TimeoutError", message, failure_class=FailureClass.TIMED_OUT)
        verdict = AttemptEnd(TaskState.TIMED_OUT, error)
        self.timer = asyncio.get_running_loop().call_later(timeout_s, self.attempt.terminate, verdict)

    def stop_timer(self) -> None:
        """It has ended, or the run has."""
        if self.timer is not None:
            self.timer.cancel()
