"""Why queued runs were not launched yet, as this process has seen it: told when they are claimed, so that their story keeps it.

To write it to each waiting run would cost a write a run and tick, of a queue of ten thousand; the claim is one write anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

API_BUDGET = "api_budget"
"""Its turn had come; it waited for its place in the budget of calls. All other reasons are those of `dagy_queue_held`."""
TOLD_FROM_S = 1.0
"""A shorter wait is the daily round."""


@dataclass(slots=True)
class _Hold:
    """`reason`: since `since`. `before`: seconds by earlier reasons."""

    reason: str
    since: datetime
    before: dict[str, float] = field(default_factory=dict)

    def turn(self, reason: str, now: datetime) -> None:
        self.before = self.seconds(now)
        self.reason, self.since = reason, now

    def seconds(self, now: datetime) -> dict[str, float]:
        lasted = max(0.0, (now - self.since).total_seconds())
        return {**self.before, self.reason: self.before.get(self.reason, 0.0) + lasted}


class Holds:
    """One process's memory of waits: of the runs that the last tick knew, and of none else."""

    def __init__(self) -> None:
        self._of: dict[str, _Hold] = {}

    def seen(self, waiting: Mapping[str, str], now: datetime) -> None:
        """One tick's look at the queue: by run id, what each waits for from now on."""
        known, self._of = self._of, {}
        for run_id, reason in waiting.items():
            hold = known.get(run_id)
            if hold is None:
                hold = _Hold(reason, now)
            elif hold.reason != reason:
                hold.turn(reason, now)
            self._of[run_id] = hold

    def ended(self, run_id: str, now: datetime) -> str:
        """The run's wait is over. What held it back, the longest first, as in `41.0 s by no_room, 3.2 s by org_limit`.

        "" for nothing to speak of. It is forgotten: another wait of the same run is another story.
        """
        hold = self._of.pop(run_id, None)
        told = {} if hold is None else hold.seconds(now)
        longest_first = sorted(told.items(), key=lambda wait: (-wait[1], wait[0]))
        return ", ".join(f"{seconds:.1f} s by {reason}" for reason, seconds in longest_first if seconds >= TOLD_FROM_S)
