"""What is raised when something does not hold."""

from collections.abc import Sequence


class Violation(AssertionError):
    """An invariant does not hold. The message names it; `trace` is all that had happened, a line an event."""

    trace: Sequence[str] = ()


def check(holds: bool, problem: str) -> None:
    """Raise `Violation` unless it holds. `problem` begins with the invariant's number."""
    if not holds:
        raise Violation(f"invariant {problem}")
