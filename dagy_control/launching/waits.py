"""How long runs wait: for their launch, and from the launch until their worker has begun. From what launching reads anyway."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dagy_control.model.census import Census
from dagy_control.model.runs import ActiveRun, RunStatus


def waited_s(run: ActiveRun, now: datetime) -> float | None:
    """Seconds since a queued run could have been launched: its wait before a next try does not count. None when it is not due."""
    since = max(filter(None, (run.active_since, run.not_before)), default=None)
    return None if since is None or since > now else (now - since).total_seconds()


def oldest_wait_s(queued: Iterable[ActiveRun], now: datetime) -> float:
    """The longest wait of all that are due; 0 when none is."""
    return max((wait for run in queued if (wait := waited_s(run, now)) is not None), default=0.0)


@dataclass(slots=True)
class Waits:
    """What one process has seen of the queue's length and of waits that have come to their end. Times in seconds.

    `counts`: the active runs of each status, as last counted. `launched_after`, `claimed_after`: waits not yet taken by `take`.
    """

    counts: dict[RunStatus, Census] = field(default_factory=dict)
    _launched_after: list[float] = field(default_factory=list)
    _claimed_after: list[float] = field(default_factory=list)
    _begun: frozenset[tuple[str, int]] | None = None

    def launched(self, run: ActiveRun, now: datetime) -> None:
        """A queued run has been claimed for its launch."""
        if (wait := waited_s(run, now)) is not None:
            self._launched_after.append(wait)

    def counted(self, counts: Mapping[RunStatus, Census], running: Mapping[tuple[str, int], float | None]) -> None:
        """A count of all runs under way. `running`: by run and attempt, the seconds from RunTask to the worker's claim, if it has claimed.

        Those that had claimed before the first count are not news; a run that begins and ends between two counts is not seen.
        """
        self.counts |= counts
        begun = {attempt: seconds for attempt, seconds in running.items() if seconds is not None}
        if self._begun is not None:
            self._claimed_after += [seconds for attempt, seconds in begun.items() if attempt not in self._begun]
        self._begun = frozenset(begun)

    def take(self) -> tuple[list[float], list[float]]:
        """The waits since it was last asked: until the launch, and from there to the worker's claim."""
        taken = self._launched_after, self._claimed_after
        self._launched_after, self._claimed_after = [], []
        return taken


def starts_in(page: Iterable[ActiveRun]) -> dict[tuple[str, int], float | None]:
    """For `Waits.counted`: a page of RUNNING runs. The clocks are the daemon's and the worker's: never below 0."""
    return {
        (run.run_id, run.attempt): max(0.0, (run.started_at - run.launch_sent_at).total_seconds())
        if run.started_at is not None and run.launch_sent_at is not None
        else None
        for run in page
    }
