"""A served application on loopback, and a client for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from dagy_control.api.app import create_app
from dagy_control.api.scans import ScanDoor
from dagy_control.api.server import ApiServer
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.health import Health
from dagy_control.kernel.telemetry import new_registry


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    text: str
    json: Any
    headers: dict[str, str]


class Bench:
    """A served application, and a client for it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        scans: ScanDoor | None = None,
    ) -> None:
        self.registry = new_registry()
        self.health = Health(SystemClock())
        self.drain = Drain()
        app = create_app(registry=self.registry, health=self.health, scans=scans)
        self.server = ApiServer(app, host, port)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.server.run(self.drain))
            while self.server.port == 0:
                await SystemClock().sleep(0)
            yield
            self.drain.begin()

    async def ask(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
            text = await response.text()
            json = await response.json() if response.content_type == "application/json" else None
            return Answer(
                response.status, text, json, {name.lower(): value for name, value in response.headers.items()}
            )
