"""Signals, to a real process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.acceptance

WAIT_S = 90

SERVICE = """
import asyncio, sys
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.supervisor import Supervisor
from dagy_control.kernel.telemetry import configure_logging

async def main(ends_after_s, drain_timeout_s):
    clock = SystemClock()
    async def service(drain):
        print("started", flush=True)
        await drain.wait()
        print("draining", flush=True)
        await clock.sleep(ends_after_s)
    supervisor = Supervisor(clock, drain_timeout_s=drain_timeout_s)
    supervisor.add("service", service)
    return await supervisor.run()

configure_logging(level="INFO")
sys.exit(asyncio.run(main(*map(float, sys.argv[1:]))))
"""


@contextmanager
def _running(ends_after_s: float, drain_timeout_s: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVICE, str(ends_after_s), str(drain_timeout_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            _read_until(process, "started")
            yield process
        finally:
            process.kill()


def _read_until(process: subprocess.Popen[str], line: str) -> list[str]:
    """Lines up to this one; the test's own timeout bounds the wait."""
    assert process.stdout is not None
    read: list[str] = []
    for got in process.stdout:
        read.append(got.strip())
        if read[-1] == line:
            return read
    raise AssertionError(f"the process ended without saying {line!r}: {read}")


def _events(process: subprocess.Popen[str], before: list[str]) -> list[dict[str, object]]:
    assert process.stdout is not None
    lines = [*before, *process.stdout.read().splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: signal.Signals(number).name)
def test_a_signal_drains_and_exits_with_zero(number: signal.Signals) -> None:
    with _running(ends_after_s=0, drain_timeout_s=20) as process:
        process.send_signal(number)
        before = _read_until(process, "draining")
        assert process.wait(WAIT_S) == 0
        events = _events(process, before)
    assert [event["event_type"] for event in events] == ["DRAIN_BEGUN", "STOPPED"]
    assert events[0]["reason"] == number.name


def test_a_second_signal_exits_at_once_with_its_number() -> None:
    with _running(ends_after_s=3600, drain_timeout_s=3600) as process:
        process.send_signal(signal.SIGTERM)
        before = _read_until(process, "draining")
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 128 + signal.SIGINT
        assert [event["event_type"] for event in _events(process, before)] == ["DRAIN_BEGUN", "EXIT_AT_ONCE"]


def test_a_service_that_does_not_end_is_cancelled_named_and_exits_with_one() -> None:
    with _running(ends_after_s=3600, drain_timeout_s=0.2) as process:
        process.send_signal(signal.SIGTERM)
        before = _read_until(process, "draining")
        assert process.wait(WAIT_S) == 1
        events = {event["event_type"]: event for event in _events(process, before)}
    assert events["DRAIN_TIMEOUT"]["services"] == ["service"]


DAEMON_OF_NOTHING = {
    "DAGY_AWS__REGION": "us-east-1",
    "DAGY_API__ENABLED": "false",
    **{f"DAGY_{each}__ENABLED": "false" for each in ("LAUNCHING", "RECONCILING", "ORPHANS", "EVENTS", "LEASES")},
}
"""A daemon that needs no AWS: every loop is off."""


def test_sighup_without_a_configuration_file_is_told_and_ends_nobody() -> None:
    """The signal's own effect would be the end of the process, without a drain."""
    command = [sys.executable, "-m", "dagy_control.entrypoints.cli", "serve"]
    others = {name: value for name, value in os.environ.items() if not name.startswith(("DAGY_", "AWS_"))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=others | DAEMON_OF_NOTHING) as process:
        try:
            _read_until_event(process, "STARTED")
            process.send_signal(signal.SIGHUP)
            _read_until_event(process, "CONFIG_NO_FILE")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()


def _read_until_event(process: subprocess.Popen[str], event_type: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if f'"{event_type}"' in line:
            return
    raise AssertionError(f"the process ended without {event_type}: code {process.wait(WAIT_S)}")
