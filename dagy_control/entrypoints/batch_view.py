"""What became of a batch, for people and for programs."""

from typing import Any

from dagy_control.entrypoints.command import EXIT_REFUSED, EXIT_UNAVAILABLE
from dagy_control.requests.batch import BatchOutcome, ItemFailure

FAILURES_SHOWN_MAX = 50
"""Failures that people are shown; `--json` has them all."""


def batch_document(outcome: BatchOutcome) -> dict[str, Any]:
    """A batch for programs: every order is in `runs` or in `failures`, by its place from 0."""
    return {
        "parent_correlation_id": outcome.parent_correlation_id,
        "runs": [
            {"index": index, "run_id": run.run_id, "status": run.status, "correlation_id": run.correlation_id}
            for index, run in sorted(outcome.runs.items())
        ],
        "failures": [
            {"index": each.index, "field": each.field, "message": each.message, "again": each.again}
            for each in outcome.failures
        ],
    }


def batch_exit_code(outcome: BatchOutcome) -> int:
    """0 when every order has its run; 3 when repeating is all that it takes; 1 when an order was refused."""
    if not outcome.failures:
        return 0
    return EXIT_UNAVAILABLE if all(each.again for each in outcome.failures) else EXIT_REFUSED


def _fault(failure: ItemFailure) -> str:
    """Why an order was refused, with the argument at fault named once."""
    named = not failure.field or failure.message.startswith(failure.field)
    return failure.message if named else f"{failure.field}: {failure.message}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def batch_page(outcome: BatchOutcome) -> str:
    """A batch for people."""
    parent, failures = outcome.parent_correlation_id, outcome.failures
    lines = [
        f"{parent}: {_counted(len(outcome.runs), 'run')} on record, {_counted(len(failures), 'order')} without one"
    ]
    if failures:
        lines[0] += "; orders are counted from 0"
    shown = failures[:FAILURES_SHOWN_MAX]
    lines += [f"  order {each.index}: {_fault(each)}" for each in shown]
    if len(failures) > FAILURES_SHOWN_MAX:
        lines.append(f"  and {len(failures) - FAILURES_SHOWN_MAX:,} more; --json names all")
    if failures:
        lines.append(f"mend these orders in their places, and repeat with --parent {parent}: none is launched twice")
    lines.append(f"follow it with: dagy-control runs list --correlation-id {parent}")
    return "\n".join(lines)
