"""The README's first command, as a user runs it."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dagy_control.kernel.clock import SystemClock

pytestmark = pytest.mark.acceptance

CLAIMS = {
    "daemon drained by SIGTERM in mid-work",
    "task behind the daemon's back, dry run",
    "the same with --no-dry-run",
    "runs that nothing befell, across drain and crash",
    "flow that fails by its own error",
    "worker killed by its memory limit",
    "RUNNING on record, task long gone",
    "worker SIGKILLed from outside",
    "daemon SIGKILLed between RunTask and record",
    "fan-out, a retry, a timeout inside a flow",
    "nothing is launched twice",
    "nothing is left running",
}


@pytest.mark.timeout(450)
def test_every_row_of_the_demo_holds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagy_control.entrypoints.cli", "demo", "--json", "--workdir", str(tmp_path)]
    demo = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    document = json.loads(demo.stdout)
    assert document["failure"] == ""
    assert [row for row in document["rows"] if not row["ok"]] == []
    assert {row["claim"] for row in document["rows"]} == CLAIMS
    assert demo.returncode == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "a closed terminal"])
async def test_a_demo_that_is_told_to_end_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagy_control.entrypoints.cli", "demo", "--json", "--workdir", str(tmp_path)]
    demo = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, start_new_session=True)
    clock, log = SystemClock(), tmp_path / "logs" / "daemon-1.log"
    while not (log.exists() and "HTTP_LISTENING" in log.read_text()):
        assert demo.returncode is None, "it ended before its daemon was up"
        await clock.sleep(0.05)
    children = psutil.Process(demo.pid).children(recursive=True)
    demo.send_signal(number)
    async with asyncio.timeout(120):
        assert await demo.wait() == 128 + number
    assert len(children) >= 2, "moto and the daemon, at least"
    assert [child for child in children if child.is_running()] == []
