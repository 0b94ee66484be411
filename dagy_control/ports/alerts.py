"""Where alerts go."""

from typing import Protocol

from dagy_control.model.alerts import Alert


class Alerts(Protocol):
    """A topic that people subscribe to."""

    async def publish(self, topic_arn: str, alert: Alert) -> None:
        """Hand the alert over for delivery. Raises `Transient` or `Permanent`; repeating it may deliver it twice."""
        ...
