"""How workers behave."""

from enum import StrEnum


class Conduct(StrEnum):
    """How a worker behaves. GREEDY runs out of memory below `GREEDY_MIB`; LATE claims after `LATE_S`; STUCK never claims."""

    SUCCEED = "succeed"
    SLOW = "slow"
    FAIL = "fail"
    DIE = "die"
    OUT_OF_MEMORY = "out_of_memory"
    NO_RESULT = "no_result"
    HANG = "hang"
    LINGER = "linger"
    FAIL_AND_LINGER = "fail_and_linger"
    NEVER_START = "never_start"
    GREEDY = "greedy"
    LATE = "late"
    STUCK = "stuck"


GREEDY_MIB = 4096
LATE_S = 1000.0

Conducts = tuple[tuple[float, Conduct], ...]
"""Upper bounds of a fraction drawn for each task, and the conduct below each."""

CONDUCTS: Conducts = (
    (0.56, Conduct.SUCCEED),
    (0.65, Conduct.FAIL),
    (0.72, Conduct.DIE),
    (0.76, Conduct.OUT_OF_MEMORY),
    (0.80, Conduct.GREEDY),
    (0.84, Conduct.NO_RESULT),
    (0.89, Conduct.HANG),
    (0.92, Conduct.LINGER),
    (0.95, Conduct.STUCK),
    (1.00, Conduct.NEVER_START),
)
