"""SIGKILL of the worker at every phase of its attempt: the run ends, rightly, and nothing of it goes on.

A phase is reached by holding the worker's call at the server's side, or, where it makes none, by what it leaves on the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from starlette.requests import Request

from dagy_control.model.flows import TaskSpec
from dagy_control.model.runs import FailureClass, Run, RunStatus
from tests.acceptance.held_cloud import SOON_S, HeldCloud, Hold, held_cloud
from tests.contract.proxy import Fault, FaultKind
from tests.hostile_archives import a_zip

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

WORKER = """\
allow_network_installs = true
result_write_timeout_s = 10
"""
MANY = {f"data/{number}.py": b"x = 1\n" for number in range(9_900)}
"""An artifact that takes a while to unpack."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HeldCloud]:
    async with held_cloud(tmp_path_factory.mktemp("cloud"), worker=WORKER) as cloud:
        folder = {"$param": "folder"}
        task = TaskSpec(key="work", name="work", import_path="phases:work", args=(folder, {"$param": "seconds"}))
        await cloud.register("plain", task)
        await cloud.register("many", task, files=MANY)
        requirements = f"--index-url {cloud.proxy.url}/simple\nno-such-library==1\n".encode()
        await cloud.deploy("installing", "plain", "from-an-index", a_zip(("requirements.txt", requirements)))
        yield cloud


def nth_update(number: int) -> Callable[[Request, str], bool]:
    """The worker's claim is its first UpdateItem, its result the second."""
    seen = 0

    def wanted(_: Request, operation: str) -> bool:
        nonlocal seen
        seen += operation == "UpdateItem"
        return operation == "UpdateItem" and seen == number

    return wanted


def asks_for(part: str) -> Callable[[Request, str], bool]:
    return lambda request, _: request.method == "GET" and part in request.url.path


async def unpacking(cloud: HeldCloud, arn: str) -> None:
    """Some of the artifact lies there, and not yet all of it."""

    def count() -> int:
        return sum(1 for _ in cloud.scratch(arn).glob("dagy-*/artifact/data/*"))

    await cloud.until(lambda: count() > 20)
    cloud.kill(arn)
    assert count() < len(MANY)


async def in_its_task(cloud: HeldCloud, folder: Path) -> None:
    await cloud.until(lambda: any(folder.glob("began-*")))


@dataclass(frozen=True)
class Phase:
    """Where the worker is killed, and what becomes of the run. `hold`: makes the call that is held."""

    ends: tuple[RunStatus, FailureClass | None]
    hold: Callable[[], Hold] | None = None
    order: tuple[tuple[str, Any], ...] = (("flow_name", "plain"),)
    seconds: float = 0
    attempts: int = 1


KILLED = (RunStatus.FAILED, FailureClass.USER_ERROR)
DONE = (RunStatus.SUCCEEDED, None)

PHASES = {
    "claim, not applied": Phase(DONE, lambda: Hold(nth_update(1)), attempts=2),
    "claim, its reply lost": Phase(KILLED, lambda: Hold(nth_update(1), applied=True)),
    "download": Phase(KILLED, lambda: Hold(asks_for("/artifacts/acme/plain"))),
    "unpack": Phase(KILLED, order=(("flow_name", "many"),)),
    "download of a package": Phase(
        KILLED, lambda: Hold(asks_for("/dep-packages/")), (("deployment_name", "installing"),)
    ),
    "install": Phase(KILLED, lambda: Hold(asks_for("/simple/")), (("deployment_name", "installing"),)),
    "run": Phase(KILLED, seconds=600),
    "result, not applied": Phase(KILLED, lambda: Hold(nth_update(2))),
    "result, its reply lost": Phase(DONE, lambda: Hold(nth_update(2), applied=True)),
}


@pytest.mark.parametrize("name", PHASES)
async def test_a_worker_killed_at_any_phase_leaves_a_run_that_ends_rightly(
    name: str, cloud: HeldCloud, tmp_path: Path
) -> None:
    phase = PHASES[name]
    cloud.proxy.hold = hold = phase.hold() if phase.hold else None
    queued = await cloud.launch(tmp_path, seconds=phase.seconds, **dict(phase.order))
    arn = await cloud.task_of(queued.run_id)
    if hold is not None:
        async with asyncio.timeout(SOON_S):
            await hold.held.wait()
        cloud.kill(arn)
        hold.released.set()
    elif name == "unpack":
        await unpacking(cloud, arn)
    else:
        await in_its_task(cloud, tmp_path)
        cloud.kill(arn)
    run = await cloud.ended(queued.run_id)
    assert (run.status, run.failure_class) == phase.ends, run.error_message
    assert run.attempt == phase.attempts
    check_record(run)
    await cloud.until(lambda: not left_behind(tmp_path))


def check_record(run: Run) -> None:
    if run.status is RunStatus.FAILED:
        assert run.exit_code == 137
        assert "the worker exited with code 137" in (run.error_message or "")
    if run.attempt == 2:
        assert run.infra_failures == 1, "nothing of the user's had run"


def left_behind(folder: Path) -> list[int]:
    """Processes of the flow's tasks that still live."""
    began = [int(path.name.partition("-")[2]) for path in folder.glob("began-*")]
    return [pid for pid in began if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


async def test_a_result_that_the_table_refuses_for_a_while_is_not_lost(cloud: HeldCloud, tmp_path: Path) -> None:
    cloud.proxy.hold = None
    queued = await cloud.launch(tmp_path, flow_name="plain", seconds=1)
    await cloud.task_of(queued.run_id)
    await in_its_task(cloud, tmp_path)
    cloud.proxy.befall(Fault(FaultKind.REFUSED, "UpdateItem", calls=3))
    run = await cloud.ended(queued.run_id)
    assert run.status is RunStatus.SUCCEEDED
    assert cloud.proxy.unmet() == []


async def test_a_result_goes_by_s3_when_the_table_stays_dead(cloud: HeldCloud, tmp_path: Path) -> None:
    """For its worker: the daemon, which reads the object, has a way of its own to the tables."""
    cloud.proxy.hold = None
    queued = await cloud.launch(tmp_path, flow_name="plain", seconds=1)
    arn = await cloud.task_of(queued.run_id)
    await in_its_task(cloud, tmp_path)
    cloud.proxy.befall(Fault(FaultKind.REFUSED, "UpdateItem", calls=10_000))
    run = await cloud.ended(queued.run_id)
    cloud.proxy.unmet()
    assert run.status is RunStatus.SUCCEEDED
    assert "result_delayed" in [line["event_type"] for line in cloud.lines(arn)]
