"""The task metadata endpoint: how a container learns which task it is.

Source: "Amazon ECS task metadata endpoint version 4": `${ECS_CONTAINER_METADATA_URI_V4}/task` answers JSON with `TaskARN`.
"""

import aiohttp

from dagy_control.errors import Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.telemetry import log

TIMEOUT_S = 2.0
TRIES = 5

_LOG = log(__name__)


async def own_task_arn(metadata_uri: str, clock: Clock) -> str | None:
    """The ARN of the task that this process runs in; None, with a warning in the log, when the endpoint does not tell it.

    `metadata_uri` is the value of ECS_CONTAINER_METADATA_URI_V4. Asks up to five times: the endpoint may not answer at first.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        try:
            return await retrying(lambda: _ask(session, f"{metadata_uri}/task"), clock, tries=TRIES, key=metadata_uri)
        except Transient as error:
            _LOG.warning("Task metadata endpoint gives no ARN", event_type="METADATA_UNAVAILABLE", problem=str(error))
            return None


async def _ask(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url) as response:
            response.raise_for_status()
            document = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Transient(f"{url}: {type(error).__name__}: {error}") from error
    arn = document.get("TaskARN") if isinstance(document, dict) else None
    if not isinstance(arn, str) or not arn:
        raise Transient(f"{url} answers no TaskARN")
    return arn
