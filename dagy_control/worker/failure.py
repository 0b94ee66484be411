"""A failure before the flow's own tasks ran, with its class."""

from dagy_control.errors import DagyError
from dagy_control.model.runs import FailureClass


class WorkerFailure(DagyError):
    """The worker cannot run the flow. The message says what, where and what to do; it becomes the run's error_message."""

    def __init__(self, failure_class: FailureClass, message: str) -> None:
        super().__init__(message)
        self.failure_class = failure_class


class ShutdownRequested(DagyError):
    """SIGTERM came while the run was being prepared: nothing of the flow's has begun."""
