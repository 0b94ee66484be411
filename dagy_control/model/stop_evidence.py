"""What stays on a run of a task that ended: ECS's own words, its times and what it cost. ECS forgets them after about an hour.

The last ended task stands in `evidence`; of each earlier attempt, the transition that ended it keeps a shorter form, so that
another attempt loses nothing. Costs are added up over all attempts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dagy_control.model.cost import PriceTable, attempt_cost_usd, billed_seconds
from dagy_control.model.runs import ActiveRun, Run, RunChange
from dagy_control.model.tasks import SeenTask, evidence_of, past_evidence_of

MISSING = "MISSING"
"""The `last_status` in the evidence of a task that ECS no longer knew."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is over. `values`: the run's attributes that tell of it; `past`: what the transition to another attempt keeps."""

    values: Mapping[str, Any]
    past: Mapping[str, Any]


def ended_with(
    run: ActiveRun, task: SeenTask | None, *, container_name: str, prices: PriceTable | None, now: datetime
) -> Ended:
    """What an attempt leaves that has ended with this task; None: ECS has forgotten it.

    `prices` None: no cost is estimated. A stored cost is the sum over all attempts, and absent when that of any is unknown.
    """
    if task is None:
        missing = _evidence_of_missing(run, now)
        return Ended({"evidence": missing, **({} if prices is None else {"estimated_cost_usd": None})}, missing)
    cost = _cost(task, prices)
    evidence = {**evidence_of(task), **cost}
    values: dict[str, Any] = {
        "evidence": evidence,
        "stop_code": task.stop_code or None,
        "stopped_reason": evidence.get("stopped_reason"),
    }
    container = task.container(container_name)
    if container is not None and container.exit_code is not None:
        values["exit_code"] = container.exit_code
    if prices is not None:
        values["estimated_cost_usd"] = _total_usd(run, cost.get("cost_usd"))
    return Ended(values, {**past_evidence_of(task), **cost})


def keep_evidence(run: Run, task: SeenTask, *, container_name: str, prices: PriceTable | None) -> RunChange | None:
    """The evidence of the last task of a run that its worker has ended itself, before ECS had anything to say.

    No status changes, nor what the worker said. None when it is not wanted (`wants_evidence`).
    """
    if not wants_evidence(run, task):
        return None
    now = task.stopped_at or run.created_at
    values = dict(ended_with(run, task, container_name=container_name, prices=prices, now=now).values)
    if run.exit_code is not None:
        values.pop("exit_code", None)
    return RunChange(run_id=run.run_id, expected_version=run.version, fields=values)


def spent_before_usd(run: ActiveRun) -> float | None:
    """What the attempts before the present one cost; None when that of any is unknown, as it is to the `active` index."""
    if run.attempt == 1:
        return 0.0
    if not isinstance(run, Run):
        return None
    costs = {step.attempt: step.evidence.get("cost_usd") for step in run.transitions if step.evidence}
    known = [cost for number in range(1, run.attempt) if (cost := costs.get(number)) is not None]
    return sum(known) if len(known) == run.attempt - 1 else None


def wants_evidence(run: Run, task: SeenTask) -> bool:
    """Whether the run is over, this was its last task, and nothing of what ECS says of the task's end is on record."""
    if not run.status.is_terminal or not task.has_ended or run.external_id != task.arn:
        return False
    evidence = run.evidence or {}
    return evidence.get("task_arn") != task.arn or evidence.get("last_status") == MISSING


def _evidence_of_missing(run: ActiveRun, now: datetime) -> dict[str, Any]:
    """What was looked for, when, and how old it was by then."""
    facts = {
        "task_arn": run.external_id,
        "cluster": run.cluster,
        "last_status": MISSING,
        "looked_for_at": now.isoformat(),
        "launch_sent_at": run.launch_sent_at.isoformat() if run.launch_sent_at else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _cost(task: SeenTask, prices: PriceTable | None) -> dict[str, Any]:
    facts = {
        "billed_seconds": billed_seconds(task),
        "cost_usd": None if prices is None else attempt_cost_usd(task, prices),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _total_usd(run: ActiveRun, cost_usd: float | None) -> float | None:
    before = spent_before_usd(run)
    return None if cost_usd is None or before is None else round(before + cost_usd, 8)
