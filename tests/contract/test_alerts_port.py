"""`ports.Alerts`: what a subscriber gets, over the fake and over SNS."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from dagy_control.adapters.sns_alerts import SnsAlerts, fitting_subject
from dagy_control.errors import DagyError, Permanent
from dagy_control.model.alerts import Alert
from dagy_control.ports.alerts import Alerts
from tests.contract.conftest import Aws
from tests.fakes.alerts import FakeAlerts

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALERT = Alert(
    subject="[PROD] Orphan Tasks Stopped: 2 tasks",
    body="Environment: prod\n\n- abc123: Exceeded max runtime (8.5h > 6h)",
    attributes={"severity": "MEDIUM", "alert_type": "orphan_tasks"},
)


@dataclass
class Topic:
    """A topic with a queue subscribed to it, or the fake."""

    alerts: Alerts
    arn: str = "arn:aws:sns:us-east-1:123456789012:alerts"
    aws: Aws | None = None
    queue_url: str = ""
    got: list[Alert] = field(default_factory=list)

    async def received(self) -> Alert:
        """The one message that a subscriber has got."""
        if isinstance(self.alerts, FakeAlerts):
            ((arn, alert),) = self.alerts.sent
            assert arn == self.arn
            return alert
        assert self.aws is not None
        answer: Any = await self.aws.clients.sqs.receive_message(QueueUrl=self.queue_url, WaitTimeSeconds=5)
        (message,) = answer["Messages"]
        told = json.loads(message["Body"])
        attributes = {name: value["Value"] for name, value in told["MessageAttributes"].items()}
        return Alert(subject=told["Subject"], body=told["Message"], attributes=attributes)


@pytest_asyncio.fixture(loop_scope="session")
async def topic(store: Aws | None) -> Topic:
    return Topic(FakeAlerts()) if store is None else await made(store)


async def made(aws: Aws) -> Topic:
    name = uuid.uuid4().hex
    arn = (await aws.clients.sns.create_topic(Name=name))["TopicArn"]
    queue_url = (await aws.clients.sqs.create_queue(QueueName=name))["QueueUrl"]
    shown: Any = await aws.clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    await aws.clients.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=shown["Attributes"]["QueueArn"])
    return Topic(SnsAlerts(aws.clients.sns, aws.calls), arn, aws, queue_url)


async def test_a_subscriber_gets_subject_body_and_attributes(topic: Topic) -> None:
    await topic.alerts.publish(topic.arn, ALERT)
    assert await topic.received() == ALERT


async def test_what_sns_would_refuse_is_made_to_fit(aws: Aws) -> None:
    topic = await made(aws)
    odd = Alert(subject="[PRÖD]\nOrphan " + "x" * 120, body="ü" * 200_000, attributes={"severity": "MEDIUM"})
    await topic.alerts.publish(topic.arn, odd)
    got = await topic.received()
    assert got.subject == ("[PR?D] Orphan " + "x" * 120)[:99]
    assert got.body == "ü" * 125_000


async def test_a_topic_that_is_not_there_is_permanent(aws: Aws) -> None:
    topic = await made(aws)
    with pytest.raises(DagyError) as refused:
        await topic.alerts.publish(f"{topic.arn}-other", ALERT)
    assert isinstance(refused.value, Permanent)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("plain", "plain"),
        ("two\r\nlines\tand a tab", "two lines and a tab"),
        ("\x00bell\x07", "?bell?"),
        ("  ü  ", "?"),
        ("x" * 100, "x" * 99),
    ],
)
async def test_a_subject_is_made_ascii_in_one_line(text: str, subject: str) -> None:
    assert fitting_subject(text) == subject
