"""The scanner's documented output."""

from typing import Any

from dagy_control.orphans.decide import OrphanPolicy, ScanPlan


def scan_report(plan: ScanPlan, policy: OrphanPolicy, tasks_stopped: int) -> dict[str, Any]:
    """The output of a scan, as the scanner's document fixes it; `runtime_hours` only where the runtime is the reason."""
    orphans: list[dict[str, Any]] = []
    for orphan in plan.orphans:
        row: dict[str, Any] = {"task_arn": orphan.task_arn, "reason": orphan.reason}
        if orphan.runtime_hours is not None:
            row["runtime_hours"] = orphan.runtime_hours
        orphans.append(row)
    return {
        "success": True,
        "data": {
            "summary": {
                "total_running": plan.total_running,
                "orphans_found": len(plan.orphans),
                "tasks_stopped": tasks_stopped,
                "dry_run": policy.dry_run,
            },
            "orphans": orphans,
        },
        "environment": policy.environment,
    }
