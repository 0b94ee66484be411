"""Which runs a bounded pass looks at, so that no run is passed over for ever. Pure.

Every run has a place on a circle of length 1, by the hash of its id. A bounded pass takes those next after a point; the loop's
next pass goes on where the last ended. Runs that come and go move no other, and nothing need be remembered but the point.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter

from dagy_control.model.hashing import hashed_fraction
from dagy_control.model.runs import ActiveRun

GOLDEN = 0.6180339887498949
SLACK = 1000
"""Runs beyond twice the bound that are gathered before the far ones are dropped: sorting seldom, at little memory."""


def starting_point(unix_s: float) -> float:
    """Where a process that remembers nothing starts: another point each second, evenly spread over whatever period it runs in.

    The multiples of the golden ratio, modulo 1, of any fixed step fill the circle without clustering (three-distance theorem).
    """
    return (int(unix_s) * GOLDEN) % 1.0


class Arc:
    """The `size` runs next after `start`, picked from a stream of any length; memory for some 2 * `size` of them."""

    def __init__(self, start: float, size: int) -> None:
        self._start = start
        self._size = size
        self._near: list[tuple[float, ActiveRun]] = []
        self._offered = 0

    def offer(self, runs: Iterable[ActiveRun]) -> None:
        """Consider these too."""
        before = len(self._near)
        self._near.extend(((hashed_fraction(run.run_id) - self._start) % 1.0 or 1.0, run) for run in runs)
        self._offered += len(self._near) - before
        if len(self._near) > 2 * self._size + SLACK:
            self._cut()

    def taken(self) -> Sequence[ActiveRun]:
        """The runs, nearest first."""
        self._cut()
        return [run for _, run in self._near]

    @property
    def reach(self) -> float:
        """How much of the circle they cover: all of it when none was left out."""
        return self._near[-1][0] if self.left_out else 1.0

    @property
    def left_out(self) -> int:
        """How many runs were offered and not taken."""
        return max(0, self._offered - self._size)

    @property
    def end(self) -> float:
        """The place of the farthest of them: where the next pass goes on."""
        return hashed_fraction(self._near[-1][1].run_id) if self._near else self._start

    def _cut(self) -> None:
        self._near.sort(key=itemgetter(0))
        del self._near[self._size :]


class Rotation:
    """Where the next bounded pass starts, and when the passes together have been round."""

    def __init__(self, start: float = 0.0) -> None:
        self._at = start
        self._travelled = 0.0

    def arc(self, size: int) -> Arc:
        """The next `size` runs."""
        return Arc(self._at, size)

    def advance(self, arc: Arc) -> bool:
        """The pass has looked at the whole arc. Gives whether every run has been looked at since it last said so."""
        self._at = arc.end
        self._travelled += arc.reach
        if self._travelled < 1.0:
            return False
        self._travelled = 0.0
        return True
