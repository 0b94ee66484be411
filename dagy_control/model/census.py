"""How many runs are active: in all, by organisation and by flow. What admission counts against its limits."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from dagy_control.model.runs import ActiveRun


@dataclass(slots=True)
class Census:
    """Counts of active runs (LAUNCHING or RUNNING). A snapshot, corrected by each new one; `add` keeps it near the truth between."""

    total: int = 0
    by_org: Counter[str] = field(default_factory=Counter)
    by_flow: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, runs: Iterable[ActiveRun]) -> None:
        """Count these too."""
        for run in runs:
            self.total += 1
            self.by_org[run.org_id] += 1
            self.by_flow[run.org_id, run.flow_name] += 1

    def __add__(self, other: "Census") -> "Census":
        """Both together, as a census of its own."""
        return Census(self.total + other.total, self.by_org + other.by_org, self.by_flow + other.by_flow)
