"""A seed must tell one story on the oldest and on the newest CPython that the product is for; that is not left out in silence."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import interpreters

ROOT = Path(__file__).parents[2]


def test_the_oldest_and_the_newest_version_that_the_product_names_are_needed() -> None:
    named = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text())
    assert (named[0], named[-1]) == interpreters.NEEDED
    assert set(named) <= set(interpreters.VERSIONS)


def test_ci_compares_them_whatever_the_time() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    (line,) = [line for line in lines if "make simulate-interpreters" in line and not line.startswith("#")]
    assert line == "CI='' make simulate-interpreters"


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_needed_version_that_the_machine_lacks_is_said_and_under_ci_an_error(
    tmp_path: Path, ci: str, status: int
) -> None:
    """The interpreters that are played are stand-ins, which know one trace."""
    lacking = "3.13" if interpreters.THIS != "3.13" else "3.11"
    environment = {**os.environ, "CI": ci, "PATH": str(tmp_path), "PYENV_ROOT": str(tmp_path)}
    told = "from tests.simulation import interpreters as all; all.digests = lambda *_: ['0 a', '1 b']; exit(all.main())"
    command = [sys.executable, "-c", told, "--seeds", "2"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status, ended.stderr
    assert f"CPython {lacking} is not compared: not on this machine\n" in ended.stdout
    assert (f"CI=true, and CPython {lacking} cannot play" in ended.stdout) is (status == 1)
    assert (f"CPython {interpreters.THIS}: 2 seeds, two runs alike" in ended.stdout) is (status == 0)


def test_two_runs_of_one_version_that_differ_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = iter((["0 a", "1 b"], ["0 a", "1 b"], ["0 a", "1 c"], ["0 a", "1 d"]))
    monkeypatch.setattr(interpreters, "digests", lambda *_: next(runs))
    assert interpreters.compare({"3.11": "one", "3.13": "other"}, 2) == ["3.13"]
    assert capsys.readouterr().out == (
        "CPython 3.11: 2 seeds, two runs alike; 2 of them as on 3.11\n"
        "CPython 3.13: 2 seeds, TWO RUNS DIFFER; 1 of them as on 3.11\n"
    )


def test_a_version_whose_environment_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*command: object, **_: object) -> None:
        raise subprocess.CalledProcessError(2, "uv")

    monkeypatch.setattr(interpreters, "find", lambda version: sys.executable if version != "3.14" else None)
    monkeypatch.setattr(interpreters, "ROOT", Path("/nowhere"))
    monkeypatch.setattr(subprocess, "run", refuse)
    found, lacking = interpreters.prepared()
    assert found == {interpreters.THIS: sys.executable}
    assert lacking.pop("3.14") == "not on this machine"
    assert set(lacking.values()) == {"its environment cannot be made: Command 'uv' returned non-zero exit status 2."}


def test_a_version_manager_s_shim_that_stands_for_nothing_is_no_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = "3.13" if interpreters.THIS != "3.13" else "3.11"
    shim = tmp_path / f"python{other}"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert interpreters.find(other) is None
    shim.write_text(f"#!/bin/sh\necho {other}\n")
    assert interpreters.find(other) == str(shim)
    assert interpreters.find(interpreters.THIS) == sys.executable
