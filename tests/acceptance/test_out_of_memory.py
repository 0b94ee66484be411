"""A task that takes more memory than its container has: it dies alone, says why, and the run's record says so too."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from dagy_control.model.flows import Isolation, TaskSpec
from dagy_control.model.runs import FailureClass, RunStatus
from tests.acceptance.held_cloud import HeldCloud, held_cloud

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TOO_MANY = 300_000_000
"""Places of a list, 8 bytes each: 2.3 GB, of which the container has far less."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HeldCloud]:
    async with held_cloud(tmp_path_factory.mktemp("cloud"), worker="default_max_concurrency = 2") as cloud:
        folder = {"$param": "folder"}
        await cloud.register(
            "hungry",
            TaskSpec(key="hog", name="hog", import_path="operator:mul", args=([1], TOO_MANY)),
            TaskSpec(key="sibling", name="sibling", import_path="phases:work", args=(folder, 3.0)),
            TaskSpec(key="later", name="later", import_path="phases:after", args=({"$task": "sibling"},)),
        )
        await cloud.register(
            "hungry-thread",
            TaskSpec(
                key="hog", name="hog", import_path="operator:mul", args=([1], TOO_MANY), isolation=Isolation.THREAD
            ),
        )
        yield cloud


async def test_a_task_that_takes_too_much_memory_ends_alone_and_the_record_says_why(
    cloud: HeldCloud, tmp_path: Path
) -> None:
    queued = await cloud.launch(tmp_path, flow_name="hungry")
    run = await cloud.ended(queued.run_id)
    assert (run.status, run.failure_class) == (RunStatus.FAILED, FailureClass.OUT_OF_MEMORY), run.error_message
    assert "the kernel killed the task's process for lack of memory at a peak of" in str(run.error_message)
    assert "in a container of" in str(run.error_message)
    rows = {row.task_name: row for row in await cloud.ports.task_runs.of_run(run.run_id)}
    assert {name: row.status for name, row in rows.items()} == {
        "hog": "FAILED",
        "sibling": "SUCCEEDED",
        "later": "SUCCEEDED",
    }
    assert rows["hog"].error_type == "OutOfMemory"
    assert (rows["hog"].peak_memory_mb or 0) > (rows["sibling"].peak_memory_mb or 0)


@pytest.mark.long
async def test_a_thread_that_takes_too_much_takes_the_worker_along_and_the_daemon_says_why(
    cloud: HeldCloud, tmp_path: Path
) -> None:
    queued = await cloud.launch(tmp_path, flow_name="hungry-thread")
    run = await cloud.ended(queued.run_id)
    assert (run.status, run.failure_class) == (RunStatus.FAILED, FailureClass.OUT_OF_MEMORY), run.error_message
    assert (run.exit_code, run.result_status) == (137, None)
    memory_mib = (run.evidence or {})["memory_mib"]
    assert f"Container was killed due to memory exhaustion, with {memory_mib} MiB" in str(run.error_message)
