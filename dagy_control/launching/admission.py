"""Which queued runs go first: fair between organisations, then between an organisation's flows, within the limits. Pure."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dagy_control.model.census import Census
from dagy_control.model.runs import ActiveRun

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """How many runs may be active at once; None for no limit. Soft: counts are a snapshot."""

    max_concurrent_tasks: int = 1000
    max_per_org: int | None = None
    max_per_flow: int | None = None
    max_admitted: int = 500


@dataclass(frozen=True, slots=True)
class Admission:
    """The admitted runs in the order of launching, and how many were held back, by reason."""

    admitted: Sequence[ActiveRun]
    held: Counter[str]


def admit(queued: Iterable[ActiveRun], census: Census, limits: AdmissionLimits) -> Admission:
    """Pick from runs that may be launched now.

    Again and again the organisation with the fewest active runs (those picked here count) gets its next run: a burst of one
    organisation delays another's first run by one launch, not by the burst. Within an organisation a higher priority goes
    first, then the flow with the fewest active runs, then age.
    """
    orgs: dict[str, _Org] = {}
    for run in queued:
        orgs.setdefault(run.org_id, _Org(run.org_id, census, limits)).add(run)
    turns = [(org.active, org.oldest(), name) for name, org in orgs.items()]
    heapq.heapify(turns)
    room = max(0, limits.max_concurrent_tasks - census.total)
    admitted: list[ActiveRun] = []
    held: Counter[str] = Counter()
    while turns and len(admitted) < min(room, limits.max_admitted):
        _, _, name = heapq.heappop(turns)
        chosen = orgs[name].take()
        if chosen is None:
            continue
        admitted.append(chosen)
        heapq.heappush(turns, (orgs[name].active, orgs[name].oldest(), name))
    for org in orgs.values():
        held.update(org.held)
        held["no_room" if len(admitted) >= room else "next_tick"] += org.waiting
    return Admission(tuple(admitted), +held)


class _Org:
    """One organisation's queue: a heap of flows, each with its runs in order."""

    def __init__(self, name: str, census: Census, limits: AdmissionLimits) -> None:
        self.active = census.by_org[name]
        self.waiting = 0
        self.held: Counter[str] = Counter()
        self._limits = limits
        self._per_flow = {flow: count for (org, flow), count in census.by_flow.items() if org == name}
        self._flows: defaultdict[str, list[tuple[int, datetime, str, ActiveRun]]] = defaultdict(list)

    def add(self, run: ActiveRun) -> None:
        heapq.heappush(self._flows[run.flow_name], (-run.priority, run.active_since or _EPOCH, run.run_id, run))
        self.waiting += 1

    def oldest(self) -> datetime:
        """Since when its longest waiting head has waited: between organisations with as many active runs, the older goes first."""
        return min((heap[0][1] for heap in self._flows.values()), default=_EPOCH)

    def take(self) -> ActiveRun | None:
        """The next run within the organisation's limits; None when there is none, and what remains is held."""
        if self._limits.max_per_org is not None and self.active >= self._limits.max_per_org:
            self._hold("org_limit", list(self._flows))
        flow = min(self._flows, key=self._rank, default=None)
        while flow is not None and self._is_full(flow):
            self._hold("flow_limit", [flow])
            flow = min(self._flows, key=self._rank, default=None)
        if flow is None:
            return None
        run = heapq.heappop(self._flows[flow])[-1]
        if not self._flows[flow]:
            del self._flows[flow]
        self._per_flow[flow] = self._per_flow.get(flow, 0) + 1
        self.active += 1
        self.waiting -= 1
        return run

    def _rank(self, flow: str) -> tuple[int, int, datetime, str]:
        priority, since, _, _ = self._flows[flow][0]
        return priority, self._per_flow.get(flow, 0), since, flow

    def _is_full(self, flow: str) -> bool:
        return self._limits.max_per_flow is not None and self._per_flow.get(flow, 0) >= self._limits.max_per_flow

    def _hold(self, reason: str, flows: list[str]) -> None:
        for flow in flows:
            count = len(self._flows.pop(flow))
            self.held[reason] += count
            self.waiting -= count
