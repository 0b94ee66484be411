"""Where the configuration is read: a local file, an SSM parameter or an S3 object; and what its references stand for."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.config_store import S3Files, Secrets, SsmParameters
from dagy_control.adapters.session import CONFIG_SERVICES, AwsClients, ClientPolicy
from dagy_control.config import (
    ConfigError,
    ConfigText,
    Loaded,
    Problem,
    Reference,
    Store,
    Unresolved,
    load_with_sources,
    read_bytes,
    references_in,
)
from dagy_control.errors import DagyError, Transient
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock, SystemClock
from dagy_control.kernel.telemetry import log

REFERENCE_LIFE_S = 300.0
"""How long a resolved reference is taken as it is: so long a rotated secret may go unnoticed, and so rarely is it asked for."""
LOOKUPS_IN_FLIGHT = 8
_SSM, _S3 = "ssm:", "s3://"

_log = log("dagy.config")


def is_remote(location: str) -> bool:
    """Whether the configuration stands in AWS, not in a file: `ssm:/path` or `s3://bucket/key`."""
    return location.startswith((_SSM, _S3))


@dataclass(frozen=True, slots=True)
class _Known:
    value: str
    at: float


class ConfigStores:
    """SSM, Secrets Manager and S3, for the configuration; clients are opened when first needed. Keeps what references stand for.

    `async with` closes what was opened. One that asks for nothing remote never opens a client.
    """

    def __init__(self, clock: Clock, *, life_s: float = REFERENCE_LIFE_S) -> None:
        self._clock = clock
        self._life_s = life_s
        self._stack = AsyncExitStack()
        self._clients: AwsClients | None = None
        self._calls = AwsCalls(clock)
        self._known: dict[str, _Known] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients = None
        await self._stack.aclose()

    async def read(self, location: str) -> ConfigText:
        """The configuration at `ssm:/path` or `s3://bucket/key`. Raises `ConfigError`, or `Transient` when it cannot be had now."""
        try:
            if location.startswith(_SSM):
                data = (await self._parameter(location.removeprefix(_SSM))).encode()
            else:
                bucket, _, key = location.removeprefix(_S3).partition("/")
                clients = await self._open()
                data = await S3Files(clients.s3, self._calls).get(bucket, key)
        except Transient:
            raise
        except DagyError as error:
            reason, remedy = f"cannot be read: {error}", "put the file there, and allow this role to read it"
            raise ConfigError((Problem(location, "", None, reason, remedy),)) from None
        return ConfigText(location, data)

    async def resolve(self, references: Iterable[Reference]) -> dict[str, str | Unresolved]:
        """What the references stand for, by their text; values are kept for a while. Never raises for one that cannot be had."""
        wanted = list(references)
        failed: dict[str, str | Unresolved] = {}
        stale = [each for each in wanted if not self._is_fresh(each.text)]
        for outcome in await run_bounded(stale, self._look_up, limit=LOOKUPS_IN_FLIGHT, name="references"):
            text = outcome.item.text
            if outcome.value is not None:
                self._known[text] = _Known(outcome.value, self._clock.monotonic())
            elif isinstance(outcome.error, Transient) and text in self._known:
                _log.warning(
                    "Reference not looked up again; its old value stays",
                    event_type="CONFIG_REFERENCE_STALE",
                    reference=text,
                )
            else:
                failed[text] = Unresolved(str(outcome.error))
        return {each.text: failed.get(each.text) or self._known[each.text].value for each in wanted}

    def _is_fresh(self, text: str) -> bool:
        known = self._known.get(text)
        return known is not None and self._clock.monotonic() - known.at < self._life_s

    async def _look_up(self, reference: Reference) -> str:
        if reference.store is Store.SSM:
            return await self._parameter(reference.name)
        clients = await self._open()
        return await Secrets(clients.secrets, self._calls).get(reference.name, reference.key)

    async def _parameter(self, name: str) -> str:
        clients = await self._open()
        return await SsmParameters(clients.ssm, self._calls).get(name)

    async def _open(self) -> AwsClients:
        if self._clients is None:
            region = os.environ.get("DAGY_AWS__REGION") or None
            clients = AwsClients(ClientPolicy(region=region), services=CONFIG_SERVICES)
            self._clients = await self._stack.enter_async_context(clients)
        return self._clients


def read_configuration(location: str | None, environ: Mapping[str, str]) -> tuple[Loaded, ConfigText | None]:
    """The configuration at a location (None: no file) with the environment over it, every reference resolved; and the file's text.

    For the start of a process, outside of an event loop. Raises `ConfigError`, or `Transient` when AWS cannot be asked now.
    """
    text = read_bytes(Path(location)) if location is not None and not is_remote(location) else None
    if (location is None or text is not None) and not references_in(text, environ):
        return load_with_sources(text, environ), text

    async def read() -> tuple[Loaded, ConfigText | None]:
        async with ConfigStores(SystemClock()) as stores:
            found = await stores.read(location) if location is not None and text is None else text
            return load_with_sources(found, environ, await stores.resolve(references_in(found, environ))), found

    return asyncio.run(read())
