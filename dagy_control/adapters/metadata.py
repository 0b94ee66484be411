"""The task metadata endpoint: how a container learns which task it is.

Source: "Amazon ECS task metadata endpoint version 4 for tasks on Fargate": `${ECS_CONTAINER_METADATA_URI_V4}/task` answers JSON
with `TaskARN`, and since when its images were pulled and until when: `PullStartedAt` and `PullStoppedAt`, RFC 3339.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from dagy_control.errors import Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.telemetry import log

TIMEOUT_S = 2.0
TRIES = 5

_LOG = log(__name__)


@dataclass(frozen=True, slots=True)
class OwnTask:
    """The task that this process runs in. From the start of the pull of its images AWS bills it; None: not told."""

    arn: str
    pull_started_at: datetime | None = None
    pull_stopped_at: datetime | None = None

    @property
    def pull_s(self) -> float | None:
        """Seconds that the pull took."""
        if self.pull_started_at is None or self.pull_stopped_at is None:
            return None
        return (self.pull_stopped_at - self.pull_started_at).total_seconds()


async def own_task(metadata_uri: str, clock: Clock) -> OwnTask | None:
    """The task that this process runs in; None, with a warning in the log, when the endpoint does not tell it.

    `metadata_uri` is the value of ECS_CONTAINER_METADATA_URI_V4. Asks up to five times: the endpoint may not answer at first.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        try:
            return await retrying(lambda: _ask(session, f"{metadata_uri}/task"), clock, tries=TRIES, key=metadata_uri)
        except Transient as error:
            _LOG.warning("Task metadata endpoint gives no ARN", event_type="METADATA_UNAVAILABLE", problem=str(error))
            return None


async def _ask(session: aiohttp.ClientSession, url: str) -> OwnTask:
    try:
        async with session.get(url) as response:
            response.raise_for_status()
            document = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Transient(f"{url}: {type(error).__name__}: {error}") from error
    arn = document.get("TaskARN") if isinstance(document, dict) else None
    if not isinstance(arn, str) or not arn:
        raise Transient(f"{url} answers no TaskARN")
    return OwnTask(arn, _moment(document, "PullStartedAt"), _moment(document, "PullStoppedAt"))


def _moment(document: Mapping[str, Any], name: str) -> datetime | None:
    """A time that the endpoint tells; None for one that is absent, has no offset or cannot be read: nothing depends on it."""
    try:
        moment = datetime.fromisoformat(str(document.get(name)))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
