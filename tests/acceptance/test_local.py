"""`dagy-control local`, as a user starts, kills and stops it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dagy_control.entrypoints.local_stack import MARK

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

READY = "Ctrl-C stops everything."


@contextmanager
def local(workdir: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    command = [
        sys.executable,
        "-m",
        "dagy_control.entrypoints.cli",
        "local",
        "--workdir",
        str(workdir),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until_ready(process: "subprocess.Popen[str]") -> str:
    """What it printed until it was up, or until it ended."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if READY in line:
            break
    return "".join(lines)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        return int(holder.getsockname()[1])


def daemons_of(workdir: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter()
        if process.uids().real == os.getuid() and _environment(process).get(MARK) == str(workdir.resolve())
    ]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_after_a_sigkill_the_next_start_clears_up_and_takes_the_same_port(tmp_path: Path) -> None:
    port = free_port()
    with local(tmp_path / "work", port) as first:
        assert READY in until_ready(first)
        first.kill()
        first.wait(timeout=60)
    assert len(daemons_of(tmp_path / "work")) == 1
    with local(tmp_path / "work", port) as second:
        assert READY in until_ready(second)
        second.send_signal(signal.SIGINT)
        assert second.wait(timeout=120) == 0
    assert daemons_of(tmp_path / "work") == []


def test_a_port_that_somebody_holds_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with local(tmp_path / "work", port) as process:
            told = until_ready(process)
            assert process.wait(timeout=120) == 1
    assert f"error: port {port} cannot be used (Address already in use); take another with --port" in told
