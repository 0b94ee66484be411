"""The README's first command, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.timeout(240)
def test_every_row_of_the_demo_holds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagy_control.entrypoints.cli", "demo", "--json", "--workdir", str(tmp_path)]
    demo = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    document = json.loads(demo.stdout)
    assert document["failure"] == ""
    assert [row for row in document["rows"] if not row["ok"]] == []
    assert {row["claim"] for row in document["rows"]} == CLAIMS
    assert demo.returncode == 0
