"""`dagy-control local --containers` and `demo --containers`, as a user starts, kills and misspells them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagy_control.local.container_agent import LABEL
from tests.images.containers import podman

pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]

PROGRAM = [sys.executable, "-m", "dagy_control.entrypoints.cli"]
READY = "Ctrl-C stops everything."
DEMO_WITHIN_S = 500


@contextmanager
def local(workdir: Path) -> Iterator["subprocess.Popen[str]"]:
    """`local --containers`, once it is up."""
    command = [*PROGRAM, "local", "--containers", "--workdir", str(workdir), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(READY in line for line in process.stdout)
            yield process
        finally:
            process.kill()


def environment_of(workdir: Path) -> dict[str, str]:
    """What `source WORKDIR/env` gives."""
    command = [
        "/bin/sh",
        "-c",
        f'. "{workdir}/env" && exec "{sys.executable}" -c "import json, os; print(json.dumps(dict(os.environ)))"',
    ]
    document: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return document


def containers_of(workdir: Path) -> list[str]:
    return podman("ps", "--quiet", "--filter", f"label={LABEL}={workdir.resolve()}").stdout.split()


def until_a_container_of(workdir: Path) -> None:
    listening = [
        "events",
        "--filter",
        "event=start",
        "--filter",
        f"label={LABEL}={workdir.resolve()}",
        "--since",
        "10m",
    ]
    with subprocess.Popen(["podman", *listening], stdout=subprocess.PIPE) as events:  # noqa: S607 - as the user's PATH has it
        assert events.stdout is not None
        assert events.stdout.readline()
        events.kill()


def test_what_a_killed_cloud_leaves_behind_the_next_start_removes(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with local(workdir) as first:
        launch = ["runs", "launch", "probe", "--org", "acme", "--param", "mode=wait", "--param", "seconds=600"]
        subprocess.run([*PROGRAM, *launch], env=environment_of(workdir), check=True, capture_output=True, timeout=120)
        until_a_container_of(workdir)
        first.kill()
        first.wait(timeout=60)
    assert len(containers_of(workdir)) == 1
    with local(workdir) as second:
        assert containers_of(workdir) == []
        second.send_signal(signal.SIGINT)
        assert second.wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            ["--containers", "--image", "localhost/none:1"],
            "podman has no image 'localhost/none:1' here",
            id="no image",
        ),
        pytest.param(["--image", "localhost/none:1"], "--image is of no use without --containers", id="no containers"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_started(arguments: list[str], told: str, tmp_path: Path) -> None:
    for command in ("local", "demo"):
        asked = [*PROGRAM, command, *arguments, "--workdir", str(tmp_path / "work")]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1
        assert told in done.stdout + done.stderr
        assert not (tmp_path / "work" / "config.toml").exists()


def test_the_whole_demo_holds_on_containers(tmp_path: Path) -> None:
    asked = [*PROGRAM, "demo", "--containers", "--json", "--workdir", str(tmp_path / "work")]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=DEMO_WITHIN_S, env=os.environ)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["ok"]
    assert [row for row in told["rows"] if not row["ok"]] == []
    assert containers_of(tmp_path / "work") == []
