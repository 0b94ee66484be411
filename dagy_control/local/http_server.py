"""A web server on loopback, inside the caller's event loop: uvicorn without its signal handlers.

uvicorn would replace the program's own signal handlers, and raise `SystemExit` for a port in use; here a port in use is
an `OSError` from `start`. Each request's `state.transport` is its connection, so that an injected fault can cut it.
"""

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import start_task


class _CuttableProtocol(H11Protocol):
    """Puts the connection's transport into each request's `state`."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _QuietServer(uvicorn.Server):
    """Leaves the process's signal handlers alone."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class LoopbackServer:
    """Serves one ASGI application. `port` 0 picks a free one; `url` is known, and the port taken, as soon as this exists."""

    def __init__(self, *, clock: Clock, port: int = 0, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_server((host, port), backlog=512)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else head and body cost 40 ms (Nagle)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        self._clock = clock
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, app: ASGIApp) -> None:
        """Serve the application; returns when connections are accepted."""
        config = uvicorn.Config(
            app,
            http=_CuttableProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = server = _QuietServer(config)
        self._task = task = start_task(server.serve(sockets=[self._socket]), name=f"http server {self.url}")
        while not server.started and not task.done():
            await self._clock.sleep(0.01)
        if task.done():
            await task

    async def stop(self) -> None:
        """Close the listener and end what is still being answered. Idempotent."""
        task, self._task = self._task, None
        if self._server is not None and task is not None:
            self._server.should_exit = True
            await task
        self._socket.close()
