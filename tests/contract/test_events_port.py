"""`ports.TaskEvents`, held to its docstrings over the fake and over SQS."""

import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from dagy_control.adapters.sqs_events import SqsTaskEvents, ensure_queue
from dagy_control.errors import Permanent
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.tasks import SeenTask
from tests.contract.conftest import Aws
from tests.fakes.events import FakeTaskEvents

pytestmark = pytest.mark.asyncio(loop_scope="session")

AnyEvents: TypeAlias = "FakeTaskEvents | SqsTaskEvents"


@dataclass(frozen=True)
class Queue:
    """A queue of the test's own. `left`: by its own counters, the messages that nobody has deleted, visible or not."""

    port: AnyEvents
    left: Callable[[], Awaitable[int]]


@pytest_asyncio.fixture(loop_scope="session")
async def queue(store: Aws | None) -> Queue:
    return in_memory() if store is None else await on(store)


@pytest.fixture
def events(queue: Queue) -> AnyEvents:
    return queue.port


def in_memory() -> Queue:
    fake = FakeTaskEvents()

    async def left() -> int:
        return len(fake.visible) + len(fake.in_flight)

    return Queue(fake, left)


async def on(server: Aws) -> Queue:
    sqs = server.clients.sqs
    url = await ensure_queue(sqs, server.calls, f"events-{uuid.uuid4().hex}")

    async def left() -> int:
        names: Any = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    return Queue(SqsTaskEvents(sqs, server.calls, queue_url=url), left)


def a_task(number: int) -> SeenTask:
    return SeenTask(arn=f"arn:aws:ecs:us-east-1:123456789012:task/main/{number}", cluster="main", last_status="STOPPED")


async def send(events: AnyEvents, task: SeenTask | None) -> None:
    """A message of this task, or one that is no event."""
    if isinstance(events, FakeTaskEvents):
        events.put(task, problem="" if task else "it is not JSON")
    elif task is None:
        await events.send("hello")
    else:
        detail = {"taskArn": task.arn, "clusterArn": task.cluster, "lastStatus": task.last_status}
        envelope = {"source": "aws.ecs", "detail-type": "ECS Task State Change", "version": "0", "detail": detail}
        await events.send(json.dumps(envelope))


async def drained(events: AnyEvents) -> list[ReceivedEvent]:
    found: list[ReceivedEvent] = []
    while batch := await events.receive(wait_s=0):
        assert len(batch) <= 10
        found += batch
    return found


async def test_an_empty_queue_answers_nothing(events: AnyEvents) -> None:
    assert list(await events.receive(wait_s=0)) == []


async def test_every_message_comes_at_most_ten_a_call_and_is_invisible_until_it_times_out(events: AnyEvents) -> None:
    for number in range(13):
        await send(events, a_task(number))
    found = await drained(events)
    assert {event.task.arn for event in found if event.task} == {a_task(number).arn for number in range(13)}
    assert {event.receive_count for event in found} == {1}
    assert len({event.message_id for event in found}) == 13


async def test_what_is_no_event_comes_with_its_problem(events: AnyEvents) -> None:
    await send(events, None)
    (event,) = await drained(events)
    assert event.task is None
    assert event.problem.startswith("it is not JSON")


async def test_messages_wait_are_counted_and_come_with_their_body(events: AnyEvents) -> None:
    assert await events.count() == 0
    await events.send("hello")
    await send(events, a_task(1))
    assert await events.count() == 2
    bodies = [event.body for event in await drained(events)]
    assert "hello" in bodies
    assert all(bodies)
    assert await events.count() == 2, "those that somebody looks at count too"


async def test_postponing_is_repeatable_and_takes_any_number_and_strange_receipts(events: AnyEvents) -> None:
    for number in range(13):
        await send(events, a_task(number))
    receipts = [event.receipt for event in await drained(events)]
    await events.postpone({})
    for _ in range(2):
        await events.postpone(dict.fromkeys(receipts, 30))
    assert await drained(events) == []
    await events.delete(receipts)
    assert await events.count() == 0


async def test_deleting_is_repeatable_and_takes_any_number(queue: Queue) -> None:
    """Of 13 messages 12, which is more than SQS takes in one call; the one that was not named stays."""
    for number in range(13):
        await send(queue.port, a_task(number))
    receipts = [event.receipt for event in await drained(queue.port)][:12]
    assert await queue.left() == 13
    await queue.port.delete([])
    assert await queue.left() == 13
    await queue.port.delete([*receipts, receipts[0]])
    assert await queue.left() == 1
    await queue.port.delete(receipts)
    assert await queue.left() == 1


async def test_ensuring_a_queue_twice_gives_one_url(aws: Aws) -> None:
    name = f"events-{uuid.uuid4().hex}"
    first = await ensure_queue(aws.clients.sqs, aws.calls, name)
    assert await ensure_queue(aws.clients.sqs, aws.calls, name) == first


async def test_a_message_comes_again_counted_when_it_was_not_deleted(aws: Aws) -> None:
    url = await ensure_queue(aws.clients.sqs, aws.calls, f"events-{uuid.uuid4().hex}")
    at_once_visible = SqsTaskEvents(aws.clients.sqs, aws.calls, queue_url=url, visibility_timeout_s=0)
    await send(at_once_visible, a_task(1))
    counts = [(await at_once_visible.receive(wait_s=0))[0].receive_count for _ in range(2)]
    assert counts == [1, 2]


async def test_a_postponed_message_comes_again_after_its_delay_not_after_the_visibility_timeout(aws: Aws) -> None:
    url = await ensure_queue(aws.clients.sqs, aws.calls, f"events-{uuid.uuid4().hex}")
    queue = SqsTaskEvents(aws.clients.sqs, aws.calls, queue_url=url, visibility_timeout_s=600)
    await send(queue, a_task(1))
    (event,) = await queue.receive(wait_s=0)
    assert event.sent_at is not None
    assert list(await queue.receive(wait_s=0)) == []
    await queue.postpone({event.receipt: 0})
    assert [each.receive_count for each in await queue.receive(wait_s=1)] == [2]


async def test_a_deleted_message_never_comes_again(aws: Aws) -> None:
    url = await ensure_queue(aws.clients.sqs, aws.calls, f"events-{uuid.uuid4().hex}")
    at_once_visible = SqsTaskEvents(aws.clients.sqs, aws.calls, queue_url=url, visibility_timeout_s=0)
    await send(at_once_visible, a_task(1))
    (event,) = await at_once_visible.receive(wait_s=0)
    await at_once_visible.delete([event.receipt])
    assert list(await at_once_visible.receive(wait_s=0)) == []


async def test_a_queue_that_is_not_there_is_permanent(aws: Aws) -> None:
    url = await ensure_queue(aws.clients.sqs, aws.calls, f"events-{uuid.uuid4().hex}")
    gone = SqsTaskEvents(aws.clients.sqs, aws.calls, queue_url=f"{url}-gone")
    with pytest.raises(Permanent):
        await gone.receive(wait_s=0)
