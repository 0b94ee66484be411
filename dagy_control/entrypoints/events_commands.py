"""`dagy-control events`: messages that nobody could use, looked at and put back."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from dagy_control.adapters.sqs_events import SqsTaskEvents
from dagy_control.entrypoints.command import ConfigOption, JsonOption, console, with_ports
from dagy_control.entrypoints.wiring import Ports
from dagy_control.errors import Permanent
from dagy_control.events.telling import without_values
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.tasks import TaskIdentity, short_id
from dagy_control.ports.events import TaskEvents

app = typer.Typer(name="events", help="The queue of task state changes.", no_args_is_help=True)

HIDDEN_S = 30
"""While this command reads, what it has read is hidden from others; then it is given back at once."""
BODY_SHOWN_CHARACTERS = 60


@app.callback()
def events() -> None:
    """The queue of task state changes."""


@app.command("dead-letters")
def dead_letters(
    redrive: Annotated[
        bool, typer.Option("--redrive", help="Put them back into the event queue, for another try.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Messages at most.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the messages in the dead-letter queue, and leave them there unless --redrive."""

    async def work(ports: Ports) -> Sequence[ReceivedEvent]:
        dead, live = _queues(ports)
        found = await read_queue(dead, limit)
        if redrive:
            for event in found:
                await live.send(event.body)  # first there, then not here: a message may be doubled, never lost
                await dead.delete([event.receipt])
        else:
            await dead.postpone({event.receipt: 0 for event in found})
        return found

    found = with_ports(config, work)
    if as_json:
        print(json.dumps([_document(event) for event in found], indent=2))
        return
    if found:
        console().print(_table(found))
    print(f"{len(found)} messages" + (" put back into the event queue" if redrive else ""))


def _queues(ports: Ports) -> tuple[SqsTaskEvents, SqsTaskEvents]:
    """The dead-letter queue and the event queue."""
    events = ports.settings.events
    if not events.queue_url or not events.dead_letter_queue_url:
        raise Permanent("there is no dead-letter queue: events.queue_url and events.dead_letter_queue_url must be set")
    dead = SqsTaskEvents(
        ports.clients.sqs, ports.calls, queue_url=events.dead_letter_queue_url, visibility_timeout_s=HIDDEN_S
    )
    return dead, ports.events(events.queue_url)


async def read_queue(queue: TaskEvents, limit: int) -> list[ReceivedEvent]:
    """Each message once, oldest first; SQS hands them out in any order, and perhaps twice."""
    found: dict[str, ReceivedEvent] = {}
    while len(found) < limit and (batch := await queue.receive(wait_s=1)):
        known = len(found)
        found.update((event.message_id, event) for event in batch)
        if len(found) == known:  # nothing new: reading takes longer than they stay hidden, and the first ones are back
            break
    ordered = sorted(found.values(), key=lambda event: event.sent_at.timestamp() if event.sent_at else 0.0)
    for event in ordered[limit:]:
        await queue.postpone({event.receipt: 0})
    return ordered[:limit]


def _document(event: ReceivedEvent) -> dict[str, Any]:
    task = event.task
    identity = TaskIdentity.parse(task.started_by) if task else None
    return {
        "message_id": event.message_id,
        "sent_at": event.sent_at.isoformat() if event.sent_at else None,
        "receive_count": event.receive_count,
        "run_id": identity.run_id if identity else None,
        "attempt": identity.attempt if identity else None,
        "task_arn": task.arn if task else None,
        "last_status": task.last_status if task else None,
        "problem": event.problem or None,
        "body": without_values(event.body),
    }


def _table(found: Sequence[ReceivedEvent]) -> Table:
    table = Table("message", "sent at", "received", "task", "run", "what")
    for event in found:
        shown = _document(event)
        what = shown["problem"] or shown["last_status"] or ""
        if event.task is None:
            what = f"{what}: {shown['body'][:BODY_SHOWN_CHARACTERS]}"
        task = short_id(event.task.arn) if event.task else ""
        table.add_row(
            event.message_id, shown["sent_at"] or "", str(event.receive_count), task, shown["run_id"] or "", what
        )
    return table
