"""`ports.TaskEvents` and `ports.DeadLetters` on SQS."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import TypedDict

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.ecs_reading import NotATaskEvent, read_event
from dagy_control.adapters.hot_answers import AnswerForm, answered_as
from dagy_control.adapters.session import LONG_POLL_MAX_S
from dagy_control.errors import Transient
from dagy_control.kernel.telemetry import log
from dagy_control.model.events import ReceivedEvent

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

BATCH_MAX = 10
"""Messages that one ReceiveMessage or DeleteMessageBatch takes (SQS API Reference)."""


_LOG = log(__name__)


class _Attributes(msgspec.Struct, gc=False):
    receive_count: int = msgspec.field(name="ApproximateReceiveCount", default=1)
    sent_ms: int | None = msgspec.field(name="SentTimestamp", default=None)


class ReceivedMessage(msgspec.Struct, rename="pascal", gc=False):
    """A message as SQS hands it out."""

    message_id: str
    receipt_handle: str
    body: str = ""
    attributes: _Attributes = msgspec.field(default_factory=_Attributes)


class MessagesReceived(TypedDict, total=False):
    """An answer of ReceiveMessage; of an empty queue it has no member."""

    Messages: list[ReceivedMessage] | None


def _left_out(message: Any, problem: str) -> None:  # noqa: ANN401 - any JSON value
    _LOG.error(
        "SQS message without a receipt", event_type="MESSAGE_UNREADABLE", message=str(message)[:500], problem=problem
    )


RECEIVE_MESSAGE = AnswerForm(
    "ReceiveMessage", MessagesReceived, pieces="Messages", piece=ReceivedMessage, left_out=_left_out
)


class _NotDeleted(TypedDict, total=False):
    SenderFault: bool
    Message: str


class MessagesDeleted(TypedDict, total=False):
    """An answer of DeleteMessageBatch."""

    Failed: list[_NotDeleted]


DELETE_MESSAGES = AnswerForm("DeleteMessageBatch", MessagesDeleted)


class SqsTaskEvents:
    """The task-state queue. `visibility_timeout_s`: how long a received message stays invisible; None: as the queue says."""

    def __init__(
        self, client: "SQSClient", calls: AwsCalls, *, queue_url: str, visibility_timeout_s: int | None = None
    ) -> None:
        self._client = client
        self._call = calls.of("sqs")
        self._queue_url = queue_url
        self._visibility: dict[str, int] = {}
        if visibility_timeout_s is not None:
            self._visibility["VisibilityTimeout"] = visibility_timeout_s

    async def receive(self, *, wait_s: float) -> Sequence[ReceivedEvent]:
        """A long poll. A message that cannot be read is an event with a problem: the consumer decides to drop it."""
        request: Any = self._visibility
        with self._call("ReceiveMessage"), answered_as(RECEIVE_MESSAGE):
            answer: Any = await self._client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=BATCH_MAX,
                WaitTimeSeconds=min(int(wait_s), LONG_POLL_MAX_S),
                AttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                **request,
            )
        page: MessagesReceived = answer
        return [received(message) for message in page.get("Messages") or ()]

    async def delete(self, receipts: Sequence[str]) -> None:
        """DeleteMessageBatch, ten a call. A receipt that has expired is no error: its message has come again under another."""
        distinct = list(dict.fromkeys(receipts))
        for start in range(0, len(distinct), BATCH_MAX):
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(distinct[start : start + BATCH_MAX])
            ]
            with self._call("DeleteMessageBatch"), answered_as(DELETE_MESSAGES):
                answer: Any = await self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            if failed := [each for each in answer.get("Failed", ()) if not each.get("SenderFault")]:
                raise Transient(f"SQS did not delete {len(failed)} messages: {failed[0].get('Message', 'no reason')}")

    async def postpone(self, delays_s: Mapping[str, int]) -> None:
        """ChangeMessageVisibilityBatch. A receipt that has expired is no error, as with `delete`."""
        each = list(delays_s.items())
        for start in range(0, len(each), BATCH_MAX):
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": delay_s}
                for number, (receipt, delay_s) in enumerate(each[start : start + BATCH_MAX])
            ]
            with self._call("ChangeMessageVisibilityBatch"):
                await self._client.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)

    async def count(self) -> int:
        """Messages that wait, those that somebody is just looking at among them; approximate, as all that SQS counts."""
        names: Any = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        with self._call("GetQueueAttributes"):
            answer = await self._client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    async def send(self, body: str) -> None:
        """Put a message into the queue: what EventBridge does in AWS, and the embedded cloud does by this."""
        with self._call("SendMessage"):
            await self._client.send_message(QueueUrl=self._queue_url, MessageBody=body)


async def ensure_queue(client: "SQSClient", calls: AwsCalls, name: str) -> str:
    """The URL of the queue of this name, made with SQS's own defaults when there is none. Safe to repeat."""
    with calls.of("sqs")("CreateQueue"):
        answer = await client.create_queue(QueueName=name)
    return answer["QueueUrl"]


def received(message: ReceivedMessage) -> ReceivedEvent:
    """A message as SQS hands it out, read."""
    task, problem = None, ""
    try:
        task = read_event(message.body)
    except NotATaskEvent as error:
        problem = str(error)
    sent_ms = message.attributes.sent_ms
    return ReceivedEvent(
        receipt=message.receipt_handle,
        message_id=message.message_id,
        task=task,
        problem=problem,
        receive_count=message.attributes.receive_count,
        body=message.body,
        sent_at=None if sent_ms is None else datetime.fromtimestamp(sent_ms / 1000, UTC),
    )
