"""How long to wait after failures. Spread by a hash instead of a random generator, so that every run can be replayed."""

from dagy_control.model.hashing import hashed_fraction


def backoff_s(failures: int, *, min_s: float, max_s: float, key: str) -> float:
    """Seconds to wait after the given number of failures in a row (from 1): doubles from `min_s` to `max_s`.

    The upper half of each wait is spread by a hash of (`key`, `failures`), so that callers who failed together do not
    return together ("equal jitter", AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    ceiling = min(max_s, min_s * 2.0 ** min(failures - 1, 62))
    return ceiling * (0.5 + 0.5 * hashed_fraction(key, failures))
