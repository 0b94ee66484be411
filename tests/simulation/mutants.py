"""Each safeguard of the design, removed: the simulation must notice. A safeguard that nothing notices is one that nothing tests.

Those of the orphan scanner's rules are in `orphan_mutants.py`, those of tries, waits and leases in `retry_mutants.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dagy_control.errors import Conflict
from dagy_control.events.effects import EventEffects
from dagy_control.kernel.leases import KeptLease
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.retrying import retrying
from dagy_control.launching import decide as launching
from dagy_control.launching import request
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.model import failures, lifecycle, outcomes, runs
from dagy_control.model.failures import Budget
from dagy_control.model.runs import FailureClass, RunStatus
from dagy_control.model.tasks import SeenTask, TaskIdentity
from dagy_control.orphans import criteria, mapping
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.ports.tasks import Started
from dagy_control.reconciling.effects import ReconcilingEffects
from tests.simulation import conduct
from tests.simulation.cause_mutants import CAUSE_MUTANTS
from tests.simulation.faults import Fate, Outage
from tests.simulation.orphan_mutants import ORPHAN_MUTANTS
from tests.simulation.removing import (
    BURST,
    CALM,
    Mutant,
    always,
    both,
    policies,
    replaced,
    without_criterion,
    without_rule,
)
from tests.simulation.retry_mutants import LATE_ANSWER, NO_CAPACITY, RETRY_MUTANTS
from tests.simulation.scenario import STRANGERS
from tests.simulation.servers import RunsTable


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


def _definitealways() -> Any:
    honest = lifecycle.launch_failed

    def failed(run: Any, *args: Any, **kwargs: Any) -> Any:
        return honest(replace(run, launch_sends=1), *args, **kwargs)

    return replaced(lifecycle, "launch_failed", failed)


def _never_settles() -> Any:
    honest = lifecycle.launch_failed

    def failed(run: Any, failure: Any, *args: Any, **kwargs: Any) -> Any:
        return honest(run, replace(failure, settles_token=False), *args, **kwargs)

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


def _one_scan() -> Any:
    def judged(suspect: Any, limits: Any, now: Any) -> Any:
        return replace(criteria_judge(suspect, limits, now), confirm=False)

    criteria_judge = criteria.judge
    return replaced(criteria, "judge", judged)


def _no_grace() -> Any:
    honest = criteria.judge

    def judged(suspect: Any, limits: Any, now: Any) -> Any:
        return honest(suspect, replace(limits, grace_s=0.0), now)

    return replaced(criteria, "judge", judged)


def _blind_reads() -> Any:
    async def load_runs(*_: Any) -> dict[str, Any]:
        return {}

    return replaced(OrphanEffects, "_load_runs", load_runs)


def _user_pays() -> Any:
    def budget(run: Any, failure_class: Any, policy: Any) -> Budget:
        return Budget.USER if run.attempt < run.max_attempts + 3 else Budget.NONE

    return replaced(failures, "next_budget", budget)


def _relaunch_lost() -> Any:
    honest = outcomes._lost

    def lost(seen: Any) -> Any:
        return replace(honest(seen), failure_class=FailureClass.INFRASTRUCTURE)

    rules = tuple((name, lost if name == "missing_lost" else rule) for name, rule in outcomes.MISSING_RULES)
    return replaced(outcomes, "MISSING_RULES", rules)


def _op_id_each_try() -> Any:
    async def write(writer: Any, change: Any) -> Any:
        return await retrying(lambda: writer._runs.change(change, writer._new_id()), writer._clock, key=change.run_id)

    return replaced(RecordWriter, "write", write)


def _terminal_forgotten() -> Any:
    def change(run: Any, *, now: Any, by: str, why: str, to: Any = None, **values: Any) -> Any:
        return honest(
            replace(run, status=RunStatus.RUNNING) if run.status.is_terminal else run,
            now=now,
            by=by,
            why=why,
            to=to,
            **values,
        )

    honest = lifecycle._change

    def request(run: Any, *, now: Any, by: str) -> Any:
        return (
            None if run.cancel_requested_at else lifecycle._change(run, now=now, by=by, why="", cancel_requested_at=now)
        )

    return both(replaced(lifecycle, "_change", change), replaced(lifecycle, "request_cancel", request))


def _cancel_replays() -> Any:
    def judged(run: Any, policy: Any, now: Any) -> Any:
        return judge_honest(replace(run, cancel_requested_at=None), policy, now)

    async def replay(effects: Any, run_id: str, policy: Any, tick: Any) -> str:
        run = await effects._runs.get(run_id)
        if run is None or run.status is not RunStatus.LAUNCHING or not launching.may_replay(run, policy, tick.now):
            return "stale"
        try:
            run = await effects._writer.write(lifecycle.renew_send(run, now=effects._clock.now(), by="launching"))
        except Conflict:
            return "lost_claim"
        sent: str = await effects._send(run, policy)
        return sent

    judge_honest = launching.judge_unresolved
    return both(replaced(launching, "judge_unresolved", judged), replaced(LaunchingEffects, "_replay", replay))


def _effect_first() -> Any:
    async def launch(effects: Any, run_id: str, policy: Any, tick: Any) -> str:
        run = await effects._runs.get(run_id)
        if run is None or run.status is not RunStatus.QUEUED:
            return "stale"
        provider = request.provider_for(run, policy.target)
        wanted = request.run_task_request(run, provider, policy.target)
        reply = await effects._tasks.run_task(wanted)
        now, cluster = effects._clock.now(), policy.target.cluster
        claim = lifecycle.claim_launch(
            run, request=request.encoded(wanted), provider=provider, cluster=cluster, now=now, by="launching"
        )
        try:
            run = await effects._writer.write(claim)
        except Conflict:
            return "lost_claim"
        if isinstance(reply, Started):
            recorded: str = await effects._record_task(run, reply.task_arn, "RunTask answered")
            return recorded
        failed: str = await effects._record_failure(run, reply, policy)
        return failed

    return replaced(LaunchingEffects, "_launch", launch)


def _event_deleted_first() -> Any:
    honest = EventEffects.apply

    async def apply(effects: Any, events: Any, policy: Any) -> Any:
        if events:
            await effects._events.delete([event.receipt for event in events])
        return await honest(effects, events, policy)

    return replaced(EventEffects, "apply", apply)


def _no_limiter() -> Any:
    async def acquire(*_: Any) -> float:
        return 0.0

    return replaced(Limiter, "acquire", acquire)


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


def _unread_states_are_absent() -> Any:
    honest = OrphanEffects._load_records

    async def load(effects: Any, keys: Any, problems: Any) -> Any:
        found = await honest(effects, keys, problems)
        return {key: record for key, record in found.items() if record is not None}

    return replaced(OrphanEffects, "_load_records", load)


def _any_installation() -> Any:
    def own(task: Any, _: Any) -> Any:
        return TaskIdentity.parse(task.started_by)

    return replaced(mapping, "_own_identity", own)


def _tries_unbounded() -> Any:
    honest = lifecycle._next_try

    def next_try(run: Any, failure: Any, policy: Any, **kwargs: Any) -> Any:
        return honest(run, failure, replace(policy, max_launch_tries=10**6), **kwargs)

    return replaced(lifecycle, "_next_try", next_try)


def _infrastructure_unbounded() -> Any:
    honest = failures.next_budget

    def budget(run: Any, failure_class: Any, policy: Any) -> Budget:
        return honest(run, failure_class, replace(policy, max_infra_failures=10**6))

    return replaced(failures, "next_budget", budget)


def _ended_always() -> Any:
    return replaced(SeenTask, "has_ended", property(always))


def _always_held() -> Any:
    return replaced(KeptLease, "held", property(always))


def _one_organisation() -> Any:
    """Tasks are tagged for one organisation, whosever run it is."""
    honest = request.run_task_request

    def asked(run: Any, *args: Any) -> Any:
        return honest(replace(run, org_id="acme"), *args)

    return replaced(request, "run_task_request", asked)


EVENTS_ONLY: dict[str, Any] = {
    "without": frozenset({"reconciling"}),
    "events_kept": True,
    "with_events": True,
    "acts": (),
    "cancels": 0.0,
}
NO_CAPACITY_AND_NO_ANSWER: dict[str, Any] = {
    **CALM,
    "burst": True,
    "runs": 4,
    "acts": ((0.0, "no_room"),),
    "outages": (Outage(0, 100, Fate.TIMEOUT_APPLIED, ("RunTask",)),),
    "calm_from_s": 300.0,
    "give_up_s": 2400.0,
    "with_trainer": False,
}
"""ECS answers that there is no capacity, the answer is lost, and each replay is told the same."""

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

MUTANTS: tuple[Mutant, ...] = (
    Mutant("deterministic_token", "one task a launch try", _fresh_token),
    Mutant("version_condition", "no write over a newer record", _no_version),
    Mutant("claim_checks_attempt", "one task a run and attempt", _claims("attempt")),
    Mutant("claim_checks_arn", "a surplus task is refused", _claims("arn")),
    Mutant("claim_checks_cancel", "nothing starts after a cancel", _claims("cancel")),
    Mutant("claim_checks_status", "nothing starts for a run that is over or queued again", _claims("status")),
    Mutant("unresolved_send", "a failure is definite only if no earlier send is unresolved", _definitealways),
    Mutant(
        "replay_only_young",
        "an expired token is never sent again",
        lambda: replaced(launching, "may_replay", always),
    ),
    Mutant("own_organisation", "a task is tagged for the organisation of its run", _one_organisation),
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
    Mutant("lost_is_final", "a lost run is never launched again blindly", _relaunch_lost),
    Mutant("budgets_apart", "user and infrastructure failures are counted apart", _user_pays),
    Mutant("cause_before_stop", "why a task is stopped is on record first", _stop_without_cause),
    Mutant("timeout_before_stop", "that a run was too long is on record first", _orphan_without_cause),
    Mutant("two_scans", "one look at another system's record is not proof", _one_scan),
    Mutant("orphan_grace", "a worker that has just ended may leave", _no_grace),
    Mutant("orphan_reads_records", "no record is not an unread record", _blind_reads),
    Mutant("orphan_reads_states", "the same for another system's record", _unread_states_are_absent),
    Mutant(
        "orphan_cap",
        "so many orphans are more likely a mistake of ours",
        policies("ORPHANS", max_stops_per_scan=10**6, max_stop_share=2.0),
        {"acts": STRANGERS, "with_earlier_version": False},
    ),
    Mutant("orphan_installation", "the tasks of another installation are not ours", _any_installation),
    Mutant("op_id", "a writer knows its own write again", _op_id_each_try),
    Mutant("terminal_guard", "what is over does not change", _terminal_forgotten),
    Mutant("cancel_is_not_sent", "RunTask is never replayed for a cancelled run", _cancel_replays),
    Mutant("intent_before_effect", "what is about to be done is on record first", _effect_first),
    Mutant("event_deleted_last", "a message is deleted once its write is durable", _event_deleted_first, EVENTS_ONLY),
    Mutant("limiter", "calls stay within the account's buckets", _no_limiter, {**BURST, "runs": 150}),
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
    Mutant(
        "not_found_grace",
        "a task that ECS does not show yet may still come",
        policies("LAUNCHING", not_found_grace_s=0.0),
        LATE_ANSWER,
    ),
    Mutant(
        "body_failure_settles",
        "a failure that ECS remembers for a token does not keep its run for the token's life",
        _never_settles,
        NO_CAPACITY_AND_NO_ANSWER,
    ),
    Mutant("launch_tries_bounded", "launch tries have a bound of their own", _tries_unbounded, NO_CAPACITY),
    Mutant("infra_failures_bounded", "infrastructure failures have a bound of their own", _infrastructure_unbounded),
    Mutant(
        "new_attempt_forgets",
        "a new attempt begins without the old one's task",
        lambda: replaced(lifecycle, "_FORGET_ATTEMPT", {}),
    ),
    Mutant(
        "lease_check", "only the holder of a loop's lease works", _always_held, {"with_leases": True, "replicas": 2}
    ),
    *(
        Mutant(f"rule_{name}", "what ECS says is read as what it means", without_rule("TASK_RULES", name))
        for name in ("our_cause", "never_started", "out_of_memory", "no_result", "exit_code")
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
        {"with_long_outage": True, "cancels": 1.0},
    ),
    Mutant("orphan_too_young", "a young task's record may not be written yet", without_criterion(criteria._too_young)),
    Mutant("orphan_runtime", "what runs too long is stopped", without_criterion(criteria._runtime)),
    *CAUSE_MUTANTS,
    *ORPHAN_MUTANTS,
    *RETRY_MUTANTS,
)
