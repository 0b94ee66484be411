"""From a killed worker to a FAILED record, by event and by polling; and the commands that repair by hand."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from urllib.parse import urlsplit

import psutil
import pytest

from dagy_control.adapters.sqs_events import SqsTaskEvents, ensure_queue
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import end_process
from dagy_control.model.runs import FailureClass, Run, RunStatus
from dagy_control.requests.cancel import cancel
from tests.acceptance.looking import at_work, configured, ended

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def start(*arguments: str, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dagy_control.entrypoints.cli", *arguments),
        env={**os.environ, **environment},
        stdout=PIPE,
        stderr=PIPE,
    )


async def command(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Its exit code, standard output and standard error."""
    process = await start(*arguments, **environment)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def killed(world: DemoWorld, batch: str) -> Run:
    """A run whose worker has been killed while at work, once its record says how it ended."""
    run = await at_work(world, await world.launch("probe", "acme", batch, seconds=600))
    assert await world.kill_worker(run.external_id or "")
    return await ended(world, run)


@pytest.mark.parametrize(
    ("setting", "changed", "by"),
    [
        pytest.param(
            "interval_s = 2\n", "interval_s = 3600\n", "events", id="by its event, polling being an hour away"
        ),
        pytest.param("[events]", "[events]\nenabled = false", "reconciling", id="by polling, with events off"),
    ],
)
async def test_a_killed_worker_becomes_a_failed_record(world: DemoWorld, setting: str, changed: str, by: str) -> None:
    async with (
        configured(world, "[api]", "[telemetry]\ncloudwatch_metrics = true\n\n[api]"),
        configured(world, setting, changed),
    ):
        daemon = await world.stack.start_daemon()
        try:
            run = await killed(world, f"killed-{by}")
        finally:
            await end_process(daemon.process, signal.SIGTERM)
    assert (run.status, run.failure_class, run.exit_code) == (RunStatus.FAILED, FailureClass.USER_ERROR, 137)
    assert run.transitions[-1].by == by
    evidence: Mapping[str, object] = run.evidence or {}
    assert evidence["task_arn"] == run.external_id
    figures = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith('{"_aws"')]
    assert sum(line.get("RunsFailed", 0) for line in figures) == 1, "the last line is written when the daemon drains"


async def test_by_hand_a_run_whose_task_is_long_gone_is_repaired_and_a_second_call_changes_nothing(
    world: DemoWorld,
) -> None:
    like = await cancelled(world)
    stuck = await world.write_stuck_run(like)
    code, out, err = await command("reconcile", "--json", "--stale-threshold-seconds", "0")
    summary = json.loads(out)
    assert (code, summary["updated"], summary["by_outcome"]) == (0, 1, {"LOST": 1}), err
    repaired = await world.run(stuck.run_id)
    assert (repaired.status, repaired.failure_class) == (RunStatus.FAILED, FailureClass.LOST)
    code, out, err = await command("reconcile", "--stale-threshold-seconds", "0")
    assert (code, err) == (0, "")
    assert out.startswith("0 checked, 0 updated, ")
    assert (await world.run(stuck.run_id)).version == repaired.version


async def cancelled(world: DemoWorld) -> Run:
    """Any run that is over, as a pattern."""
    run = await world.launch("probe", "acme", "pattern", seconds=0)
    return await cancel(world.ports.runs, world.ports.writer, world.ports.clock, run.run_id)


async def test_ctrl_c_prints_what_was_done_and_ends_no_lost_run(world: DemoWorld) -> None:
    stuck = await world.write_stuck_run(await cancelled(world))
    process = await start("reconcile", "--json", "--stale-threshold-seconds", "0")
    ecs_port = urlsplit(world.stack.cloud.ecs_url).port

    async def has_asked_ecs() -> bool | None:
        connections = psutil.Process(process.pid).net_connections("tcp")
        return any(each.raddr and each.raddr.port == ecs_port for each in connections) or None

    await world.until("its first look", has_asked_ecs)
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, json.loads(out)["updated"]) == (130, 0), err.decode()
    assert "interrupted" in err.decode()
    assert (await world.run(stuck.run_id)).status is RunStatus.RUNNING
    code, out_text, err_text = await command("reconcile", "--max-runs", "0")
    assert (code, "1 updated (1 LOST)" in out_text) == (0, True), out_text + err_text


async def test_dead_letters_are_shown_left_there_and_put_back(world: DemoWorld) -> None:
    sqs, calls = world.ports.clients.sqs, world.ports.calls
    dead_url = await ensure_queue(sqs, calls, "dead-letters")
    dead = SqsTaskEvents(sqs, calls, queue_url=dead_url)
    whole = '{"environment": [{"name": "DB_PASSWORD", "value": "canary-db"}]}'
    await dead.send(whole)
    there = {"DAGY_EVENTS__DEAD_LETTER_QUEUE_URL": dead_url}
    shown = '{"environment": [{"name": "DB_PASSWORD", "value": "[redacted]"}]}'
    for _ in range(2):
        code, out, err = await command("events", "dead-letters", "--json", **there)
        assert (code, [each["body"] for each in json.loads(out)]) == (0, [shown]), err
    code, out, err = await command("events", "dead-letters", **there)
    assert (code, "canary" in out) == (0, False), err
    code, out, err = await command("events", "dead-letters", "--redrive", **there)
    assert (code, "1 messages put back" in out) == (0, True), err
    assert await dead.count() == 0
    live = world.ports.events(str(world.ports.settings.events.queue_url))
    assert whole in [event.body for event in await live.receive(wait_s=5)]


async def test_dead_letters_without_a_queue_for_them_are_refused_by_the_settings_name(world: DemoWorld) -> None:
    code, _, err = await command("events", "dead-letters")
    assert (code, "events.dead_letter_queue_url" in err) == (1, True)
