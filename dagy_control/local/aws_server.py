"""Everything but ECS: moto in server mode (DynamoDB, SQS, SNS, S3, SSM, Secrets Manager) in a process of its own, on loopback.

A process rather than a thread: moto is pure Python and computes under the interpreter's lock, so a thread of it would
stall the emulator's event loop whenever twenty workers write at once (measured with four writers on two cores: the
loop's worst delay was 15 ms with a thread, 6 ms with a process), and a process gives its memory back when it ends.
It ends when its standard input closes, so it cannot outlive the process that started it, however that died.

moto's DynamoDB is not thread-safe: without a lock several conditional writes win. So every request is read, answered
and rendered under one lock, except SQS's ReceiveMessage, whose long poll would hold it.
"""

import argparse
import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import within

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0


class OneAtATime:
    """A WSGI application that serves one request at a time; SQS's long polls excepted."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Read the body first, so that a slow client cannot hold the lock, then answer in one piece."""
        length = environ.get("CONTENT_LENGTH")
        if length:
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)))
        if environ.get("HTTP_X_AMZ_TARGET") == "AmazonSQS.ReceiveMessage":
            return self._app(environ, start_response)
        with self._lock:
            return list(self._app(environ, start_response))


def serve(host: str, port: int, *, ready: Callable[[int], None], until_closed: IO[bytes]) -> None:
    """Serve moto until `until_closed` reaches its end. `ready` is told the port when connections are accepted."""
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - moto is an extra, and only this process needs it
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415 - likewise

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each request
    app = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server(host, port, app, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, name="moto", daemon=True).start()
    ready(server.server_port)
    while until_closed.read(1):
        pass
    server.shutdown()


class AwsServer:
    """The server's process, seen from the program that owns it. `port` 0 picks a free one; `log` takes its errors."""

    def __init__(self, *, clock: Clock, log: Path, port: int = 0, host: str = "127.0.0.1") -> None:
        self._clock = clock
        self._log = log
        self._host = host
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens; known once started."""
        return f"http://{self._host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its process, None when it is not running."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it accepts connections. `RuntimeError` when it does not (its log says why)."""
        log = _open_log(self._log)
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "dagy_control.local.aws_server",
                    "--host",
                    self._host,
                    "--port",
                    str(self._port),
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(os.environ),
                start_new_session=True,  # a Ctrl-C is for the owner, who stops this server last
            )
        finally:
            os.close(log)
        if process.stdout is None:
            raise RuntimeError("the server's process has no standard output")
        line = await within(self._clock, _START_TIMEOUT_S, process.stdout.readline(), name="start of the AWS server")
        if not line:
            await process.wait()
            raise RuntimeError(f"the AWS server did not start on port {self._port}: see {self._log}")
        self._port = int(json.loads(line)["port"])

    async def stop(self) -> None:
        """End it and wait until it has ended. Harmless if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await within(self._clock, _STOP_TIMEOUT_S, process.wait(), name="stop of the AWS server")
        except TimeoutError:
            process.kill()
            await process.wait()


def _open_log(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Our environment without anything of the user's AWS account, which moto would otherwise read."""
    return {key: value for key, value in own.items() if not key.startswith("AWS_")} | {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def main() -> None:
    """Entry of the server's process: one line of JSON with the port on standard output, then serve."""
    parser = argparse.ArgumentParser(description="moto on loopback, one request at a time")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()

    def ready(port: int) -> None:
        sys.stdout.write(json.dumps({"port": port}) + "\n")
        sys.stdout.flush()

    serve(arguments.host, arguments.port, ready=ready, until_closed=sys.stdin.buffer)


if __name__ == "__main__":
    main()
