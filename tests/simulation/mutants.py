"""Each safeguard of the design, removed: the simulation must notice. A safeguard that nothing notices is one that nothing tests.

A mutant replaces attributes of the shipped modules (every module that holds the name) for as long as its `with` lasts.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dagy_control.kernel.telemetry import configure_logging
from dagy_control.launching import decide as launching
from dagy_control.launching import request
from dagy_control.model import lifecycle, outcomes, runs
from dagy_control.model.failures import Budget
from dagy_control.model.runs import FailureClass, RunStatus
from dagy_control.orphans import criteria
from dagy_control.orphans import decide as orphans
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.reconciling.effects import ReconcilingEffects
from tests.simulation import world
from tests.simulation.invariants import Violation
from tests.simulation.servers import RunsTable


@dataclass(frozen=True, slots=True)
class Mutant:
    """A safeguard's name, what it is for, and how to remove it."""

    name: str
    guards: str
    apply: Callable[[], Iterator[None]]


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """`owner.name` is `value`; a function of a module is replaced wherever another module has imported it."""
    old = getattr(owner, name)
    holders = [owner]
    if callable(old) and not isinstance(owner, type):
        modules = [
            module for key, module in sys.modules.items() if key.startswith(("dagy_control", "tests.simulation"))
        ]
        holders += [module for module in modules if getattr(module, name, None) is old and module is not owner]
    for holder in holders:
        setattr(holder, name, value)
    try:
        yield
    finally:
        for holder in holders:
            setattr(holder, name, old)


def _without_rule(rules: str, *names: str) -> Callable[[], Any]:
    def apply() -> Any:
        kept = tuple(rule for rule in getattr(outcomes, rules) if rule[0] not in names)
        return replaced(outcomes, rules, kept)

    return apply


def _fresh_token() -> Any:
    """Each send has a token of its own, as a client's that makes them up."""
    count = iter(range(10**9))
    honest = request.decoded

    def decoded(text: str) -> dict[str, Any]:
        return {**honest(text), "clientToken": f"token-{next(count)}"}

    return replaced(request, "decoded", decoded)


def _no_version() -> Any:
    def change(table: RunsTable, change: Any, op_id: str) -> Any:
        current = table.records[change.run_id]
        table._store(current, replace(_applied_anyhow(current, change), op_id=op_id), change)
        return table.records[change.run_id]

    return replaced(RunsTable, "change", change)


def _applied_anyhow(current: Any, change: Any) -> Any:
    return runs.applied(current, replace(change, expected_version=current.version), "")


def _claims(skip: str) -> Callable[[], Any]:
    """The worker's claim without one of its conditions."""
    honest = lifecycle.claim_attempt

    def claim(run: Any, *, attempt: int, task_arn: str, now: Any) -> Any:
        seen = run
        if skip == "attempt":
            attempt = run.attempt
        elif skip == "arn":
            seen = replace(run, external_id=None)
        elif skip == "cancel":
            seen = replace(run, cancel_requested_at=None, stop_cause=None)
        elif skip == "status" and run.status in (RunStatus.QUEUED, *runs.TERMINAL):
            seen = replace(run, status=RunStatus.LAUNCHING)
        return honest(seen, attempt=attempt, task_arn=task_arn, now=now)

    return lambda: replaced(lifecycle, "claim_attempt", claim)


def _definite_always() -> Any:
    honest = lifecycle.launch_failed

    def failed(run: Any, *args: Any, **kwargs: Any) -> Any:
        return honest(replace(run, launch_sends=1), *args, **kwargs)

    return replaced(lifecycle, "launch_failed", failed)


def _result_ignores_cancel() -> Any:
    honest = lifecycle.commit_result

    def committed(run: Any, *args: Any, **kwargs: Any) -> Any:
        return honest(replace(run, cancel_requested_at=None), *args, **kwargs)

    return replaced(lifecycle, "commit_result", committed)


