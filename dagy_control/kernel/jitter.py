"""Spread without a random generator: the same parts always give the same number, so that every run can be replayed."""

from hashlib import blake2b


def hashed_fraction(*parts: object) -> float:
    """A number in [0, 1), evenly spread over different `parts`."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (
        1 << 53
    )  # 53 bits: all that a float holds, so never rounded up to 1


def backoff_s(failures: int, *, min_s: float, max_s: float, key: str) -> float:
    """Seconds to wait after the given number of failures in a row (from 1): doubles from `min_s` to `max_s`.

    The upper half of each wait is spread by a hash of (`key`, `failures`), so that callers who failed together do not
    return together ("equal jitter", AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    ceiling = min(max_s, min_s * 2.0 ** min(failures - 1, 62))
    return ceiling * (0.5 + 0.5 * hashed_fraction(key, failures))
