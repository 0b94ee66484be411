"""A crash before, after the effect of, and after the answer to every port call of a scenario: nothing may be lost or doubled.

Each scene is a short story about one part of the protocol, with two daemons. It is played once as it is; then once more for each
call and each moment, with the caller's host crashing there. `--pairs` crashes a second time as well, a little later;
`--plays` takes a sample of them.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dagy_control.model.hashing import hashed_fraction
from tests.simulation.arguments import INTERRUPTED, NO_CRASH, count, crashes
from tests.simulation.conduct import Conduct, Conducts
from tests.simulation.faults import CrashAt, FaultPlan, Phase
from tests.simulation.parallel import spread
from tests.simulation.scenario import Report, Scenario
from tests.simulation.violation import Violation
from tests.simulation.world import tell

WELL: Conducts = ((1.0, Conduct.SUCCEED),)
BADLY: Conducts = (
    (0.25, Conduct.SUCCEED),
    (0.4, Conduct.DIE),
    (0.55, Conduct.OUT_OF_MEMORY),
    (0.7, Conduct.NO_RESULT),
    (0.85, Conduct.LINGER),
    (1.0, Conduct.NEVER_START),
)
FAILING: Conducts = ((0.4, Conduct.FAIL), (0.7, Conduct.DIE), (1.0, Conduct.SUCCEED))

SCENES: dict[str, dict[str, Any]] = {
    "launching": {"conducts": WELL, "with_events": False},
    "reconciling": {"conducts": BADLY, "with_events": False, "runs": 4},
    "events": {"conducts": BADLY, "runs": 4},
    "orphans": {
        "conducts": WELL,
        "runs": 2,
        "calm_from_s": 900.0,
        "acts": ((10.0, "ghost"), (40.0, "surplus"), (80.0, "surplus")),
        "strange_s": 4000.0,
    },
    "cancel": {"conducts": ((0.7, Conduct.SUCCEED), (1.0, Conduct.HANG)), "cancels": 1.0},
    "retry": {
        "conducts": FAILING,
        "runs": 4,
        "acts": ((100.0, "kill_worker"), (160.0, "break_task"), (220.0, "no_capacity")),
    },
    "lease hand-over": {
        "conducts": WELL,
        "with_leases": True,
        "acts": ((60.0, "crash_holder"), (330.0, "drain_holder"), (400.0, "stall_holder")),
    },
}

USUAL: dict[str, Any] = {
    "replicas": 2,
    "runs": 3,
    "calm_from_s": 600.0,
    "chaos": False,
    "cancels": 0.0,
    "with_trainer": False,
    "strange_s": 600.0,
}
PAIRED_WITHIN = 60
"""The second crash of a pair comes within so many calls after the first."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One play of a scene, with its crashes."""

    scene: str
    seed: int
    crashes: tuple[CrashAt, ...] = ()

    def play(self) -> Report:
        """No other trouble than the crashes, and what the scene orders. Raises `Violation`."""
        options = {**USUAL, **SCENES[self.scene]}
        plan = FaultPlan(
            seed=self.seed,
            rate=0.0,
            calm_from_s=options["calm_from_s"],
            crash_at=self.crashes,
            stale_s_max=0.0,
        )
        at = ",".join(f"{crash.index}:{crash.phase}" for crash in self.crashes) or NO_CRASH
        replay = f"python -m tests.simulation.crash_points --scene '{self.scene}' --seed {self.seed} --at {at}"
        return tell(Scenario(seed=self.seed, plan=plan, replay=replay, **options))

    def outcome(self) -> tuple[Counter[str], str]:
        """The crashes that were reached, and what they have violated, if anything."""
        try:
            report = self.play()
        except Violation as violation:
            return Counter(), str(violation)
        return Counter({name: n for name, n in report.injected.items() if name.startswith("crash ")}), ""


def single(scene: str, seed: int, every: int) -> Iterator[Shot]:
    """A crash at each `every`-th call until all runs have ended, in each phase that the call comes to without it."""
    honest = Shot(scene, seed).play()
    for index in range(0, honest.calls_when_quiet, every):
        for phase in Phase:
            if (index, phase) in honest.moments:
                yield Shot(scene, seed, (CrashAt(index, phase),))


def pairs(scene: str, seed: int, every: int) -> Iterator[Shot]:
    """To each single crash a second one: a little later, in a phase of its own."""
    for shot in single(scene, seed, every):
        first = shot.crashes[0]
        gap = 1 + int(PAIRED_WITHIN * hashed_fraction(seed, scene, first.index, first.phase, "gap"))
        phase = tuple(Phase)[int(len(Phase) * hashed_fraction(seed, scene, first.index, first.phase, "phase"))]
        yield Shot(scene, seed, (first, CrashAt(first.index + gap, phase)))


def sample(shots: Sequence[Shot], most: int | None) -> list[Shot]:
    """So many of them, chosen by the seed, in their order; all when there are no more, or None is asked for."""
    if most is None or len(shots) <= most:
        return list(shots)
    by_lot = sorted(shots, key=lambda shot: hashed_fraction(shot.seed, shot.scene, *shot.crashes, "lot"))
    chosen = set(by_lot[:most])
    return [shot for shot in shots if shot in chosen]


def _replay(shot: Shot) -> int:
    try:
        report = shot.play()
    except Violation as violation:
        print(*violation.trace, violation, sep="\n")
        return 1
    print(*report.trace, sep="\n")
    reached = sum(number for name, number in report.injected.items() if name.startswith("crash "))
    print(f"{reached} of {len(shot.crashes)} crashes were reached; nothing is violated")
    return 0


def main() -> int:
    """Exit 1 at the first crash that violates an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.crash_points", description=__doc__)
    parser.add_argument("--scene", choices=SCENES, help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=count, default=1, help="crash at each so-manieth call only")
    parser.add_argument(
        "--at", type=crashes, help="INDEX:PHASE[,INDEX:PHASE], or none: only these crashes, with the whole trace"
    )
    parser.add_argument("--pairs", action="store_true", help="crash a second time, a little later")
    parser.add_argument("--plays", type=count, help="so many plays of each scene at most, chosen by the seed")
    parser.add_argument("--jobs", type=count, help="processes; as many as there are cores unless said")
    options = parser.parse_args()
    if options.at is not None:
        return _replay(Shot(options.scene or "launching", options.seed, options.at))
    choose = pairs if options.pairs else single
    for scene in [options.scene] if options.scene else SCENES:
        try:
            all_shots = list(choose(scene, options.seed, options.every))
        except Violation as violation:
            print(violation)
            return 1
        shots = sample(all_shots, options.plays)
        crashed: Counter[str] = Counter()
        missed = 0
        began = time.perf_counter()
        try:
            for reached, problem in spread(Shot.outcome, shots, options.jobs):
                if problem:
                    print(problem)
                    return 1
                crashed += reached
                missed += not options.pairs and sum(reached.values()) != 1
        except KeyboardInterrupt:
            print(
                f"{scene}: interrupted after {sum(crashed.values())} crashes, all harmless; {len(shots)} plays were to be"
            )
            return INTERRUPTED
        if missed:
            print(
                f"{scene}: {missed} of {len(shots)} crashes were never reached, though the same calls come before them"
            )
            return 1
        took_s = time.perf_counter() - began
        phases = ", ".join(f"{name.removeprefix('crash ')} {count}" for name, count in sorted(crashed.items()))
        print(
            f"{scene:<16} {len(shots)} of {len(all_shots)} plays, {sum(crashed.values())} crashes ({phases}) in {took_s:.0f} s: "
            "all harmless",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
