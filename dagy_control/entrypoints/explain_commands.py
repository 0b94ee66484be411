"""`dagy-control runs explain`: the story of a run, or of a batch, for people and programs."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from dagy_control.entrypoints.command import ConfigOption, JsonOption, console, with_ports
from dagy_control.entrypoints.policies import admission_limits
from dagy_control.entrypoints.records import hiding
from dagy_control.entrypoints.wiring import Ports
from dagy_control.model.census import Census
from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.task_runs import TaskRun
from dagy_control.operations.explain import Explanation, explain
from dagy_control.operations.explain_batch import BatchExplanation, explain_batch
from dagy_control.operations.explain_waiting import waits_for
from dagy_control.requests.known_run import known_run
from dagy_control.requests.listing import LOOKED_AT_MAX, Listing, list_batch
from dagy_control.requests.refusals import RequestRefused


def explain_run(
    run_id: Annotated[str | None, typer.Argument(help="The run.", show_default=False)] = None,
    correlation_id: Annotated[
        str | None, typer.Option(help="Instead of a run: the batch of this correlation id.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell a run's story in order, from what is on record alone: request, waits, launches, what ECS and the worker said, cost, remedy."""
    if correlation_id is not None and run_id is None:
        _explain_batch(correlation_id, config, as_json=as_json)
        return

    async def work(ports: Ports) -> tuple[Run, Sequence[TaskRun], str]:
        if run_id is None or correlation_id is not None:
            raise RequestRefused("run_id", "say which run, or --correlation-id BATCH; one of the two")
        run = hiding(await known_run(ports.runs, run_id), ports.settings.worker.redact_keys)
        return run, await ports.task_runs.of_run(run_id), await _waits_for(ports, run)

    run, tasks, waiting = with_ports(config, work)
    story = explain(run, tasks, waits_for=waiting)
    if as_json:
        print(json.dumps(document(story), indent=2))
        return
    console().print(story_page(story))


async def _waits_for(ports: Ports, run: Run) -> str:
    """What a queued run waits for, from the records of the active runs."""
    census = Census()
    if run.status is RunStatus.QUEUED:
        for status in (RunStatus.LAUNCHING, RunStatus.RUNNING):
            async for page in ports.runs.active(status):
                census.add(page)
    limits = admission_limits(ports.settings) if ports.settings.launching.enabled else None
    return waits_for(run, census, limits, ports.clock.now())


def _explain_batch(correlation_id: str, config: str | None, *, as_json: bool) -> None:
    async def work(ports: Ports) -> Listing:
        listing = await list_batch(ports.runs, correlation_id, limit=LOOKED_AT_MAX)
        if not listing.runs:
            raise RequestRefused("correlation_id", f"no run has the correlation id {correlation_id!r}")
        return listing

    listing = with_ports(config, work)
    if not listing.complete:
        print(f"note: only the newest {LOOKED_AT_MAX:,} runs of {correlation_id} were looked at", file=sys.stderr)
    batch = explain_batch(correlation_id, listing.runs)
    if as_json:
        print(json.dumps(document(batch), indent=2))
        return
    console().print(batch_page(batch))


def document(story: Explanation | BatchExplanation) -> dict[str, Any]:
    """The story as plain JSON data; times in ISO 8601."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(story), default=_plain))
    return found


def story_page(story: Explanation) -> Group:
    """The story as a page."""
    table = Table(
        Column("at (UTC)", no_wrap=True), Column("#", no_wrap=True), "says", "what", box=SIMPLE_HEAD, pad_edge=False
    )
    day = ""
    for moment in story.moments:
        shown = f"{moment.at:%H:%M:%S}.{moment.at.microsecond // 1000:03d}"
        if (today := f"{moment.at:%Y-%m-%d}") != day:
            table.add_row(Text(today, "bold"), "", "", "")
            day = today
        table.add_row(shown, str(moment.attempt), moment.teller, moment.text)
    parts: list[Table | Text] = [Text.assemble(("run ", ""), (story.run_id, "bold"), ": ", story.summary), table]
    if story.waited_seconds:
        parts.append(Text(f"In the queue for {story.waited_seconds:.1f} s in all."))
    if story.waits_for:
        parts.append(Text(f"It waits for {story.waits_for}."))
    if story.remedy:
        parts.append(Text(f"What to do: {story.remedy}"))
    return Group(*parts)


def batch_page(batch: BatchExplanation) -> Group:
    """What has become of a batch, as a page."""
    counts = ", ".join(f"{count} {status}" for status, count in batch.by_status.items())
    runs = "1 run" if batch.runs == 1 else f"{batch.runs} runs"
    lines = [f"batch {batch.correlation_id}: {runs}: {counts}"]
    if batch.first_created_at is not None:
        until = f" until {batch.last_completed_at:%Y-%m-%d %H:%M:%S}" if batch.last_completed_at else ""
        lines.append(f"from {batch.first_created_at:%Y-%m-%d %H:%M:%S}{until} UTC")
    if batch.infra_failures:
        lines.append(f"{batch.infra_failures} attempts were lost to infrastructure and tried again")
    if batch.estimated_cost_usd is not None:
        rest = f", without {batch.without_cost} runs whose cost is not known" if batch.without_cost else ""
        lines.append(f"about {batch.estimated_cost_usd:.6f} USD{rest}")
    table = Table("failure class", "runs", "for instance", box=SIMPLE_HEAD, pad_edge=False)
    for name, (count, example) in batch.failures.items():
        table.add_row(name, str(count), f"dagy-control runs explain {example}")
    parts: list[Table | Text] = [Text(line) for line in lines]
    return Group(*parts, *([table] if batch.failures else []))


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)
