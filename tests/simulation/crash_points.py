"""A crash before, after the effect of, and after the answer to every port call of a scenario: nothing may be lost or doubled.

The scenario is played once as it is; then once more for each call and phase, with the caller's host crashing there.
"""

import argparse
import sys
import time
from collections import Counter

from dagy_control.kernel.telemetry import configure_logging
from tests.simulation.faults import CrashAt, FaultPlan, Phase
from tests.simulation.invariants import Violation
from tests.simulation.scenario import Report, Scenario
from tests.simulation.world import World

CALM_FROM_S = 1500.0


def play(seed: int, crashes: tuple[CrashAt, ...] = ()) -> Report:
    """A few runs, some cancelled, some that fail or hang, one daemon: no other trouble than the crashes."""
    plan = FaultPlan(seed=seed, rate=0.0, calm_from_s=CALM_FROM_S, crash_at=crashes, stale_s_max=0.0)
    return World(
        Scenario(seed=seed, replicas=1, runs=4, calm_from_s=CALM_FROM_S, chaos=False, cancels=0.5, plan=plan)
    ).play()


def main() -> int:
    """Exit 1 at the first crash that violates an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.crash_points", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="crash at each so-manieth call only")
    parser.add_argument("--index", type=int, help="only at this call")
    options = parser.parse_args()
    configure_logging(level="CRITICAL")
    calls = play(options.seed).calls
    indexes = range(0, calls, options.every) if options.index is None else (options.index,)
    crashed: Counter[str] = Counter()
    began = time.perf_counter()
    for index in indexes:
        for phase in Phase:
            try:
                report = play(options.seed, (CrashAt(index, phase),))
            except Violation as violation:
                print(f"{violation}\ncrash {phase} at call {index}: --seed {options.seed} --index {index}")
                return 1
            crashed += Counter({name: count for name, count in report.injected.items() if name.startswith("crash ")})
    took_s = time.perf_counter() - began
    print(f"seed {options.seed}: {calls} calls, {sum(crashed.values())} crashes in {took_s:.0f} s, all harmless")
    print(", ".join(f"{name} {count}" for name, count in sorted(crashed.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
