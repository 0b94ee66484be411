"""The queue of task state-change events in memory."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dagy_control.kernel.clock import Clock
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.tasks import SeenTask
from tests.fakes.faults import Faulty, lost


class FakeTaskEvents(Faulty):
    """`ports.TaskEvents` in memory. Without a clock an empty queue answers at once; with one, after `wait_s` or at the first message.

    `deleted` are the ids of the messages that are gone for good, `postponed` the delays by receipt. The fake is a `DeadLetters` too.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.visible: deque[ReceivedEvent] = deque()
        self.in_flight: dict[str, ReceivedEvent] = {}
        self.deleted: list[str] = []
        self.postponed: dict[str, int] = {}
        self._clock = clock
        self._arrived = asyncio.Event()
        self._sent = 0

    def put(self, task: SeenTask | None, *, problem: str = "", body: str = "") -> ReceivedEvent:
        """A message of this task; None, with a problem: one that cannot be read."""
        self._sent += 1
        event = ReceivedEvent(
            receipt=f"receipt-{self._sent}-1",
            message_id=f"message-{self._sent}",
            task=task,
            problem=problem,
            body=body or f"body of message-{self._sent}",
        )
        self._put(event)
        return event

    def redeliver(self) -> None:
        """The visibility timeout of every message in flight ends: each comes again, under a new receipt."""
        for event in self.in_flight.values():
            count = event.receive_count + 1
            receipt = f"{event.receipt.rsplit('-', 1)[0]}-{count}"
            self._put(replace(event, receipt=receipt, receive_count=count))
        self.in_flight.clear()

    async def receive(self, *, wait_s: float) -> Sequence[ReceivedEvent]:
        after = await self._begin("receive")
        if not self.visible and self._clock is not None:
            await self._wait(self._clock, wait_s)
        batch = [self.visible.popleft() for _ in range(min(10, len(self.visible)))]
        self.in_flight.update((event.receipt, event) for event in batch)
        if not self.visible:
            self._arrived.clear()
        lost(after)
        return batch

    async def postpone(self, delays_s: Mapping[str, int]) -> None:
        after = await self._begin("postpone")
        self.postponed.update(delays_s)
        lost(after)

    async def send(self, body: str) -> None:
        after = await self._begin("send")
        self.put(None, problem="set aside", body=body)
        lost(after)

    async def count(self) -> int:
        lost(await self._begin("count"))
        return len(self.visible) + len(self.in_flight)

    async def delete(self, receipts: Sequence[str]) -> None:
        after = await self._begin("delete")
        self.deleted += [self.in_flight.pop(each).message_id for each in receipts if each in self.in_flight]
        lost(after)

    def _put(self, event: ReceivedEvent) -> None:
        self.visible.append(event)
        self._arrived.set()

    async def _wait(self, clock: Clock, wait_s: float) -> None:
        waits = {asyncio.ensure_future(each) for each in (clock.sleep(wait_s), self._arrived.wait())}  # noqa: TID251 - raced and ended right here
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
