"""MiniStack, the second server of the contract suites, in a process and a virtual environment of its own.

Like the embedded cloud's server it ends with its standard input, so it cannot outlive the tests, however they end.
"""

import asyncio
import os
import socket
import subprocess
from pathlib import Path

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import within

PYTHON = Path(__file__).parents[2] / ".venv-ministack" / "bin" / "python"
NOT_INSTALLED = f"MiniStack is not installed ({PYTHON} is missing): run `make setup`, then the tests again"

_START_TIMEOUT_S = 60.0
_STARTS_MAX = 3
_SERVE_UNTIL_STDIN_CLOSES = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
from ministack.app import main
main()
"""


class MiniStack:
    """The server's process. `workdir` takes its log and whatever it writes."""

    def __init__(self, *, clock: Clock, workdir: Path) -> None:
        self._clock = clock
        self._workdir = workdir
        self._log = workdir / "ministack.log"
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> None:
        """Start it and wait until it accepts connections. `RuntimeError` when it does not, or is not installed."""
        if not PYTHON.exists():
            raise RuntimeError(NOT_INSTALLED)
        for _ in range(_STARTS_MAX):
            port = _free_port()
            self._process = process = await self._spawn(port)
            self.url = f"http://127.0.0.1:{port}"
            if await within(self._clock, _START_TIMEOUT_S, self._listens(process, port), name="start of MiniStack"):
                return  # otherwise it has ended: somebody took the port first, or its log tells why
        raise RuntimeError(f"MiniStack did not start:\n{self._log.read_text()[-2000:]}")

    async def stop(self) -> None:
        """End it and wait until it has ended."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()

    async def _spawn(self, port: int) -> asyncio.subprocess.Process:
        folder = str(self._workdir)
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(str(PYTHON), "-c", _SERVE_UNTIL_STDIN_CLOSES),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={
                    "PATH": os.defpath,
                    "HOME": folder,
                    "TMPDIR": folder,
                    "BIND_HOST": "127.0.0.1",
                    "GATEWAY_PORT": str(port),
                    "SERVICES": "dynamodb,sqs,sns,s3",
                    "IOT_MTLS_ENABLED": "0",
                    "LOG_LEVEL": "ERROR",
                },
                start_new_session=True,  # a Ctrl-C is for pytest, which stops this server last
            )

    async def _listens(self, process: asyncio.subprocess.Process, port: int) -> bool:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await self._clock.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return True
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