def _shutdown_is_final() -> Any:
    honest = lifecycle.commit_result

    def commit(run: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        if result.failure_class is FailureClass.SHUTDOWN and run.status is RunStatus.RUNNING:
            return lifecycle._failed(run, FailureClass.SHUTDOWN, result.message, now=kwargs["now"], by="worker")
        return honest(run, result, *args, **kwargs)

    return replaced(lifecycle, "commit_result", commit)


def _stop_without_cause() -> Any:
    async def stop(effects: Any, stop: Any, *_: Any) -> bool:
        await effects._tasks.stop(stop.run.cluster or "", stop.run.external_id or "", reason=stop.reason)
        return True

    return replaced(ReconcilingEffects, "_stop", stop)


def _orphan_without_cause() -> Any:
    async def recorded(*_: Any) -> bool:
        return True

    return replaced(OrphanEffects, "_record_timeout", recorded)


def _policies(name: str, **values: Any) -> Callable[[], Any]:
    return lambda: replaced(world, name, replace(getattr(world, name), **values))


def _one_scan() -> Any:
    def judged(suspect: Any, limits: Any, now: Any) -> Any:
        return replace(criteria_judge(suspect, limits, now), confirm=False)

    criteria_judge = criteria.judge
    return replaced(criteria, "judge", judged)


def _no_grace() -> Any:
    honest = orphans.decide

    def decided(snapshot: Any, policy: Any, now: Any) -> Any:
        return honest(snapshot, replace(policy, criteria=replace(policy.criteria, grace_s=0.0)), now)

    return replaced(orphans, "decide", decided)


def _blind_reads() -> Any:
    async def load_runs(effects: Any, run_ids: set[str]) -> dict[str, Any]:
        return {}

    return replaced(OrphanEffects, "_load_runs", load_runs)


def _user_pays() -> Any:
    def budget(run: Any, failure_class: Any, policy: Any) -> Budget:
        return Budget.USER if run.attempt < run.max_attempts + 3 else Budget.NONE

    return replaced(lifecycle, "next_budget", budget)


def _always(*_: Any) -> bool:
    return True


def _relaunch_lost() -> Any:
    honest = outcomes._lost

    def lost(seen: Any) -> Any:
        return replace(honest(seen), failure_class=FailureClass.INFRASTRUCTURE)

    rules = tuple((name, lost if name == "missing_lost" else rule) for name, rule in outcomes.MISSING_RULES)
    return replaced(outcomes, "MISSING_RULES", rules)


MUTANTS: tuple[Mutant, ...] = (
    Mutant("deterministic_token", "one task a launch try", _fresh_token),
    Mutant("version_condition", "no write over a newer record", _no_version),
    Mutant("claim_checks_attempt", "one task a run and attempt", _claims("attempt")),
    Mutant("claim_checks_arn", "a surplus task is refused", _claims("arn")),
    Mutant("claim_checks_cancel", "nothing starts after a cancel", _claims("cancel")),
    Mutant("claim_checks_status", "nothing starts for a run that is over or queued again", _claims("status")),
    Mutant("unresolved_send", "a failure is definite only if no earlier send is unresolved", _definite_always),
    Mutant(
        "replay_only_young",
        "an expired token is never sent again",
        lambda: replaced(launching, "may_replay", _always),
    ),
    Mutant("result_checks_cancel", "an acknowledged cancel never ends SUCCEEDED", _result_ignores_cancel),
    Mutant("shutdown_is_a_hint", "ECS says why a worker was told to stop", _shutdown_is_final),
    Mutant("stopped_only", "a task that runs ends nothing", _without_rule("TASK_RULES", "not_ended")),
    Mutant("attempt_in_judgement", "another attempt's task says nothing", _without_rule("TASK_RULES", "another_task")),
    Mutant(
        "refused_is_not_ended",
        "a worker that never claimed is nobody's failure",
        _without_rule("TASK_RULES", "claim_refused", "died_before_claim"),
    ),
    Mutant("result_before_exit", "a result beats the reading of an exit", _without_rule("TASK_RULES", "worker_result")),
    Mutant("spot_before_exit_code", "a Spot reclaim is not the user's failure", _without_rule("TASK_RULES", "spot")),
    Mutant("young_missing", "young MISSING means not yet", _without_rule("MISSING_RULES", "missing_young")),
    Mutant("lost_is_final", "a lost run is never launched again blindly", _relaunch_lost),
    Mutant("budgets_apart", "user and infrastructure failures are counted apart", _user_pays),
    Mutant("cause_before_stop", "why a task is stopped is on record first", _stop_without_cause),
    Mutant("timeout_before_stop", "that a run was too long is on record first", _orphan_without_cause),
    Mutant("two_scans", "one look at another system's record is not proof", _one_scan),
    Mutant("orphan_grace", "a worker that has just ended may leave", _no_grace),
    Mutant("orphan_reads_records", "no record is not an unread record", _blind_reads),
)


def first_seed_that_notices(mutant: Mutant, seeds: range) -> tuple[int, str] | None:
    """(seed, what was violated) of the first seed that fails under the mutant; None: it survives them all."""
    with mutant.apply():
        for seed in seeds:
            try:
                world.play(seed)
            except Violation as violation:
                return seed, str(violation).splitlines()[0]
            except Exception as error:  # noqa: BLE001 - a mutant that breaks the program outright is noticed too
                return seed, f"{type(error).__name__}: {error}"[:100]
    return None


def main() -> int:
    """Exit 1 if a mutant survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=80, help="how many seeds each mutant must survive to be a survivor"
    )
    parser.add_argument("--only", help="the name of one mutant")
    options = parser.parse_args()
    configure_logging(level="CRITICAL")
    survivors = []
    for mutant in MUTANTS:
        if options.only not in (None, mutant.name):
            continue
        noticed = first_seed_that_notices(mutant, range(options.seeds))
        if noticed is None:
            survivors.append(mutant.name)
        where = f"seed {noticed[0]:>3}: {noticed[1]}" if noticed else "SURVIVES"
        print(f"{mutant.name:<24} {where[:150]}", flush=True)
    print(f"{len(survivors)} survivors" + (f": {', '.join(survivors)}" if survivors else ""))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
