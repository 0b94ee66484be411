"""What a configuration may hold at most. Nobody writes more, and Python can do less with it: it recurses, and makes texts of numbers."""

from collections.abc import Iterator

NESTING_MAX = 20
"""Tables and lists within each other."""
WHOLE_MAX = 2**63 - 1
"""Whole numbers of 64 bits: what TOML promises ("TOML v1.0.0", Integer)."""

Location = tuple[str | int, ...]


def find_excess(values: object) -> tuple[Location, str] | None:
    """Where plain data goes beyond these bounds, and by what, as the reason of a problem; None when it does not. Never recurses."""
    level: list[tuple[Location, object]] = [((), values)]
    for _ in range(NESTING_MAX + 1):
        for at, value in level:
            if isinstance(value, int) and not -WHOLE_MAX - 1 <= value <= WHOLE_MAX:
                return at, "holds a whole number beyond 64 bits"
        level = [inner for at, value in level for inner in _inner(at, value)]
        if not level:
            return None
    return level[0][0][:2], f"is more than {NESTING_MAX} tables and lists deep"


def _inner(at: Location, value: object) -> Iterator[tuple[Location, object]]:
    if isinstance(value, dict):
        yield from (((*at, str(name)), each) for name, each in value.items())
    elif isinstance(value, list):
        yield from (((*at, index), each) for index, each in enumerate(value))
