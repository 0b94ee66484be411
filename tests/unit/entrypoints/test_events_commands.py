"""How the dead-letter queue is read, where reading takes its time."""

from collections.abc import Sequence

from dagy_control.entrypoints.events_commands import read_queue
from dagy_control.model.events import ReceivedEvent
from tests.fakes.events import FakeTaskEvents


class SlowQueue(FakeTaskEvents):
    """So slow that what it has handed out is visible again after some calls."""

    receives = 0

    async def receive(self, *, wait_s: float) -> Sequence[ReceivedEvent]:
        """The next messages, the first ones again when all have been out."""
        self.receives += 1
        assert self.receives <= 100, "it reads for ever"
        if self.receives % 3 == 0:
            self.redeliver()
        return await super().receive(wait_s=wait_s)


async def test_reading_ends_when_the_first_messages_come_again() -> None:
    queue = SlowQueue()
    for _ in range(25):
        queue.put(None, problem="set aside")
    found = await read_queue(queue, 100)
    assert sorted(event.message_id for event in found) == sorted(f"message-{number}" for number in range(1, 26))
    assert len({event.message_id for event in found}) == 25
    newest = {event.receipt.rpartition("-")[2] for event in found}
    assert "2" in newest, "with the receipt that can still give it back"


async def test_no_more_than_asked_for_are_read_and_the_others_are_given_back() -> None:
    queue = FakeTaskEvents()
    for _ in range(15):
        queue.put(None, problem="set aside")
    assert len(await read_queue(queue, 12)) == 12
    assert list(queue.postponed.values()) == [0, 0, 0]
