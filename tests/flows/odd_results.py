"""Results that misbehave while they are pickled."""

import signal
from pathlib import Path

from tests.flows.tasks import write_pid


class Stuck:
    """Writes a pid and then never ends to be pickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[type[Path], tuple[str]]:
        write_pid(self.folder)
        while True:
            signal.pause()


def half(folder: str) -> list[object]:
    """A result of which the first, large half goes to the file and the second never."""
    return [b"x" * 3_000_000, Stuck(folder)]
