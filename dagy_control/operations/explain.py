"""The story of a run, in order, from its record and its tasks' rows alone: a year later it tells the same. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.stop_kinds import remedy_of
from dagy_control.model.task_runs import TaskRun, cut_off

TASKS_TOLD_MAX = 50
"""Tasks that are told one by one: those that went wrong first. The others are counted."""


class Teller(StrEnum):
    """Whose word a moment rests on; of one instant, first what led to it, last what the control plane made of it."""

    REQUEST = "request"
    ECS = "ECS"
    WORKER = "worker"
    CONTROL = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened. `at` is aware UTC; `attempt` from 1; `text` a sentence for people, `facts` the same for programs."""

    at: datetime
    attempt: int
    teller: Teller
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A run's story. `summary`: how it stands, in one sentence; `remedy`: what a person can do, "" when there is nothing to do.

    `waits_for`: what a queued run waits for at the moment; not of the story, which a year later is the same.
    """

    run_id: str
    status: RunStatus
    summary: str
    moments: tuple[Moment, ...]
    remedy: str
    attempts: int
    infra_failures: int
    estimated_cost_usd: float | None
    waited_seconds: float
    """Time in the queue, over all attempts."""
    waits_for: str = ""


def explain(run: Run, tasks: Sequence[TaskRun], *, waits_for: str = "") -> Explanation:
    """The story of one run. `tasks`: every row of DAGY_TASK_RUNS that it has. `waits_for`: a sentence of `explain_waiting`."""
    moments = [*_request(run), *_marks(run), *_steps(run), *_ecs(run), *_tasks(run, tasks)]
    tellers = list(Teller)
    return Explanation(
        run_id=run.run_id,
        status=run.status,
        summary=_summary(run),
        moments=tuple(sorted(moments, key=lambda moment: (moment.at, tellers.index(moment.teller)))),
        remedy=remedy_of(run),
        attempts=run.attempt,
        infra_failures=run.infra_failures,
        estimated_cost_usd=run.estimated_cost_usd,
        waited_seconds=round(sum(seconds for _, seconds in _waits(run)), 3),
        waits_for=waits_for,
    )


def _summary(run: Run) -> str:
    attempts = "1 attempt" if run.attempt == 1 else f"{run.attempt} attempts"
    if run.infra_failures:
        attempts += f", {run.infra_failures} of them lost to infrastructure"
    cost = "" if run.estimated_cost_usd is None else f", about {run.estimated_cost_usd:.6f} USD"
    match run.status:
        case RunStatus.FAILED:
            return f"FAILED, {run.failure_class or 'no class'}, after {attempts}{cost}: {run.error_message or 'no message'}"
        case RunStatus.SUCCEEDED | RunStatus.CANCELLED:
            took = "" if run.duration_seconds is None else f" in {run.duration_seconds:.1f} s"
            return f"{run.status}{took}, after {attempts}{cost}"
        case _ if run.cancel_requested_at is not None:
            return f"{run.status}, being cancelled, attempt {run.attempt}"
        case RunStatus.QUEUED:
            return _summary_of_queued(run)
        case _:
            return f"{run.status}, attempt {run.attempt}"


def _summary_of_queued(run: Run) -> str:
    since = run.active_since or run.created_at
    launch_try = f", launch try {run.launch_try}" if run.launch_try > 1 else ""
    not_before = "" if run.not_before is None else f", not before {run.not_before:%Y-%m-%d %H:%M:%S}"
    return f"QUEUED since {since:%Y-%m-%d %H:%M:%S}, attempt {run.attempt}{launch_try}{not_before}"


def _request(run: Run) -> Iterator[Moment]:
    version = f" version {run.flow_version}" if run.flow_version else ""
    what = f"{run.org_id} asked for {run.flow_name}{version}"
    facts = {
        "deployment_name": run.deployment_name,
        "workload_profile": run.workload_profile,
        "cpu": run.cpu,
        "memory": run.memory,
        "ephemeral_storage_gib": run.ephemeral_storage_gib,
        "priority": run.priority or None,
        "max_attempts": run.max_attempts,
        "parameters": run.parameters if run.parameters != "{}" else None,
        "retry_of": run.retry_of,
        "correlation_id": run.correlation_id,
        "parent_correlation_id": run.parent_correlation_id,
        "idempotency_key": run.idempotency_key,
        "dep_package_slugs": list(run.dep_package_slugs) or None,
    }
    given = _given(facts)
    words = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
    yield Moment(at=run.created_at, attempt=1, teller=Teller.REQUEST, text=f"{what}: {words}", facts=given)


def _steps(run: Run) -> Iterator[Moment]:
    """The changes of status, each with what had been waited for."""
    waits = dict(_waits(run))
    for index, each in enumerate(run.transitions):
        if each.from_status == "" and each.to_status == RunStatus.QUEUED:
            continue  # the request itself
        text = (
            f"{each.from_status} -> {each.to_status}: {each.why}"
            if each.why
            else f"{each.from_status} -> {each.to_status}"
        )
        facts: dict[str, Any] = {"from": each.from_status, "to": each.to_status, "by": each.by, "why": each.why}
        if index in waits:
            text += f"; it had waited {waits[index]:.1f} s in the queue"
            facts["waited_seconds"] = round(waits[index], 3)
        if each.failure_class is not None:
            facts["failure_class"] = each.failure_class
        teller = Teller.WORKER if each.by == "worker" else Teller.CONTROL
        yield Moment(at=each.at, attempt=each.attempt, teller=teller, text=text, facts=facts)


def _waits(run: Run) -> Iterator[tuple[int, float]]:
    """For each transition out of the queue, its index and the seconds that the run had been in there."""
    queued_at: datetime | None = run.created_at
    for index, each in enumerate(run.transitions):
        if each.to_status == RunStatus.QUEUED:
            queued_at = each.at
        elif each.from_status == RunStatus.QUEUED and queued_at is not None:
            yield index, max(0.0, (each.at - queued_at).total_seconds())


def _marks(run: Run) -> Iterator[Moment]:
    """What is on the record with a time of its own and no change of status."""
    if run.cancel_requested_at is not None:
        yield Moment(
            at=run.cancel_requested_at,
            attempt=run.attempt,
            teller=Teller.REQUEST,
            text="its cancel was requested, and is on record",
        )
    if run.started_at is not None:
        yield Moment(
            at=run.started_at,
            attempt=run.attempt,
            teller=Teller.WORKER,
            text="the worker claimed the attempt: from here on the flow's own code runs",
            facts=_given({"task_arn": run.external_id}),
        )
    result = run.committed_result
    if result is not None and run.result_at is not None:
        why = ": ".join(filter(None, (str(result.failure_class or ""), result.message)))
        if why and any(each.at == run.result_at and each.why.startswith(why[:100]) for each in run.transitions):
            why = ""  # the change of status that it brought says it
        yield Moment(
            at=run.result_at,
            attempt=run.attempt,
            teller=Teller.WORKER,
            text=f"the worker committed its result, {result.status}{f' ({why})' if why else ''}",
            facts=_given({"result_status": result.status, "result_class": result.failure_class}),
        )


def _ecs(run: Run) -> Iterator[Moment]:
    """What ECS said of each attempt's task, as it was kept when the attempt ended."""
    for each in run.transitions:
        if each.evidence:
            yield from _task_of_ecs(each.evidence, each.attempt)
    if run.evidence:
        yield from _task_of_ecs(run.evidence, run.attempt)


