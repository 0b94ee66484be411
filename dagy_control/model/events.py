"""A message of the task-state queue."""

from dataclasses import dataclass

from dagy_control.model.tasks import SeenTask


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One message: `task` is None when its body is not a task state-change event (`problem` says why)."""

    receipt: str
    message_id: str
    task: SeenTask | None
    problem: str = ""
    receive_count: int = 1
