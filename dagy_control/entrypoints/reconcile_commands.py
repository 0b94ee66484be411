"""`dagy-control reconcile`: one pass by hand."""

import asyncio
import json
import signal
import sys
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from dagy_control.entrypoints.command import EXIT_REFUSED, ConfigOption, JsonOption, errors_as_sentences, with_ports
from dagy_control.entrypoints.policies import reconcile_policy_by_hand
from dagy_control.entrypoints.wiring import Ports
from dagy_control.errors import DagyError, Permanent
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.ticker import Tick
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import PassSummary, ReconcilingMetrics
from dagy_control.reconciling.rotation import starting_point

EXIT_INTERRUPTED = 130
"""As shells say of a command that Ctrl-C has ended (128 + SIGINT)."""


def reconcile(
    max_runs: Annotated[
        int, typer.Option(min=0, max=10_000, help="Runs to look at, others than the last call did; 0: all.")
    ] = 50,
    stale_threshold_seconds: Annotated[
        float | None,
        typer.Option(
            min=0, help="Only runs that have been RUNNING for so long. Default: reconciling.stale_threshold_s."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare RUNNING runs with ECS once, and repair their records. Safe beside a running daemon; may be repeated.

    A run whose task ECS no longer knows is looked at twice, and ended as LOST only an hour after its launch. Exit 1: there were
    errors, or so many tasks are missing that none was ended; 130: interrupted, with what was done until then.
    """
    summary = PassSummary()
    drain = Drain()

    async def work(ports: Ports) -> DagyError | None:
        settings = ports.settings
        if not settings.ecs.cluster_arn:
            raise Permanent("reconciling needs ecs.cluster_arn (DAGY_ECS_CLUSTER_ARN)")
        for stop in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(stop, drain.begin)
        loop = ReconcilingLoop(
            reconcile_policy_by_hand(settings, max_runs=max_runs, stale_threshold_s=stale_threshold_seconds),
            ReconcilingEffects(ports.runs, ports.tasks, ports.results, ports.writer, ports.clock),
            ReconcilingMetrics(CollectorRegistry()),
            ports.clock,
            start=starting_point(ports.clock.now().timestamp()),
        )
        try:
            await loop.reconcile(Tick(now=ports.clock.now(), drain=drain), summary)
        except DagyError as error:
            return error  # what was done until then is shown first
        return None

    error = with_ports(config, work)
    print(json.dumps(summary.as_dict(), indent=2) if as_json else _sentence(summary))
    for note in _notes(summary, interrupted=drain.begun):
        print(note, file=sys.stderr)
    if error is not None:
        with errors_as_sentences():
            raise error
    if drain.begun:
        raise typer.Exit(EXIT_INTERRUPTED)
    if summary.errors or summary.held:
        raise typer.Exit(EXIT_REFUSED)


def _sentence(summary: PassSummary) -> str:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(summary.by_outcome.items()))
    parts = [
        f"{summary.checked} checked",
        f"{summary.updated} updated" + (f" ({outcomes})" if outcomes else ""),
        f"{summary.skipped_young} too young",
        f"{summary.missing} missing",
        f"{summary.stopped} tasks stopped",
        f"{summary.errors} errors",
    ]
    return f"{', '.join(parts)}, in {summary.duration_seconds:.1f} s"


def _notes(summary: PassSummary, *, interrupted: bool) -> list[str]:
    notes = []
    if interrupted:
        notes.append("interrupted: what is counted is done; no lost run was ended after that")
    if summary.left_out and not interrupted:
        notes.append(f"note: {summary.left_out} more runs are due; the next call takes others, --max-runs 0 takes all")
    if summary.held:
        notes.append(
            f"held: {summary.held}; no lost run was ended. Check ecs.cluster_arn and the region. If it is true, "
            "allow it for one call with DAGY_RECONCILING__MAX_MISSING_SHARE=1"
        )
    return notes