def _task_of_ecs(evidence: Mapping[str, Any], attempt: int) -> Iterator[Moment]:
    def moment(name: str, text: str, **facts: object) -> Iterator[Moment]:
        at = _moment(evidence.get(name))
        if at is not None:
            yield Moment(at=at, attempt=attempt, teller=Teller.ECS, text=text, facts=_given(facts))

    size = "" if evidence.get("cpu") is None else f", {evidence['cpu']} CPU / {evidence.get('memory_mib', '?')} MiB"
    provider = evidence.get("capacity_provider") or evidence.get("launch_type") or "an unnamed provider"
    zone = f" in {evidence['availability_zone']}" if evidence.get("availability_zone") else ""
    yield from moment("created_at", f"task created on {provider}{size}{zone}", task_arn=evidence.get("task_arn"))
    yield from moment("pull_started_at", "image pull began; from here on it is billed")
    yield from moment("started_at", "container started")
    yield from moment("stopping_at", "task told to stop", stop_code=evidence.get("stop_code"))
    yield from moment(
        "stopped_at",
        f"task stopped: {_stop_words(evidence)}",
        stop_code=evidence.get("stop_code"),
        stopped_reason=evidence.get("stopped_reason"),
        containers=evidence.get("containers"),
    )


def _stop_words(evidence: Mapping[str, Any]) -> str:
    words = [str(evidence.get("stop_code") or "no stop code")]
    if evidence.get("stopped_reason"):
        words.append(str(evidence["stopped_reason"]))
    for container in evidence.get("containers") or ():
        exit_code = container.get("exit_code")
        told = ", ".join(
            filter(None, ("" if exit_code is None else f"exit code {exit_code}", str(container.get("reason") or "")))
        )
        if told:
            words.append(f"container {container.get('name', '?')}: {told}")
    return "; ".join(words)


def _tasks(run: Run, rows: Sequence[TaskRun]) -> Iterator[Moment]:
    """The flow's tasks: those that went wrong one by one, then as many of the others as there is room for."""
    by_need = sorted(rows, key=lambda row: row.status == "SUCCEEDED")
    for row in by_need[:TASKS_TOLD_MAX]:
        at = row.completed_at or row.started_at
        if at is None:
            continue
        took = "" if row.duration_seconds is None else f" in {row.duration_seconds:.2f} s"
        tries = "" if row.attempts == 1 else f", try {row.attempts}"
        peak = "" if row.peak_memory_mb is None else f", at most {row.peak_memory_mb:.0f} MiB"
        ended_first = ", no end on record: its worker ended first" if cut_off(row, run) else ""
        why = f": {row.error_type or 'error'}: {row.error_message}" if row.error_message else ended_first
        yield Moment(
            at=at,
            attempt=row.run_attempt,
            teller=Teller.WORKER,
            text=f"task {row.task_run_id.partition('#')[2]} {row.status}{took}{tries}{peak}{why}",
            facts=_given({"task_run_id": row.task_run_id, "status": row.status, "trace_uri": row.trace_uri}),
        )
    left = by_need[TASKS_TOLD_MAX:]
    times = [at for at in (row.completed_at or row.started_at for row in left) if at is not None]
    if times:
        counts = Counter(row.status for row in left)
        words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        yield Moment(
            at=max(times),
            attempt=left[0].run_attempt,
            teller=Teller.WORKER,
            text=f"and {len(left)} further tasks: {words}",
            facts={"further_tasks": dict(counts)},
        )


def _moment(value: object) -> datetime | None:
    """A time as evidence keeps it; None for one that cannot be read: an old record tells what it can."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _given(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in (None, "")}
