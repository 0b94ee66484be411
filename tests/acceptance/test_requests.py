"""Requests as a user makes them, by the command and over real tables: a batch, deployments, retries, lists, a full queue."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.model.runs import RunStatus

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


async def command(*arguments: str, text: str = "", **environment: str) -> Answer:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dagy_control.entrypoints.cli", *arguments),
        env={**os.environ, **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate(text.encode())
    return Answer(process.returncode or 0, out.decode(), err.decode())


def lines(*orders: dict[str, Any]) -> str:
    return "\n".join(json.dumps(order) for order in orders)


async def test_many_runs_are_one_command_and_the_same_command_again_launches_none(
    world: DemoWorld, tmp_path: Path
) -> None:
    file = tmp_path / "orders.jsonl"
    orders = [{"flow_name": "daily_sales", "parameters": {"day": f"2026-{number}"}} for number in range(150)]
    file.write_text(lines(*orders))
    batch = ("runs", "batch", str(file), "--org", "acme", "--parent", "year", "--json")
    first = await command(*batch)
    assert (first.code, len(first.document["runs"]), first.document["failures"]) == (0, 150, []), first.err
    again = await command(*batch)
    assert again.document == first.document
    listed = (await command("runs", "list", "--correlation-id", "year", "--limit", "1000", "--json")).document
    assert {run["run_id"] for run in listed} == {run["run_id"] for run in first.document["runs"]}
    assert len(listed) == 150
    assert all(run["correlation_id"].startswith("year.") for run in listed)


async def test_what_is_refused_of_a_batch_is_told_by_its_place_and_mended_there(world: DemoWorld) -> None:
    good = {"flow_name": "probe", "org_id": "acme", "parameters": {"mode": "ok"}}
    orders = [good, {**good, "memory": 3000}, {**good, "flow_name": "prob"}, {**good, "org_id": "globex"}]
    partly = await command("runs", "batch", "-", "--parent", "mended", "--json", text=lines(*orders))
    assert partly.code == 1
    assert [(each["index"], each["field"]) for each in partly.document["failures"]] == [(1, "memory"), (2, "flow_name")]
    mended = await command(
        "runs", "batch", "-", "--parent", "mended", "--json", text=lines(*orders[:1], good, good, *orders[3:])
    )
    assert (mended.code, len(mended.document["runs"])) == (0, 4)
    globex = await command("runs", "list", "--correlation-id", "mended", "--org", "globex", "--limit", "1", "--json")
    assert [run["org_id"] for run in globex.document] == ["globex"]


async def test_a_deployment_is_set_launched_changed_and_deleted(world: DemoWorld) -> None:
    named = ("nightly", "--org", "acme")
    await command("deployments", "set", *named, "--flow", "daily_sales", "-p", "day=monday", "--profile", "small")
    shown = (await command("deployments", "show", *named, "--json")).document
    assert (shown["flow_name"], shown["parameters"]) == ("daily_sales", {"day": "monday"})
    run = (await command("runs", "launch", "--deployment", *named, "-e", "STAGE=test", "--json")).document
    assert (run["deployment_name"], run["cpu"], run["environment"]) == ("nightly", 256, {"STAGE": "test"})
    assert json.loads(run["parameters"]) == {"day": "monday"}
    listed = (await command("deployments", "list", "--org", "acme", "--json")).document
    assert [each["deployment_name"] for each in listed] == ["nightly"]
    assert (await command("deployments", "delete", *named)).code == 0
    gone = await command("runs", "launch", "--deployment", *named)
    assert (gone.code, "has no deployment 'nightly'" in gone.err) == (1, True)


async def test_a_cancelled_run_is_retried_as_a_new_one_on_the_same_executor_or_not_at_all(world: DemoWorld) -> None:
    run = await world.launch("daily_sales", "acme", "retried", day="monday")
    refused = await command("runs", "retry", run.run_id)
    assert (refused.code, "is QUEUED: only a run that is over" in refused.err) == (1, True)
    await command("runs", "cancel", run.run_id)
    retry = ("runs", "retry", run.run_id, "--idempotency-key", "once-more", "--json")
    again = await command(*retry)
    assert again.document == (await command(*retry)).document
    new = await world.run(again.document["run_id"])
    assert (new.status, new.retry_of, new.executor) == (RunStatus.QUEUED, run.run_id, "ecs")
    assert (new.parameters, new.cpu, new.parent_correlation_id) == (run.parameters, run.cpu, "retried")
    lost = await command("runs", "retry", run.run_id, DAGY_CONFIG="")
    assert (lost.code, "Requested backend 'ecs' is not available. Ensure DAGY_ECS_CLUSTER_ARN is set." in lost.err) == (
        1,
        True,
    )


async def test_a_full_queue_refuses_at_once_and_says_its_limit(world: DemoWorld) -> None:
    await world.launch("daily_sales", "acme", "full", day="monday")
    full = await command("runs", "launch", "probe", "--org", "acme", DAGY_LAUNCHING__MAX_QUEUED_RUNS="1")
    assert (full.code, full.out) == (3, "")
    assert "the limit is 1 (launching.max_queued_runs)" in full.err
