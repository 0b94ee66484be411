"""The worked example, as a user has it: copied, run on this machine, built, registered, and run again from its artifact."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dagy_control.model.flows import FlowSpec
from dagy_control.requests.registration import register_flow
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeArtifacts, FakeFlows

EXAMPLE = Path(__file__).parents[2] / "flows" / "example" / "shop_reports"
DAY = "2026-11-21: 833.60\n  south-0 86.00\n  north-0 68.50\n  east-4 64.00\n"
BUILD = ["-m", "dagy_control.entrypoints.cli", "flows", "build", "shop_reports.daily:daily_sales"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the user's copy in it."""
    shutil.copytree(EXAMPLE, tmp_path / "shop_reports", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter there."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_copy_runs_on_this_machine(copy: Path) -> None:
    ran = python(copy, "-m", "shop_reports.daily")
    assert (ran.returncode, ran.stdout) == (0, DAY), ran.stderr


def test_its_parts_can_be_tested_as_the_plain_functions_that_they_are(copy: Path) -> None:
    source = (
        "from shop_reports.daily import daily_sales, sum_up; print(sum_up([{'customer': 'a', 'amount_cents': 5}])['a'])"
    )
    assert python(copy, "-c", source).stdout == "5\n"


async def test_the_copy_is_built_registered_and_runs_from_its_artifact_alone(copy: Path, tmp_path: Path) -> None:
    built = python(copy, *BUILD, "--output", "sales.zip")
    assert built.stdout.startswith("built daily_sales 1: 11 tasks, "), built.stderr
    data = (copy / "sales.zip").read_bytes()
    spec = FlowSpec.from_json(python(copy, *BUILD, "--json").stdout)
    flows, artifacts = FakeFlows(), FakeArtifacts()
    record = await register_flow(
        flows, artifacts, VirtualClock(), org_id="acme", spec=spec, artifact=data, prefix="artifacts/"
    )
    assert await flows.get("acme", "daily_sales") == record
    assert record.artifact_sha256 in built.stdout

    shutil.rmtree(copy / "shop_reports")
    with zipfile.ZipFile(copy / "sales.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    source = "from shop_reports.daily import daily_sales; print(daily_sales.run_local(day='2026-11-21'))"
    assert python(tmp_path / "unpacked", "-c", source).stdout == DAY


def test_building_says_what_is_wrong_and_where(copy: Path) -> None:
    daily = copy / "shop_reports" / "daily.py"
    daily.write_text(daily.read_text().replace("sum_up(each) for each", "sum_up(each[0]) for each"))
    line = next(n for n, text in enumerate(daily.read_text().splitlines(), 1) if "each[0]" in text)
    built = python(copy, *BUILD)
    assert built.returncode == 1
    assert "the output of task 'fetch.0' has no value while the flow is built, but it was indexed" in built.stderr
    assert f"({daily}:{line})" in built.stderr


def test_a_flow_that_is_only_built_writes_nothing_and_an_unwritable_place_is_said(copy: Path) -> None:
    before = {path for path in copy.rglob("*") if "__pycache__" not in path.parts}
    assert json.loads(python(copy, *BUILD, "--json").stdout)["format"] == "dagy.flow/2"
    assert {path for path in copy.rglob("*") if "__pycache__" not in path.parts} == before
    refused = python(copy, *BUILD, "--output", "no/such/folder.zip")
    assert refused.returncode == 1
    assert "cannot be written: No such file or directory" in refused.stderr
