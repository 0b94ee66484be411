"""The scanner's documented output."""

from typing import Any

from dagy_control.orphans.decide import OrphanPolicy, ScanPlan


def scan_report(plan: ScanPlan, policy: OrphanPolicy, tasks_stopped: int) -> dict[str, Any]:
    """The output of a scan, as the scanner's document fixes it; `runtime_hours` only where the runtime is the reason.

    Of a scan that is not whole one key more, `not_reached`, says what is missing; if not even all tasks were listed, `success` is
    false, and `error` says why.
    """
    orphans: list[dict[str, Any]] = []
    for orphan in plan.orphans:
        row: dict[str, Any] = {"task_arn": orphan.task_arn, "reason": orphan.reason}
        if orphan.runtime_hours is not None:
            row["runtime_hours"] = orphan.runtime_hours
        orphans.append(row)
    document: dict[str, Any] = {"success": not plan.cut}
    if plan.cut:
        document["error"] = plan.cut
    document["data"] = {
        "summary": {
            "total_running": plan.total_running,
            "orphans_found": len(plan.orphans),
            "tasks_stopped": tasks_stopped,
            "dry_run": policy.dry_run,
        },
        "orphans": orphans,
    }
    if plan.unread or plan.problems:
        document["not_reached"] = {"tasks": plan.unread, "why": list(plan.problems)}
    return {**document, "environment": policy.environment}


def failure_report(error: str, environment: str) -> dict[str, Any]:
    """The output when there was no scan: bad input, or nothing could be read."""
    return {"success": False, "error": error, "environment": environment}
