"""Which queued runs go first: fair between organisations, then between an organisation's flows, within the limits. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from dagy_control.model.census import Census
from dagy_control.model.runs import ActiveRun

_EPOCH = datetime.fromtimestamp(0, UTC)

_Waiting: TypeAlias = tuple[int, datetime, str, ActiveRun]
"""A queued run behind its place in its flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """How many runs may be active at once; None for no limit. Soft: counts are a snapshot."""

    max_concurrent_tasks: int = 1000
    max_per_org: int | None = None
    max_per_flow: int | None = None
    max_admitted: int = 100


@dataclass(frozen=True, slots=True)
class Admission:
    """The admitted runs in the order of launching, and why each of the others waits, by run id."""

    admitted: Sequence[ActiveRun]
    waiting: Mapping[str, str]


def place_in_flow(run: ActiveRun) -> tuple[int, datetime, str]:
    """The order of a flow's runs: by priority, then age. A sample of a flow must be its first by the same order."""
    return -run.priority, run.active_since or _EPOCH, run.run_id


def admit(queued: Iterable[ActiveRun], census: Census, limits: AdmissionLimits) -> Admission:
    """Pick from runs that may be launched now.

    Again and again the organisation with the fewest active runs (those picked here count) gets its next run: a burst of one
    organisation delays another's first run by one launch, not by the burst. Within an organisation a higher priority goes
    first, then the flow with the fewest active runs, then age.
    """
    orgs = _by_organisation(queued, census, limits)
    turns = [org.turn() for org in orgs.values()]
    heapq.heapify(turns)
    room = max(0, limits.max_concurrent_tasks - census.total)
    admitted: list[ActiveRun] = []
    while turns and len(admitted) < min(room, limits.max_admitted):
        org = orgs[turns[0][-1]]
        chosen = org.take()
        if chosen is not None:
            admitted.append(chosen)
        if org.waiting:
            heapq.heapreplace(turns, org.turn())
        else:
            heapq.heappop(turns)
    waiting: dict[str, str] = {}
    for org in orgs.values():
        waiting |= org.held
        waiting |= dict.fromkeys(org.left(), "no_room" if len(admitted) >= room else "next_tick")
    return Admission(tuple(admitted), waiting)


def _by_organisation(
    queued: Iterable[ActiveRun], census: Census, limits: AdmissionLimits
) -> dict[str, "_Organisation"]:
    waiting: defaultdict[str, defaultdict[str, list[_Waiting]]] = defaultdict(lambda: defaultdict(list))
    for run in queued:
        waiting[run.org_id][run.flow_name].append((*place_in_flow(run), run))
    active_flows: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (org, flow), count in census.by_flow.items():
        active_flows[org][flow] = count
    return {
        name: _Organisation(name, flows, census.by_org[name], active_flows[name], limits)
        for name, flows in waiting.items()
    }


class _Organisation:
    """One organisation's queue: a heap of flows, each a heap of its runs. Every step costs a logarithm of their number."""

    def __init__(
        self,
        name: str,
        flows: dict[str, list[_Waiting]],
        active: int,
        active_flows: dict[str, int],
        limits: AdmissionLimits,
    ) -> None:
        self.waiting = sum(map(len, flows.values()))
        self.held: dict[str, str] = {}
        self._name = name
        self._flows = flows
        self._active = active
        self._active_flows = active_flows
        self._limits = limits
        for runs in flows.values():
            heapq.heapify(runs)
        self._ranks = [self._rank(flow) for flow in flows]
        heapq.heapify(self._ranks)

    def turn(self) -> tuple[int, datetime, str]:
        """Its place among the organisations: fewest active runs first, then the age of its next run."""
        return self._active, self._ranks[0][2], self._name

    def take(self) -> ActiveRun | None:
        """The next run within the organisation's limits; None when all that remains is held."""
        if self._limits.max_per_org is not None and self._active >= self._limits.max_per_org:
            while self._ranks:
                self._hold("org_limit")
        while self._ranks and self._is_full(self._ranks[0][-1]):
            self._hold("flow_limit")
        if not self._ranks:
            return None
        flow = self._ranks[0][-1]
        run = heapq.heappop(self._flows[flow])[-1]
        self._active += 1
        self._active_flows[flow] = self._active_flows.get(flow, 0) + 1
        self.waiting -= 1
        if self._flows[flow]:
            heapq.heapreplace(self._ranks, self._rank(flow))
        else:
            heapq.heappop(self._ranks)
        return run

    def left(self) -> Iterator[str]:
        """The ids of runs that nothing of its own holds back."""
        return (run.run_id for rank in self._ranks for *_, run in self._flows[rank[-1]])

    def _rank(self, flow: str) -> tuple[int, int, datetime, str]:
        priority, since, _, _ = self._flows[flow][0]
        return priority, self._active_flows.get(flow, 0), since, flow

    def _is_full(self, flow: str) -> bool:
        return self._limits.max_per_flow is not None and self._active_flows.get(flow, 0) >= self._limits.max_per_flow

    def _hold(self, reason: str) -> None:
        """Set the first flow aside: none of its runs can be taken in this pass."""
        flow = heapq.heappop(self._ranks)[-1]
        self.held |= {run.run_id: reason for *_, run in self._flows[flow]}
        self.waiting -= len(self._flows[flow])
