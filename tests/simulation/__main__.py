"""`python -m tests.simulation`: many seeds, or one with its trace."""

import argparse
import sys
import time
from collections import Counter

from dagy_control.kernel.telemetry import configure_logging
from tests.simulation.invariants import Violation
from tests.simulation.world import play


def main() -> int:
    """Exit 1 at the first seed that violates an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds, from --from on")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print the whole trace of --seed")
    options = parser.parse_args()
    configure_logging(level="CRITICAL")
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    injected: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    sometimes: Counter[str] = Counter()
    simulated_s = calls = 0.0
    began = time.perf_counter()
    for seed in seeds:
        try:
            report = play(seed)
        except Violation as violation:
            print(violation)
            return 1
        injected += report.injected
        statuses += report.statuses
        sometimes += report.sometimes
        simulated_s += report.simulated_s
        calls += report.calls
        if options.trace:
            print("\n".join(report.trace))
    took_s = time.perf_counter() - began
    count = len(seeds)
    print(
        f"{count} seeds green in {took_s:.1f} s ({count / took_s:.1f} a second), "
        f"{simulated_s / 3600:.0f} simulated hours, {calls:.0f} calls"
    )
    means = (sum(statuses.values()) / count, simulated_s / 3600 / count, sum(injected.values()) / count)
    print("a seed: {:.1f} runs, {:.1f} hours, {:.1f} faults".format(*means))
    for name, counter in (("faults", injected), ("ends", statuses), ("sometimes", sometimes)):
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in counter.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
