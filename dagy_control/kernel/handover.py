"""What one loop would like another loop of the same process to look at soon. A hint: whoever never gets it finds it by itself, later."""

from collections.abc import Callable, Iterable


def _nobody() -> None:
    pass


class Handover:
    """Holds the ids of the last word only, so that it stays small when nobody takes them. `wake` is called when there are any."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = _nobody
        self._ids: frozenset[str] = frozenset()

    def give(self, ids: Iterable[str]) -> None:
        """These, in the place of what was given before."""
        self._ids = frozenset(ids)
        if self._ids:
            self.wake()

    def take(self) -> frozenset[str]:
        """What was given last; the next `take` gives nothing until something is given anew."""
        taken, self._ids = self._ids, frozenset()
        return taken
