"""The first runs of each flow of each organisation, of a queue of any length: all that a fair choice needs. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from dagy_control.launching.admission import place_in_flow
from dagy_control.model.runs import ActiveRun


class QueueSample:
    """Keeps at most `2 * each` runs of a flow while runs are added, `each` for good: those of highest priority, then the oldest.

    However long one flow's queue is, another's first run is in the sample.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._flows: defaultdict[tuple[str, str], list[ActiveRun]] = defaultdict(list)

    def add(self, runs: Iterable[ActiveRun], *, due_by: datetime) -> None:
        """Take in a page of the queue. Runs that must still wait at `due_by` take no place."""
        for run in runs:
            if run.not_before is not None and run.not_before > due_by:
                continue
            kept = self._flows[run.org_id, run.flow_name]
            kept.append(run)
            if len(kept) > 2 * self._each:
                kept[:] = self._first(kept)

    def discard(self, run_ids: frozenset[str]) -> None:
        """These have been taken up."""
        for flow, kept in list(self._flows.items()):
            kept[:] = [run for run in kept if run.run_id not in run_ids]
            if not kept:
                del self._flows[flow]

    def runs(self) -> Sequence[ActiveRun]:
        """The sample, in no order."""
        return [run for kept in self._flows.values() for run in self._first(kept)]

    def _first(self, kept: Sequence[ActiveRun]) -> list[ActiveRun]:
        return heapq.nsmallest(self._each, kept, key=place_in_flow)
