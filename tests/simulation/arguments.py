"""What the commands of the simulation take, and how they end when somebody presses Ctrl-C."""

import argparse

from tests.simulation.faults import CrashAt, Phase

INTERRUPTED = 130
"""Exit code of a command that was interrupted: 128 + SIGINT, as shells have it."""

NO_CRASH = "none"
"""What names a scene as it is, played without a crash."""


def count(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def crashes(text: str) -> tuple[CrashAt, ...]:
    """INDEX:PHASE, several with commas; or none."""
    if text == NO_CRASH:
        return ()
    phases = [phase.value for phase in Phase]
    found = []
    for each in text.split(","):
        index, _, phase = each.partition(":")
        if not index.isdecimal() or phase not in phases:
            raise argparse.ArgumentTypeError(f"{each!r} must be INDEX:PHASE, with a phase of {', '.join(phases)}")
        found.append(CrashAt(int(index), Phase(phase)))
    return tuple(found)
