"""The queue of task state-change events, and the one for messages that nobody can use."""

from collections.abc import Mapping, Sequence
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

    async def postpone(self, delays_s: Mapping[str, int]) -> None:
        """Let messages, by receipt, come again after so many seconds from now. Best effort: a failed one comes after the usual time.

        Raises `Transient` when SQS cannot be asked. Safe to repeat.
        """
        ...


class DeadLetters(Protocol):
    """The dead-letter queue: messages set aside, by us or by the queue's own redrive policy, until a person has looked at them."""

    async def send(self, body: str) -> None:
        """Put a message there. Repeating may double it."""
        ...

    async def count(self) -> int:
        """About how many messages there are. Safe to repeat."""
        ...
