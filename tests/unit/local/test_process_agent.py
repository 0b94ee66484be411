"""The process agent where this machine fails it: a folder that cannot be made, a log that cannot be cut, a report that raises."""

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

from structlog.testing import capture_logs

from dagy_control.kernel.clock import SystemClock
from dagy_control.local.agent import OUT_OF_MEMORY, AgentPolicy
from dagy_control.local.ecs_lifecycle import StartContainer
from dagy_control.local.process_agent import ProcessAgent
from tests.fakes.reports import Told
from tests.flows.running import is_gone, until

EATS_MEMORY_LATER = (
    "import time; print('x' * 100, flush=True); time.sleep(0.3); b = b'x' * (200 << 20); time.sleep(600)"
)


LEAVES_A_STRANGER = """
import os, subprocess, sys
alone = {name: value for name, value in os.environ.items() if name != 'ECS_CONTAINER_METADATA_URI_V4'}
left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], env=alone, start_new_session=True)
print(left.pid, flush=True)
os._exit(0)
"""


def start_of(code: str, memory_mib: int = 1024) -> StartContainer:
    """A container that runs a piece of Python."""
    return StartContainer(
        task_arn="arn:aws:ecs:us-east-1:123456789012:task/c/t1",
        container_name="worker",
        command=(sys.executable, "-c", code),
        environment={},
        cpu=256,
        memory_mib=memory_mib,
        stop_timeout_s=30,
    )


def an_agent(folder: Path, told: Told, **policy: int) -> ProcessAgent:
    """An agent that has been started, and looks often."""
    made = AgentPolicy(folder, {}, "http://127.0.0.1:1/v4", watch_every_s=0.01, **policy)
    agent = ProcessAgent(made, clock=SystemClock(), reports=told)
    agent.start()
    return agent


async def end_of(agent: ProcessAgent, told: Told, start: StartContainer) -> None:
    """Run the container to its last report, then stop the agent."""
    try:
        agent.apply(start)
        async with asyncio.timeout(30):
            await told.ended.wait()
    finally:
        await agent.stop()


async def test_a_container_for_which_there_is_no_folder_has_not_started(tmp_path: Path) -> None:
    (tmp_path / "cgroups").touch()
    told = Told()
    await end_of(an_agent(tmp_path, told), told, start_of("pass"))
    ((what, reason),) = told.reports
    assert (what, str(reason).partition("/")[0]) == (
        "failed to start",
        "CannotStartContainerError: [Errno 20] Not a directory: '",
    )


async def test_the_memory_limit_holds_while_logs_and_counts_cannot_be_written(tmp_path: Path) -> None:
    def spoil() -> None:
        for file in (tmp_path / "cgroups/t1").iterdir():
            file.unlink()
        (tmp_path / "cgroups/t1").rmdir()
        (tmp_path / "cgroups/t1").touch()

    (tmp_path / "logs/t1.log.1").mkdir(parents=True)
    told = Told(on_start=spoil)
    with capture_logs() as lines:
        await end_of(an_agent(tmp_path, told, log_bytes_max=10), told, start_of(EATS_MEMORY_LATER, memory_mib=100))
    assert told.reports == [("started",), ("exited", 137, OUT_OF_MEMORY)]
    said = [line["error"] for line in lines if line["event"] == "the containers could not be watched"]
    assert len(set(said)) == 2, "the log, then the count"
    assert all(before != after for before, after in pairwise(said)), "told again only when it is another"


async def test_a_report_that_raises_is_logged_and_nothing_survives_the_stop(tmp_path: Path) -> None:
    told = Told(error=RuntimeError("no such task"))
    with capture_logs() as lines:
        await end_of(an_agent(tmp_path, told), told, start_of(LEAVES_A_STRANGER))
    left = int((tmp_path / "logs/t1.log").read_text())
    await until(lambda: is_gone(left))
    assert [str(line["exc_info"]) for line in lines if "exc_info" in line] == ["no such task"]
