"""Choices that look random and are not: the same on every replica, in every replay and in every simulation."""

import hashlib


def hashed_fraction(*parts: object) -> float:
    """A number in [0, 1), evenly spread over different `parts` and always the same for the same ones."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    bits = int.from_bytes(digest[:8], "big") >> 11  # the 53 that a float holds: never rounded up to 1
    return bits / 2**53


def jittered(delay_s: float, *parts: object) -> float:
    """A delay of `delay_s` to 1.5 times it, in seconds, spread by the hash of `parts` so that many waiters do not come back at once."""
    return delay_s * (1 + hashed_fraction(*parts) / 2)
