"""Listing the runs of a batch, all of them or some."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from dagy_control.model.runs import Run
from dagy_control.ports.runs import RunListings

LOOKED_AT_MAX = 10_000
"""Runs of a batch that are looked at for one list: ten full batches under one parent, a hundred reads."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Runs, newest first. `complete`: there are no more, or as many as were wanted; else `LOOKED_AT_MAX` were looked at."""

    runs: Sequence[Run]
    complete: bool


async def list_batch(
    listings: RunListings, correlation_id: str, *, limit: int, org_id: str | None = None, flow_name: str | None = None
) -> Listing:
    """The newest `limit` runs of a batch that are of this organisation and flow; None: of any."""
    found: list[Run] = []
    looked_at = 0
    async with aclosing(listings.of_correlation(correlation_id)) as pages:
        async for page in pages:
            looked_at += len(page)
            found += [run for run in page if org_id in (None, run.org_id) and flow_name in (None, run.flow_name)]
            if len(found) >= limit:
                break
            if looked_at >= LOOKED_AT_MAX:
                return Listing(found, complete=False)
    return Listing(found[:limit], complete=True)
