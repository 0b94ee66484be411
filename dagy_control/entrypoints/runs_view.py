"""Runs as people read them: a list, and one run with its state, its story, its tasks and what to do if it failed.

What a user's error, a person's stop reason or another system's record says is shown as it is: it is no markup.
"""

from collections.abc import Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.stop_kinds import remedy_of
from dagy_control.model.task_runs import TaskRun, cut_off
from dagy_control.requests.orders import LaunchOrder, differences

STATUS_COLOURS = {
    RunStatus.QUEUED: "cyan",
    RunStatus.LAUNCHING: "cyan",
    RunStatus.RUNNING: "blue",
    RunStatus.SUCCEEDED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "yellow",
}


def runs_table(runs: Sequence[Run]) -> Table:
    """A line for each run."""
    columns = ("organisation", "flow", "status", "attempt", "created", "seconds", "why")
    table = Table(Column("run", no_wrap=True), *columns, box=SIMPLE_HEAD, pad_edge=False)
    for run in runs:
        table.add_row(
            run.run_id,
            run.org_id,
            run.flow_name,
            _status(run),
            str(run.attempt),
            _time(run.created_at),
            "" if run.duration_seconds is None else f"{run.duration_seconds:.1f}",
            str(run.failure_class or ""),
        )
    return table


def run_page(run: Run, task_runs: Sequence[TaskRun]) -> Group:
    """All about one run."""
    title = Text.assemble((run.flow_name, "bold"), f" of {run.org_id}, run {run.run_id}: ", _status(run))
    facts = [Text(f"  {name:<16} {value}".replace("\n", "\n" + " " * 19)) for name, value in _facts(run)]
    tables = [_transitions(run), _tasks(run, task_runs)] if task_runs else [_transitions(run)]
    return Group(title, *facts, *tables)


def replay_note(run: Run, order: LaunchOrder) -> str:
    """What to tell who gave the order and got the run that its idempotency key had made for something else; else ""."""
    others = differences(order, run)
    return key_used_before(run, "; ".join(others)) if others else ""


def key_used_before(run: Run, what: str) -> str:
    """What an idempotency key of somebody's made before."""
    return (
        f"note: the key {run.idempotency_key!r} was used before, for {run.flow_name} with {what}: "
        "this is that run, nothing new is launched"
    )


def _status(run: Run) -> Text:
    return Text(run.status, STATUS_COLOURS[run.status])


def _facts(run: Run) -> list[tuple[str, str]]:
    size = f"{run.cpu} CPU / {run.memory} MiB" if run.cpu else ""
    facts: list[tuple[str, object]] = [
        ("attempt", _attempt(run)),
        ("correlation", run.correlation_id),
        ("size", " ".join(filter(None, (size, run.capacity_provider)))),
        ("task", run.external_id),
        ("seconds", run.duration_seconds),
        ("cost", _cost(run)),
        ("deployment", run.deployment_name),
        ("packages", ", ".join(run.dep_package_slugs)),
        ("retry of", run.retry_of),
        ("cancel", f"requested {_time(run.cancel_requested_at)}" if run.cancel_requested_at else None),
        ("exit code", run.exit_code),
        ("class", run.failure_class),
        ("error", run.error_message),
        ("remedy", remedy_of(run)),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _attempt(run: Run) -> str:
    """`max_attempts` bounds only the attempts that the flow itself failed, so one that infrastructure ended comes on top."""
    lost = f", and {run.infra_failures} not counted" if run.infra_failures else ""
    return f"{run.attempt} (the flow may have {run.max_attempts}{lost})"


def _cost(run: Run) -> str:
    """The estimate over all attempts that have ended; "" when it is not known."""
    return "" if run.estimated_cost_usd is None else f"about {run.estimated_cost_usd:.6f} USD"


def _transitions(run: Run) -> Table:
    table = Table(
        "at", "from", "to", "attempt", "by", "why", title="Story", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for each in run.transitions:
        table.add_row(_time(each.at), each.from_status, each.to_status, str(each.attempt), each.by, each.why)
    return table


def _tasks(run: Run, task_runs: Sequence[TaskRun]) -> Table:
    table = Table(
        "task",
        "status",
        "tries",
        "seconds",
        "peak MiB",
        "error",
        title="Tasks",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for each in task_runs:
        table.add_row(
            each.task_run_id,
            each.status,
            str(each.attempts),
            "" if each.duration_seconds is None else f"{each.duration_seconds:.2f}",
            "" if each.peak_memory_mb is None else f"{each.peak_memory_mb:.0f}",
            _why(run, each),
        )
    return table


def _why(run: Run, task: TaskRun) -> str:
    """A task's error, and where its traceback lies."""
    ended_first = "no end on record: its worker ended first" if cut_off(task, run) else ""
    trace = f"trace: {task.trace_uri}" if task.trace_uri else ""
    return "\n".join(filter(None, (task.error_message or ended_first, trace)))


def _time(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")
