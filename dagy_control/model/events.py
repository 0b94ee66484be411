"""A message of the task-state queue."""

from dataclasses import dataclass
from datetime import datetime

from dagy_control.model.tasks import SeenTask


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One message: `task` is None when its body is not a task state-change event (`problem` says why).

    `body`: the message as it came, for those that are set aside. `sent_at`: when it came into the queue, aware UTC.
    """

    receipt: str
    message_id: str
    task: SeenTask | None
    problem: str = ""
    receive_count: int = 1
    body: str = ""
    sent_at: datetime | None = None
