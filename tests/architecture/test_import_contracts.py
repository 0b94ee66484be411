"""The house's import contracts, and that they can fail."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def test_every_contract_is_kept() -> None:
    report = lint_imports(ROOT)
    assert report.returncode == 0, report.stdout
    assert "7 kept, 0 broken" in report.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's layout and contracts, with empty modules: quick to read, and ours to break."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for source in (ROOT / "dagy_control").rglob("*.py"):
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line"),
    [
        pytest.param("launching/loop.py", "import dagy_control.reconciling.decide", id="a-sibling-capability"),
        pytest.param("model/runs.py", "import dagy_control.ports.runs", id="the-model-knows-a-port"),
        pytest.param("orphans/decide.py", "import asyncio", id="a-decision-does-io"),
        pytest.param("events/decide.py", "import random", id="a-decision-throws-dice"),
        pytest.param("launching/metrics.py", "import dagy_control.launching.effects", id="metrics-know-effects"),
        pytest.param("worker/run.py", "import botocore", id="aws-outside-the-adapters"),
        pytest.param("adapters/calls.py", "import moto", id="moto-outside-the-embedded-cloud"),
        pytest.param("reconciling/effects.py", "import msgspec", id="msgspec-outside-the-adapters"),
        pytest.param("requests/launch.py", "import dagy_control.config", id="a-room-reads-settings"),
        pytest.param("errors.py", "import dagy_control.kernel.clock", id="errors-import-something"),
    ],
)
def test_a_planted_violation_breaks_a_contract(copy: Path, module: str, line: str) -> None:
    target = copy / "dagy_control" / module
    assert target.exists(), "the violation must be planted in a module that there is"
    target.write_text(line + "\n")
    report = lint_imports(copy)
    assert report.returncode != 0, report.stdout
    assert "dagy_control." + module.removesuffix(".py").replace("/", ".") in report.stdout
