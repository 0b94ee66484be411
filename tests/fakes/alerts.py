"""A topic in memory."""

from dagy_control.model.alerts import Alert
from tests.fakes.faults import Faulty, lost


class FakeAlerts(Faulty):
    """`ports.Alerts` in memory: `sent` holds what was published, with its topic."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, Alert]] = []

    async def publish(self, topic_arn: str, alert: Alert) -> None:
        after = await self._begin("publish")
        self.sent.append((topic_arn, alert))
        lost(after)
