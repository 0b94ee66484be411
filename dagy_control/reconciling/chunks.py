"""Runs gathered into full DescribeTasks calls, whatever pages they came in. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dagy_control.model.runs import ActiveRun


@dataclass(frozen=True, slots=True)
class Chunk:
    """Runs of one cluster that one call asks for. `cluster` None: runs without a task on record; nothing can be asked for them."""

    cluster: str | None
    runs: Sequence[ActiveRun]


class Chunks:
    """Takes runs in any order and gives chunks of exactly `size` runs of one cluster; `rest` gives what is left at last.

    Each run is given once. Never more than `size` - 1 runs of a cluster wait here for others.
    """

    def __init__(self, default_cluster: str, size: int) -> None:
        self._default_cluster = default_cluster
        self._size = size
        self._open: dict[str | None, list[ActiveRun]] = {}
        self._full: deque[Chunk] = deque()

    def add(self, runs: Iterable[ActiveRun]) -> None:
        """Take these too. A run whose record names no cluster belongs to the default one."""
        for run in runs:
            cluster = (run.cluster or self._default_cluster) if run.external_id else None
            gathered = self._open.get(cluster)
            if gathered is None:
                gathered = self._open[cluster] = []
            gathered.append(run)
            if len(gathered) == self._size:
                self._full.append(Chunk(cluster, gathered))
                del self._open[cluster]

    def full(self) -> Iterator[Chunk]:
        """The full chunks so far; each is given once."""
        while self._full:
            yield self._full.popleft()

    def rest(self) -> Iterator[Chunk]:
        """What is left when no more runs come."""
        yield from self.full()
        for cluster in list(self._open):
            yield Chunk(cluster, self._open.pop(cluster))
