"""Who calls, and what for: one UpdateItem claims a launch, another ends an attempt. Read off what the call carries."""

from collections.abc import Mapping
from typing import Any

from dagy_control.model.leases import Lease
from dagy_control.model.runs import TERMINAL, RunChange, RunStatus
from tests.simulation.sim_loop import WORK, Host


def who(host: Host) -> str:
    """Who calls: of a daemon the loop, of anybody else what it is."""
    return WORK.get() if host.kind == "daemon" else host.kind


def of_change(change: RunChange) -> str:
    """What a write to a run is for. The first attribute that tells decides: the worker's last act ends its run, and is its result."""
    fields = change.fields
    told = (
        ("result", fields.get("result_status")),
        ("cancel", fields.get("cancel_requested_at")),
        ("stop cause", fields.get("stop_cause")),
        ("claim", fields.get("started_at") or fields.get("status") is RunStatus.LAUNCHING),
        ("renewal", fields.get("launch_sent_at")),
        ("task", fields.get("external_id")),
        ("next attempt", fields.get("attempt")),
        ("next try", fields.get("status") is RunStatus.QUEUED),
        ("end", fields.get("status") in TERMINAL),
        ("evidence", fields.get("evidence")),
    )
    return next((name for name, holds in told if holds), "unknown")


def of_lease(lease: Lease, current: Lease | None) -> str:
    """What a write of a lease is for: whoever takes it counts the epoch up."""
    if lease.released:
        return "give back"
    return "renew" if current is not None and current.epoch == lease.epoch else "take"


def of_request(operation: str, request: Mapping[str, Any], tokens: set[str]) -> str:
    """What a call of ECS is for. `tokens`: those that anybody has sent, to which this call's is added."""
    if operation != "RunTask":
        return operation
    again = request["clientToken"] in tokens
    tokens.add(request["clientToken"])
    return "RunTask again" if again else "RunTask first"
