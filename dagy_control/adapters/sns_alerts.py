"""`ports.Alerts` on SNS.

Source: Amazon SNS API Reference, Publish: a subject is ASCII, begins with a letter, number or punctuation mark, has no line breaks or
control characters, and fewer than 100 characters; a message has 256 KiB at most, its attributes included.
"""

from typing import TYPE_CHECKING

from dagy_control.adapters.calls import AwsCalls
from dagy_control.model.alerts import Alert

if TYPE_CHECKING:
    from types_aiobotocore_sns import SNSClient

SUBJECT_MAX_CHARACTERS = 99
BODY_MAX_BYTES = 250_000


class SnsAlerts:
    """Publishes to whatever topic it is told."""

    def __init__(self, client: "SNSClient", calls: AwsCalls) -> None:
        self._client = client
        self._call = calls.of("sns")

    async def publish(self, topic_arn: str, alert: Alert) -> None:
        """Publish, with what SNS would refuse made to fit: an alert is better cut than not sent."""
        with self._call("Publish"):
            await self._client.publish(
                TopicArn=topic_arn,
                Subject=fitting_subject(alert.subject),
                Message=alert.body.encode()[:BODY_MAX_BYTES].decode(errors="ignore"),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in alert.attributes.items()
                },
            )


def fitting_subject(text: str) -> str:
    """The text as SNS takes it for a subject."""
    plain = "".join(each if " " <= each <= "~" else "?" for each in " ".join(text.split()))
    return plain[:SUBJECT_MAX_CHARACTERS]
