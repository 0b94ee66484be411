"""What must happen now and then in a full run: a rare branch that no seed takes is one that nothing tests."""

from collections import Counter

BRANCHES: frozenset[str] = frozenset()


def missing(sometimes: Counter[str], injected: Counter[str]) -> list[str]:
    """The branches that have not been taken."""
    return sorted(name for name in BRANCHES if not sometimes[name] and not injected[name])
