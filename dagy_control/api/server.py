"""Serve the application in the event loop that we have, for as long as the supervisor says."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn
from fastapi import FastAPI
from typing_extensions import override

from dagy_control.errors import Permanent
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.tasks import background
from dagy_control.kernel.telemetry import log

CONNECTIONS_MAX = 256
CLOSE_WITHIN_S = 2  # what requests under way have once the server's own stage drains


class ApiServer:
    """HTTP as the supervisor's last stage: probes are answered (not ready) until all other stages have ended."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._bound_port: int | None = None

    @property
    def port(self) -> int:
        """The port listened on: the real one, when 0 was asked for and `run` has bound it."""
        return self._port if self._bound_port is None else self._bound_port

    async def run(self, drain: Drain) -> None:
        """Serve until the drain begins. Raises `Permanent`, naming the setting, if host and port cannot be bound."""
        with closing(self._bind()) as listener:
            self._bound_port = listener.getsockname()[1]
            log(__name__).info("HTTP server listens", event_type="HTTP_LISTENING", host=self._host, port=self.port)
            server = _Server(
                uvicorn.Config(
                    self._app,
                    http="h11",
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    limit_concurrency=CONNECTIONS_MAX,
                    timeout_graceful_shutdown=CLOSE_WITHIN_S,
                )
            )
            async with background(server.stop_on(drain), name="http: drain"):
                try:
                    await server.serve(sockets=[listener])
                finally:
                    server.close_listeners()

    def _bind(self) -> socket.socket:
        """Listen before uvicorn does: its own failure to bind is a `SystemExit` that tells nobody which setting to change."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listener = socket.create_server((self._host, self._port), family=family)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else head and body cost 40 ms (Nagle)
        except OSError as error:
            raise Permanent(
                f"cannot listen on {self._host} port {self._port}: {error.strerror or error}. "
                "Change `api.host` or `api.port`, or end the process that holds the port."
            ) from error
        return listener


class _Server(uvicorn.Server):
    """uvicorn without its hold on signals: those belong to the supervisor."""

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def stop_on(self, drain: Drain) -> None:
        await drain.wait()
        self.should_exit = True

    def close_listeners(self) -> None:
        """For a cancelled server, which uvicorn leaves open."""
        for server in getattr(self, "servers", ()):
            server.close()
