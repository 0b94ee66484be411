"""SIGTERM to a real worker: what it does from the signal to its exit, by its own log, its rows and its run."""

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dagy_control.local.provision import STOP_TIMEOUT_S
from dagy_control.model.flows import TaskSpec
from dagy_control.model.outcomes import SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass, RunStatus
from tests.acceptance.held_cloud import HeldCloud, held_cloud

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

DOCUMENT = Path(__file__).parents[2] / "docs" / "worker.md"
SHORT_S, LONG_S = 1.0, 600.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HeldCloud]:
    async with held_cloud(tmp_path_factory.mktemp("cloud"), worker="default_max_concurrency = 2") as cloud:
        folder = {"$param": "folder"}
        await cloud.register(
            "drained",
            TaskSpec(key="short", name="short", import_path="phases:work", args=(folder, SHORT_S)),
            TaskSpec(key="long", name="long", import_path="phases:work", args=(folder, LONG_S)),
            TaskSpec(key="later", name="later", import_path="phases:after", args=({"$task": "short"},)),
        )
        await cloud.register(
            "environment", TaskSpec(key="environment", name="e", import_path="phases:environment", args=(folder,))
        )
        yield cloud


def since(lines: list[dict[str, Any]], event_type: str) -> list[tuple[float, dict[str, Any]]]:
    """(seconds after the first such event, line) of everything that the worker logged from then on."""
    times = [datetime.fromisoformat(line["timestamp"]) for line in lines]
    at = next(index for index, line in enumerate(lines) if line["event_type"] == event_type)
    return [((time - times[at]).total_seconds(), line) for time, line in zip(times, lines, strict=True)][at:]


def documented_timeline() -> list[tuple[str, str]]:
    """(event_type, message) of each line of the page's timeline."""
    section = DOCUMENT.read_text().partition("## SIGTERM")[2].partition("\n## ")[0]
    return re.findall(r"^ *\d+\.\d\d  (\w+_?\w*) {2,}(.+)$", section, re.MULTILINE)


async def test_a_worker_that_is_told_to_stop_drains_cancels_reports_and_exits(cloud: HeldCloud, tmp_path: Path) -> None:
    spot = {"ECS_CAPACITY_PROVIDER": "FARGATE_SPOT"}
    queued = await cloud.launch(tmp_path, flow_name="drained", environment=spot)
    arn = await cloud.task_of(queued.run_id)
    await cloud.until(lambda: len(list(tmp_path.glob("began-*"))) == 2)
    cluster = cloud.stack.cloud.cluster
    await cloud.ports.clients.ecs.stop_task(cluster=cluster, task=arn, reason="scaled in")
    run = await cloud.ended(queued.run_id)

    assert (run.status, run.failure_class) == (RunStatus.FAILED, FailureClass.SHUTDOWN)
    assert run.error_message == SHUTDOWN_MESSAGE == "Worker shutdown requested via SIGTERM"
    assert run.exit_code == 143
    rows = {row.task_name: row.status for row in await cloud.ports.task_runs.of_run(run.run_id)}
    assert rows == {"short": "SUCCEEDED", "long": "CANCELLED", "later": "CANCELLED"}

    after = since(cloud.lines(arn), "shutdown")
    told = [(line["event_type"], line.get("task_name"), line.get("status")) for _, line in after]
    assert told[0] == ("shutdown", None, None)
    assert told[1] == ("spot_notice", None, None)
    assert "task_start" not in [event_type for event_type, _, _ in told], "nothing new is started"
    assert told[2] == ("task_end", "later", "CANCELLED"), "what has not begun is cancelled at once"
    assert told[3] == ("task_end", "short", "SUCCEEDED"), "what ends within the drain has ended well"
    assert told[4] == ("task_end", "long", "CANCELLED")
    assert told[5] == ("run_end", None, "FAILED")
    assert len(told) == 6
    assert [(line["event_type"], line["message"]) for _, line in after] == documented_timeline()
    took = {line["event_type"]: seconds for seconds, line in after}
    assert 2 <= took["task_end"] < took["run_end"] < STOP_TIMEOUT_S


async def test_a_worker_calls_no_more_than_the_page_says_that_its_role_needs(cloud: HeldCloud, tmp_path: Path) -> None:
    cloud.proxy.calls.clear()
    await cloud.ended((await cloud.launch(tmp_path, flow_name="environment")).run_id)
    section = DOCUMENT.read_text().partition("All that a worker calls:")[2]
    documented = set(re.findall(r"\b([A-Z][a-z]+(?:Write)?(?:Item|Object)|Query)\b", section))
    assert {"UpdateItem", "BatchWriteItem", "GetObject"} <= set(cloud.proxy.calls) <= documented


async def test_a_flows_processes_see_its_own_variables_and_none_of_ours(cloud: HeldCloud, tmp_path: Path) -> None:
    own = {"STAGE": "test", "ENVIRONMENT": "blue", "DAGY_LOG_LEVEL": "DEBUG"}
    queued = await cloud.launch(tmp_path, flow_name="environment", environment=own)
    run = await cloud.ended(queued.run_id)
    assert run.status is RunStatus.SUCCEEDED, run.error_message
    seen: dict[str, str] = json.loads((tmp_path / "environment.json").read_text())
    assert {name: seen.get(name) for name in own} == own
    ours = {name for name in seen if name.startswith("DAGY_")}
    assert ours == {"DAGY_LOG_LEVEL", "DAGY_RUN_ID", "DAGY_ATTEMPT", "DAGY_CORRELATION_ID"}
    assert seen["AWS_REGION"] == "us-east-1", "the flow's own clients need it"
    assert "ECS_CONTAINER_METADATA_URI_V4" in seen

    lines = cloud.lines(run.external_id or "")
    needed = {"timestamp", "event_type", "message", "run_id", "level"}
    assert [line for line in lines if needed - set(line)] == []
    events = [line["event_type"] for line in lines]
    in_order = ["run_started", "artifact_download", "artifact_downloaded", "task_start", "task_end", "run_end"]
    assert [each for each in events if each in in_order] == in_order
    assert {"run_parameters", "module_places", "module_resolved"} <= set(events), "DAGY_LOG_LEVEL=DEBUG traces"
    phases = next(line for line in lines if line["event_type"] == "run_start_phases")
    parts = ("interpreter", "claim", "artifact", "dependencies", "import")
    assert all(phases[f"{part}_seconds"] >= 0 for part in (*parts, "pull"))
    assert phases["first_task_seconds"] == pytest.approx(sum(phases[f"{part}_seconds"] for part in parts), abs=0.01)
