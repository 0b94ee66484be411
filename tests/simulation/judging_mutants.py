"""What a task's end is judged to mean, and by what it is overruled: each rule and condition taken away."""

from dataclasses import replace
from typing import Any

from dagy_control.model import lifecycle, outcomes
from dagy_control.model.runs import FailureClass, RunStatus
from dagy_control.model.tasks import SeenTask
from dagy_control.reconciling.effects import ReconcilingEffects
from tests.simulation import conduct
from tests.simulation.faults import Outage
from tests.simulation.removing import CALM, NEVER_STARTED, Mutant, always, policies, replaced, without_rule


def _relaunch_lost() -> Any:
    honest = outcomes._lost

    def lost(seen: Any) -> Any:
        return replace(honest(seen), failure_class=FailureClass.INFRASTRUCTURE)

    rules = tuple((name, lost if name == "missing_lost" else rule) for name, rule in outcomes.MISSING_RULES)
    return replaced(outcomes, "MISSING_RULES", rules)


def _cancel_ignored_by_s3() -> Any:
    def result(sighting: Any) -> Any:
        return sighting.run.committed_result or sighting.stored_result

    return replaced(outcomes.Sighting, "result", property(result))


def _unread_is_absent() -> Any:
    honest = ReconcilingEffects._load_results

    async def load(effects: Any, runs: Any, tasks: Any) -> Any:
        found, _ = await honest(effects, runs, tasks)
        return found, set()

    return replaced(ReconcilingEffects, "_load_results", load)


def _ended_always() -> Any:
    return replaced(SeenTask, "has_ended", property(always))


def _shutdown_is_final() -> Any:
    honest = lifecycle.commit_result

    def commit(run: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        if result.failure_class is FailureClass.SHUTDOWN and run.status is RunStatus.RUNNING:
            return lifecycle._failed(run, FailureClass.SHUTDOWN, result.message, now=kwargs["now"], by="worker")
        return honest(run, result, *args, **kwargs)

    return replaced(lifecycle, "commit_result", commit)


def _result_ignores_cancel() -> Any:
    honest = lifecycle.commit_result

    def committed(run: Any, *args: Any, **kwargs: Any) -> Any:
        return honest(replace(run, cancel_requested_at=None), *args, **kwargs)

    return replaced(lifecycle, "commit_result", committed)


RESULTS_IN_S3: dict[str, Any] = {
    "with_events": False,
    "acts": (),
    "outages": tuple(
        outage
        for begin_s in range(600, 6600, 1200)
        for outage in (
            Outage(begin_s, begin_s + 600, calls=("UpdateItem",), daemons=False),
            Outage(begin_s + 200, begin_s + 900, calls=("GetObject",), workers=False),
        )
    ),
}

WRONG_REGION: dict[str, Any] = {
    **CALM,
    "burst": True,
    "replicas": 1,
    "with_events": False,
    "conducts": ((1.0, conduct.Conduct.SLOW),),
    "acts": ((1000.0, "amnesia"),),
}

CANCELLED_UNSEEN: dict[str, Any] = {
    **NEVER_STARTED,
    "conducts": ((1.0, conduct.Conduct.DIE),),
    "cancels": 1.0,
    "with_events": False,
    "outages": (Outage(0, 5000, calls=("DescribeTasks",)),),
}
"""Workers die, their runs are cancelled, and ECS can be asked again only when it has forgotten the tasks."""

JUDGING_MUTANTS: tuple[Mutant, ...] = (
    Mutant("result_checks_cancel", "an acknowledged cancel never ends SUCCEEDED", _result_ignores_cancel),
    Mutant("shutdown_is_a_hint", "ECS says why a worker was told to stop", _shutdown_is_final),
    Mutant("stopped_only", "a task that runs ends nothing", _ended_always),
    Mutant("attempt_in_judgement", "another attempt's task says nothing", without_rule("TASK_RULES", "another_task")),
    Mutant(
        "refused_is_not_ended",
        "a worker that never claimed is nobody's failure",
        without_rule("TASK_RULES", "claim_refused", "died_before_claim"),
    ),
    Mutant("result_before_exit", "a result beats the reading of an exit", without_rule("TASK_RULES", "worker_result")),
    Mutant("spot_before_exit_code", "a Spot reclaim is not the user's failure", without_rule("TASK_RULES", "spot")),
    Mutant("young_missing", "young MISSING means not yet", without_rule("MISSING_RULES", "missing_young")),
    Mutant(
        "lost_is_final",
        "a lost run is never launched again blindly",
        _relaunch_lost,
        {**CANCELLED_UNSEEN, "cancels": 0.0},
    ),
    Mutant(
        "cancel_beats_s3",
        "a cancel beats a result that only lies in S3",
        _cancel_ignored_by_s3,
        {**RESULTS_IN_S3, "cancels": 1.0},
    ),
    Mutant("s3_unread_is_undecided", "an unreadable result is not an absent one", _unread_is_absent, RESULTS_IN_S3),
    Mutant(
        "two_observations",
        "one answer without the task is not proof",
        lambda: replaced(outcomes, "MISSING_OBSERVATIONS_MIN", 1),
    ),
    Mutant(
        "missing_share",
        "a pass that misses everything looks in the wrong place",
        policies("RECONCILING", max_missing_share=2.0),
        WRONG_REGION,
    ),
    *(
        Mutant(f"rule_{name}", "what ECS says is read as what it means", without_rule("TASK_RULES", name))
        for name in ("our_cause", "out_of_memory", "no_result")
    ),
    Mutant(
        "rule_never_started",
        "what ECS says is read as what it means",
        without_rule("TASK_RULES", "never_started"),
        NEVER_STARTED,
    ),
    Mutant(
        "rule_exit_code",
        "what ECS says is read as what it means",
        without_rule("TASK_RULES", "exit_code"),
        {**NEVER_STARTED, "conducts": ((1.0, conduct.Conduct.DIE),)},
    ),
    Mutant(
        "rule_missing_result",
        "what the worker has left beats that ECS has forgotten it",
        without_rule("MISSING_RULES", "missing_result"),
        {**RESULTS_IN_S3, "with_long_outage": True, "cancels": 0.0},
    ),
    Mutant(
        "rule_missing_cancelled",
        "a cancelled run whose task is gone is cancelled, not lost",
        without_rule("MISSING_RULES", "missing_cancelled"),
        CANCELLED_UNSEEN,
    ),
)
