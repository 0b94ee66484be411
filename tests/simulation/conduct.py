"""How workers behave."""

from enum import StrEnum


class Conduct(StrEnum):
    """How a worker behaves."""

    SUCCEED = "succeed"
    SLOW = "slow"
    FAIL = "fail"
    DIE = "die"
    OUT_OF_MEMORY = "out_of_memory"
    NO_RESULT = "no_result"
    HANG = "hang"
    LINGER = "linger"
    NEVER_START = "never_start"


Conducts = tuple[tuple[float, Conduct], ...]
"""Upper bounds of a fraction drawn for each task, and the conduct below each."""

CONDUCTS: Conducts = (
    (0.62, Conduct.SUCCEED),
    (0.72, Conduct.FAIL),
    (0.80, Conduct.DIE),
    (0.84, Conduct.OUT_OF_MEMORY),
    (0.88, Conduct.NO_RESULT),
    (0.91, Conduct.HANG),
    (0.94, Conduct.LINGER),
    (1.00, Conduct.NEVER_START),
)
