"""What a queued run waits for at this moment, from its record, the active runs and the limits. Pure.

What it waited for is in its story: the claim of its launch tells it. This is for a run that has not been claimed yet.
"""

from datetime import datetime

from dagy_control.launching.admission import AdmissionLimits, admit
from dagy_control.launching.decide import is_due
from dagy_control.model.census import Census
from dagy_control.model.runs import Run, RunStatus


def waits_for(run: Run, census: Census, limits: AdmissionLimits | None, now: datetime) -> str:
    """One sentence; "" for a run that is not QUEUED. `limits`: None while launching is switched off. Ordered; the first that holds."""
    if run.status is not RunStatus.QUEUED:
        return ""
    if limits is None:
        return "launching is switched off: launching.enabled is false"
    if run.not_before is not None and not is_due(run, now):
        left_s = (run.not_before - now).total_seconds()
        return f"not_yet: its next try is due at {run.not_before:%H:%M:%S} UTC, in {left_s:.0f} s"
    reason = admit((run,), census, limits).waiting.get(run.run_id)
    org, flow, room = census.by_org[run.org_id], census.by_flow[run.org_id, run.flow_name], limits.max_concurrent_tasks
    match reason:
        case "org_limit":
            return f"org_limit: {run.org_id} has {_active(org)}, and launching.max_per_org is {limits.max_per_org}"
        case "flow_limit":
            of = f"{run.flow_name} of {run.org_id}"
            return f"flow_limit: {of} has {_active(flow)}, and launching.max_per_flow is {limits.max_per_flow}"
        case "no_room":
            return f"no_room: there are {_active(census.total)}, and launching.max_concurrent_tasks is {room}"
        case _:
            return (
                f"its turn: no limit holds it back ({_active(census.total)} of {room}). If it stays, no daemon launches, or ECS "
                'refuses every run: see /healthz, and "A run stays QUEUED" of the operations page'
            )


def _active(count: int) -> str:
    return "1 active run" if count == 1 else f"{count:,} active runs"
