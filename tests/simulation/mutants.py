"""Each safeguard of the design, removed: the simulation must notice. A safeguard that nothing notices is one that nothing tests.

Here those of records, claims and sends; the others in the `*_mutants.py` beside this file.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dagy_control.errors import Conflict
from dagy_control.events.effects import EventEffects
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.retrying import retrying
from dagy_control.launching import decide as launching
from dagy_control.launching import request
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.model import failures, lifecycle, runs
from dagy_control.model.failures import Budget
from dagy_control.model.runs import RunStatus
from dagy_control.ports.tasks import Started
from dagy_control.reconciling.effects import ReconcilingEffects
from tests.simulation.cause_mutants import CAUSE_MUTANTS
from tests.simulation.faults import Fate, Outage
from tests.simulation.judging_mutants import JUDGING_MUTANTS
from tests.simulation.lease_mutants import LEASE_MUTANTS
from tests.simulation.orphan_mutants import ORPHAN_MUTANTS
from tests.simulation.removing import (
    BURST,
    CALM,
    NEVER_STARTED,
    Mutant,
    always,
    both,
    policies,
    replaced,
)
from tests.simulation.retry_mutants import LATE_ANSWER, NO_CAPACITY, RETRY_MUTANTS, TOKENS_EXPIRE
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


def _stop_without_cause() -> Any:
    async def stop(effects: Any, stop: Any, *_: Any) -> bool:
        await effects._tasks.stop(stop.run.cluster or "", stop.run.external_id or "", reason=stop.reason)
        return True

    return replaced(ReconcilingEffects, "_stop", stop)


def _user_pays() -> Any:
    def budget(run: Any, failure_class: Any, policy: Any) -> Budget:
        return Budget.USER if run.attempt < run.max_attempts + 3 else Budget.NONE

    return replaced(failures, "next_budget", budget)


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
    "slow": (),
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
        TOKENS_EXPIRE,
    ),
    Mutant("own_organisation", "a task is tagged for the organisation of its run", _one_organisation),
    Mutant("budgets_apart", "user and infrastructure failures are counted apart", _user_pays),
    Mutant("cause_before_stop", "why a task is stopped is on record first", _stop_without_cause),
    Mutant("op_id", "a writer knows its own write again", _op_id_each_try),
    Mutant("terminal_guard", "what is over does not change", _terminal_forgotten),
    Mutant("cancel_is_not_sent", "RunTask is never replayed for a cancelled run", _cancel_replays),
    Mutant("intent_before_effect", "what is about to be done is on record first", _effect_first),
    Mutant("event_deleted_last", "a message is deleted once its write is durable", _event_deleted_first, EVENTS_ONLY),
    Mutant("limiter", "calls stay within the account's buckets", _no_limiter, {**BURST, "runs": 150}),
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
    Mutant(
        "infra_failures_bounded",
        "infrastructure failures have a bound of their own",
        _infrastructure_unbounded,
        NEVER_STARTED,
    ),
    Mutant(
        "new_attempt_forgets",
        "a new attempt begins without the old one's task",
        lambda: replaced(lifecycle, "_FORGET_ATTEMPT", {}),
    ),
    *CAUSE_MUTANTS,
    *JUDGING_MUTANTS,
    *LEASE_MUTANTS,
    *ORPHAN_MUTANTS,
    *RETRY_MUTANTS,
)
