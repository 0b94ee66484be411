"""The queue of task state-change events."""

from collections.abc import Sequence
from typing import Protocol

from dagy_control.model.events import ReceivedEvent


class TaskEvents(Protocol):
    """Events arrive at least once and unordered; they are hints."""

    async def receive(self, *, wait_s: float) -> Sequence[ReceivedEvent]:
        """Up to ten messages, waiting up to `wait_s` (20 s at most) for the first; empty when none came.

        Cancelling the call is safe: a message that was in flight becomes visible again.
        """
        ...

    async def delete(self, receipts: Sequence[str]) -> None:
        """Forget messages whose effect is durable. Safe to repeat; a failed delete only means a duplicate later."""
        ...
