"""How fast a pass may ask ECS: a small one at once, a large one spread, so that others get their part of the read budget. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PacePolicy:
    """The speed of a pass.

    `burst_calls`: DescribeTasks calls made at once. Those beyond are spread over `spread_s`, a part of the loop's period, but
    are never more than `calls_per_s`. 0: not spread, not bounded.
    """

    burst_calls: int = 20
    spread_s: float = 0.0
    calls_per_s: float = 0.0


def gap_s(expected_calls: int, policy: PacePolicy) -> float:
    """Seconds between two calls beyond the burst. `expected_calls`: as many as the last pass made; 0 when there was none."""
    shortest_s = 1 / policy.calls_per_s if policy.calls_per_s > 0 else 0.0
    spread_calls = expected_calls - policy.burst_calls
    return max(shortest_s, policy.spread_s / spread_calls) if spread_calls > 0 else shortest_s


def due_s(call: int, gap: float, policy: PacePolicy) -> float:
    """Seconds after the pass began at which its `call`-th call (from 1) is due."""
    return max(0, call - policy.burst_calls) * gap
