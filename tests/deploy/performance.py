"""The demo on the deployed stack, and what it leaves out: so that every permission is asked for, by the daemon, workers and people."""

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from dagy_control.entrypoints.demo_view import Row
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import DEMO_FLOWS
from dagy_control.model.runs import RunStatus
from tests.deploy.deployed_stack import DeployedStack
from tests.deploy.recorder import Call

RUBBISH = "this is no event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """The stack, still up; the demo's claims; every call until then."""

    stack: DeployedStack
    rows: list[Row]
    calls: list[Call]


async def play_the_rest(world: DemoWorld, stack: DeployedStack, folder: Path) -> None:
    """A cancel, a look at readiness, a message that nobody can use, and the commands of a day."""
    async with aiohttp.ClientSession() as session, session.get(f"{stack.daemon_url}/readyz") as answer:
        assert answer.status == 200, await answer.text()
    await _cancel_a_run(world)
    await _hand_in_rubbish(world, stack)
    (folder / "tiny").mkdir()
    (folder / "tiny" / "__init__.py").write_text("")
    await _run_commands(folder)


async def _cancel_a_run(world: DemoWorld) -> None:
    run = await world.launch("probe", "acme", "cancelled", mode="wait", seconds=60.0)

    async def status_is(wanted: RunStatus) -> bool | None:
        return (await world.run(run.run_id)).status is wanted or None

    await world.until("a run at work", lambda: status_is(RunStatus.RUNNING))
    await world.command("runs", "cancel", run.run_id, "--json")
    await world.until("it cancelled", lambda: status_is(RunStatus.CANCELLED))


async def _hand_in_rubbish(world: DemoWorld, stack: DeployedStack) -> None:
    """Into the queue of the events: the daemon must take it aside."""
    sqs = stack.client("sqs")
    events = stack.settings().events
    sqs.send_message(QueueUrl=events.queue_url, MessageBody=RUBBISH)

    async def aside() -> bool | None:
        shown = sqs.get_queue_attributes(
            QueueUrl=events.dead_letter_queue_url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(shown["Attributes"]["ApproximateNumberOfMessages"]) > 0 or None

    await world.until("the rubbish in the dead-letter queue", aside)


async def _run_commands(folder: Path) -> None:
    """As the operator; a command that is refused by nobody exits with 0."""
    package = folder / "tiny.zip"
    await _run(sys.executable, "-m", "zipfile", "-c", str(package), str(folder / "tiny"))
    for arguments in (
        ("flows", "register", "probe:probe", "--org", "acme", "--source", str(DEMO_FLOWS)),
        ("flows", "list", "--org", "acme"),
        ("packages", "add", "tiny", str(package)),
        ("packages", "list"),
        ("deployments", "set", "nightly", "--org", "acme", "--flow", "probe"),
        ("deployments", "list", "--org", "acme"),
        ("runs", "launch", "probe", "--org", "acme"),
        ("runs", "list", "--org", "acme"),
        ("reconcile",),
        ("events", "dead-letters", "--redrive", "--limit", "1"),
        ("deployments", "delete", "nightly", "--org", "acme"),
    ):
        await _run(sys.executable, "-m", "dagy_control.entrypoints.cli", *arguments)


async def _run(*command: str) -> None:
    process = await create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, f"{command}: {errors.decode()}"
