"""A suspicion: that a task looked like an orphan in a scan."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """Kept outside any process, so that "seen in two scans" holds for the loop, the command and the API alike."""

    task_arn: str
    reason: str
    first_seen: datetime
    last_seen: datetime
    expires_at: datetime
