"""The bound of the queue: what is ordered beyond it is refused at once, instead of waiting for hours.

Soft: a count is a moment's, and a thousand callers at once may each find the last place. It costs a launch one COUNT query.
A long queue is judged by one of its shards: a run's shard is a hash of its id (`model/runs.active_key`), so a shard holds a
sixteenth of the queue, within 1.3 % (one standard deviation) at 100,000 runs. A short limit is counted over all shards.
"""

import zlib

from dagy_control.model.runs import ACTIVE_SHARDS, RunStatus
from dagy_control.ports.runs import RunListings
from dagy_control.requests.refusals import RequestRefused

COUNTED_WHOLE_UP_TO = 100 * ACTIVE_SHARDS
"""Up to this limit all shards are counted: of fewer than a hundred runs a shard, one says little about the others."""


class QueueFull(RequestRefused):
    """There is no room in the queue. Nothing is wrong with the order: later there may be. HTTP status 429 in the API."""

    def __init__(self, message: str) -> None:
        super().__init__("queue", message)


async def check_room(listings: RunListings, *, executor: str, limit: int, orders: int, seed: str) -> None:
    """Raise `QueueFull` when the executor's queue has no room for so many more runs. `seed` chooses the shard that is counted.

    More than it may ever hold are refused as such: waiting would not help.
    """
    if orders > limit:
        raise RequestRefused(
            "queue",
            f"{orders:,} runs are more than the queue may ever hold: {limit:,} (launching.max_queued_runs); split them",
        )
    held, about = await _held(listings, executor, limit, seed)
    if held + orders > limit:
        more = f", and {orders:,} are ordered" if orders > 1 else ""
        raise QueueFull(
            f"the queue holds {about}{held:,} runs{more}; the limit is {limit:,} (launching.max_queued_runs): "
            "launch later, or raise it"
        )


async def _held(listings: RunListings, executor: str, limit: int, seed: str) -> tuple[int, str]:
    """How many runs wait, and in how far that is so: counting ends just beyond the limit."""
    if limit <= COUNTED_WHOLE_UP_TO:
        held = 0
        for shard in range(ACTIVE_SHARDS):
            held += await listings.count_active(RunStatus.QUEUED, shard, executor=executor, up_to=limit - held)
            if held >= limit:
                break
        return held, ""
    shard = zlib.crc32(seed.encode()) % ACTIVE_SHARDS
    up_to = -(-limit // ACTIVE_SHARDS)
    return ACTIVE_SHARDS * await listings.count_active(
        RunStatus.QUEUED, shard, executor=executor, up_to=up_to
    ), "about "
