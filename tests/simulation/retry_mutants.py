"""What is tried again, when, where, with what and how often: each safeguard taken away."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.launching import breaker, request
from dagy_control.launching import decide as launching
from dagy_control.launching.breaker import Breaker, BreakerPolicy, Claims
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.model import failures, hashing, lifecycle
from dagy_control.model.runs import FailureClass, RunStatus
from dagy_control.reconciling import decide as reconciling
from tests.simulation.conduct import Conduct
from tests.simulation.faults import Fate, Outage
from tests.simulation.removing import CALM, Mutant, always, policies, replaced


def _unrenewed() -> Any:
    """A token is sent again, and its intent stays as it was."""

    async def replay(effects: Any, run_id: str, policy: Any, tick: Any) -> str:
        run = await effects._runs.get(run_id)
        if run is None or run.status is not RunStatus.LAUNCHING or not launching.may_replay(run, policy, tick.now):
            return "stale"
        sent: str = await effects._send(run, policy)
        return sent

    return replaced(LaunchingEffects, "_replay", replay)


def _unrenewed_time() -> Any:
    """The intent is renewed, but for the time of sending."""
    honest = lifecycle.renew_send

    def renew(run: Any, **told: Any) -> Any:
        change = honest(run, **told)
        return replace(change, fields={**change.fields, "launch_sent_at": run.launch_sent_at})

    return replaced(lifecycle, "renew_send", renew)


def _requeued_without(name: str) -> Any:
    def apply() -> Any:
        honest = lifecycle._requeue

        def requeue(run: Any, **values: Any) -> Any:
            if "attempt" in values:
                values.pop(name)
            return honest(run, **values)

        return replaced(lifecycle, "_requeue", requeue)

    return apply


def _no_wait() -> Any:
    def jittered(*_: Any) -> float:
        return 0.0

    return replaced(hashing, "jittered", jittered)


def _never_larger() -> Any:
    def next_size(*_: Any) -> None:
        return None

    return replaced(failures, "next_size", next_size)


def _never_on_demand() -> Any:
    def shortages(*_: Any) -> int:
        return 0

    return replaced(request, "shortages", shortages)


def _never_probes() -> Any:
    def allowed(state: Breaker, _now: object) -> Claims:
        return Claims.NONE if state.is_open else Claims.ALL

    return replaced(breaker, "allowed_claims", allowed)


def _never_closes() -> Any:
    def accepts(*_: Any) -> None:
        return None

    return replaced(LaunchingEffects, "_target_accepts", accepts)


def _never_late() -> Any:
    def late(*_: Any) -> bool:
        return False

    return replaced(reconciling, "_start_is_late", late)


def _stops_without(name: str) -> Any:
    """Reconciling stops no task for what this attribute of the run says."""

    def apply() -> Any:
        honest = reconciling._stop_of

        def stop(run: Any, *args: Any) -> Any:
            return honest(replace(run, **{name: None}), *args)

        return replaced(reconciling, "_stop_of", stop)

    return apply


def _never_looks() -> Any:
    """A launch whose token has expired is given up as if ECS had been asked for its task, and had shown none."""

    async def none(*_: Any, **__: Any) -> AsyncIterator[list[str]]:
        found: tuple[list[str], ...] = ()
        for arns in found:
            yield arns

    return replaced(EcsTasks, "list_running", none)


def _probes_at_the_run_s_cost() -> Any:
    honest = LaunchingEffects._judge_target

    def judge(effects: Any, run: Any, failure: Any, policy: Any) -> Any:
        honest(effects, run, failure, policy)
        return failure

    return replaced(LaunchingEffects, "_judge_target", judge)


WELL = ((1.0, Conduct.SUCCEED),)
NONE_FAILS = (("FAILED", 0),)
SPOT_IS_TAKEN_BACK: dict[str, Any] = {
    **CALM,
    "with_earlier_version": False,
    "conducts": WELL,
    "acts": tuple((60.0 * minute, "spot_burst") for minute in range(1, 150)),
    "at_most": NONE_FAILS,
}
"""No task on Spot lives for longer than a minute."""

NO_CAPACITY: dict[str, Any] = {"acts": tuple((60.0 * minute, "no_capacity") for minute in range(1, 100))}
LATE_ANSWER: dict[str, Any] = {
    "burst": True,
    "acts": (),
    "outages": (
        Outage(0, 3250, Fate.TIMEOUT_NOT_APPLIED, ("RunTask",)),
        Outage(3250, 3500, Fate.TIMEOUT_APPLIED, ("RunTask",)),
    ),
}
"""The last send of a token is the first to reach ECS, and its answer is lost."""

PERMISSION_LOST: dict[str, Any] = {
    **CALM,
    "with_earlier_version": False,
    "replicas": 1,
    "runs": 60,
    "burst": True,
    "conducts": WELL,
    "outages": (Outage(0, 1500, Fate.DENIED, ("RunTask",)),),
    "at_most": ((FailureClass.LAUNCH_PERMISSION.value, 4),),
    "calm_from_s": 1600.0,
    "give_up_s": 3000.0,
    "with_trainer": False,
}
"""For 25 minutes; three refusals open the breaker. All are launched soon after: at one a tick it would take half an hour longer."""

TASKS_GO_ON: dict[str, Any] = {
    **CALM,
    "with_earlier_version": False,
    "runs": 4,
    "strange_s": 10.0**6,
    "max_runtime_hours": 1000.0,
    "with_trainer": False,
}
"""No task ends by itself, and the orphan scanner knows of no limit of runtime."""

NO_ANSWER_FOR_AN_HOUR: dict[str, Any] = {
    **TASKS_GO_ON,
    "burst": True,
    "conducts": ((1.0, Conduct.STUCK),),
    "outages": (Outage(0, 4200, Fate.TIMEOUT_APPLIED, ("RunTask",)),),
}
"""All tokens expire before anybody knows of the tasks."""

TOKENS_EXPIRE: dict[str, Any] = {
    **TASKS_GO_ON,
    "burst": True,
    "conducts": ((1.0, Conduct.NEVER_START),),
    "outages": (Outage(0, 60, Fate.TIMEOUT_APPLIED, ("RunTask",)), Outage(60, 4500)),
}
"""Tasks that nobody knows of end at once, and ECS forgets their tokens an hour later, before anybody can ask."""

RETRY_MUTANTS: tuple[Mutant, ...] = (
    Mutant("intent_renewed", "a token that is sent again is on record as sent again", _unrenewed),
    Mutant("send_time_renewed", "the wait for a task begins with the last send", _unrenewed_time, LATE_ANSWER),
    Mutant("retry_waits", "what failed is not tried again at once", _no_wait),
    Mutant("not_before", "what is to wait waits", lambda: replaced(launching, "is_due", always)),
    Mutant(
        "infra_counted_apart", "the infrastructure's failures are not the user's", _requeued_without("infra_failures")
    ),
    Mutant(
        "tries_counted_apart", "a new attempt has all its launch tries", _requeued_without("launch_try"), NO_CAPACITY
    ),
    Mutant(
        "spot_fallback", "what Spot takes back again and again goes on-demand", _never_on_demand, SPOT_IS_TAKEN_BACK
    ),
    Mutant(
        "next_profile",
        "what ran out of memory gets more",
        _never_larger,
        {**CALM, "with_earlier_version": False, "conducts": ((1.0, Conduct.GREEDY),), "at_most": NONE_FAILS},
    ),
    Mutant(
        "breaker_opens",
        "a lost permission does not cost every run in the queue",
        policies("LAUNCHING", breaker=BreakerPolicy(refusals=10**6)),
        PERMISSION_LOST,
    ),
    Mutant("breaker_probes", "an open breaker tries whether the target accepts again", _never_probes, PERMISSION_LOST),
    Mutant("breaker_closes", "a probe that is accepted closes it", _never_closes, PERMISSION_LOST),
    Mutant(
        "breaker_holds", "a probe that is refused costs its run nothing", _probes_at_the_run_s_cost, PERMISSION_LOST
    ),
    Mutant(
        "start_timeout",
        "a task that never comes to its claim is stopped",
        _never_late,
        {**TASKS_GO_ON, "conducts": ((1.0, Conduct.STUCK),)},
    ),
    Mutant(
        "cancel_enforced",
        "the task of a run that is to be cancelled is stopped",
        _stops_without("cancel_requested_at"),
        {**TASKS_GO_ON, "conducts": ((1.0, Conduct.HANG),), "cancels": 1.0},
    ),
    Mutant(
        "lingering",
        "a worker that stays after its result is stopped",
        _stops_without("result_at"),
        {**TASKS_GO_ON, "conducts": ((1.0, Conduct.FAIL_AND_LINGER),)},
    ),
    Mutant(
        "looks_first",
        "an expired token's task is looked for before the next try",
        _never_looks,
        NO_ANSWER_FOR_AN_HOUR,
    ),
)
