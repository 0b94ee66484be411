"""Where the configuration is read: a local file, an SSM parameter or an S3 object; and what its references stand for."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
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
    References,
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
REFERENCE_RETRY_S = 30.0
"""How long an old value is taken as it is after AWS could not be asked: an outage must fill neither the log nor the network."""
LOOKUPS_IN_FLIGHT = 8
_SSM, _S3 = "ssm:", "s3://"

_log = log("dagy.config")


def is_remote(location: str) -> bool:
    """Whether the configuration stands in AWS, not in a file: `ssm:/path` or `s3://bucket/key`."""
    return location.startswith((_SSM, _S3))


@dataclass(frozen=True, slots=True)
class _Known:
    value: str
    fresh_until: float


class ConfigStores:
    """SSM, Secrets Manager and S3, for the configuration; clients are opened when first needed. Keeps what references stand for.

    `async with` closes what was opened. One that asks for nothing remote never opens a client.
    """

    def __init__(self, clock: Clock, *, life_s: float = REFERENCE_LIFE_S) -> None:
        self._clock = clock
        self._life_s = life_s
        self._stack = AsyncExitStack()
        self._clients: dict[str | None, AwsClients] = {}
        self._calls = AwsCalls(clock)
        self._opening = asyncio.Lock()
        self._known: dict[tuple[str | None, str], _Known] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients = {}
        await self._stack.aclose()

    async def read(self, location: str, region: str | None) -> ConfigText:
        """The configuration at `ssm:/path` or `s3://bucket/key`. Raises `ConfigError`, or `Transient` when it cannot be had now.

        `region`: where that stands, by the environment alone; None: where AWS's own chain says.
        """
        try:
            clients = await self._open(region)
            if location.startswith(_SSM):
                data = (await SsmParameters(clients.ssm, self._calls).get(location.removeprefix(_SSM))).encode()
            else:
                bucket, _, key = location.removeprefix(_S3).partition("/")
                data = await S3Files(clients.s3, self._calls).get(bucket, key)
        except Transient:
            raise
        except DagyError as error:
            reason, remedy = f"cannot be read: {error}", "put the file there, and allow this role to read it"
            raise ConfigError((Problem(location, "", None, reason, remedy),)) from None
        return ConfigText(location, data)

    async def resolve(self, references: References, *, afresh: bool = False) -> dict[str, str | Unresolved]:
        """What the references stand for, by their text. Never raises for one that cannot be had.

        Values are kept for a while, unless all are to be looked up `afresh`; one that AWS does not give now stays.
        """
        region, failed = references.region, dict[str, str | Unresolved]()
        stale = [each for each in references.each if afresh or not self._is_fresh((region, each.text))]
        look_up = partial(self._look_up, region)
        for outcome in await run_bounded(stale, look_up, limit=LOOKUPS_IN_FLIGHT, name="references"):
            text = outcome.item.text
            now = self._clock.monotonic()
            if outcome.value is not None:
                self._known[region, text] = _Known(outcome.value, now + self._life_s)
            elif isinstance(outcome.error, Transient) and (region, text) in self._known:
                self._known[region, text] = _Known(self._known[region, text].value, now + REFERENCE_RETRY_S)
                _log.warning(
                    "Reference not looked up again; its old value stays",
                    event_type="CONFIG_REFERENCE_STALE",
                    reference=text,
                )
            else:
                failed[text] = Unresolved(str(outcome.error), passing=isinstance(outcome.error, Transient))
        return {each.text: failed.get(each.text) or self._known[region, each.text].value for each in references.each}

    def _is_fresh(self, at: tuple[str | None, str]) -> bool:
        known = self._known.get(at)
        return known is not None and self._clock.monotonic() < known.fresh_until

    async def _look_up(self, region: str | None, reference: Reference) -> str:
        clients = await self._open(region)
        if reference.store is Store.SSM:
            return await SsmParameters(clients.ssm, self._calls).get(reference.name)
        return await Secrets(clients.secrets, self._calls).get(reference.name, reference.key)

    async def _open(self, region: str | None) -> AwsClients:
        async with self._opening:  # lookups come together: one set of clients for all of them
            if region not in self._clients:
                clients = AwsClients(ClientPolicy(region=region), services=CONFIG_SERVICES)
                self._clients[region] = await self._stack.enter_async_context(clients)
            return self._clients[region]


def read_configuration(location: str | None, environ: Mapping[str, str]) -> tuple[Loaded, ConfigText | None]:
    """The configuration at a location (None: no file) with the environment over it, every reference resolved; and the file's text.

    For the start of a process, outside of an event loop. Raises `ConfigError`, or `Transient` when AWS cannot be asked now.
    """
    text = read_bytes(Path(location)) if location is not None and not is_remote(location) else None
    if (location is None or text is not None) and not references_in(text, environ).each:
        return load_with_sources(text, environ), text

    async def read() -> tuple[Loaded, ConfigText | None]:
        async with ConfigStores(SystemClock()) as stores:
            found = text
            if location is not None and text is None:
                found = await stores.read(location, references_in(None, environ).region)
            return load_with_sources(found, environ, await stores.resolve(references_in(found, environ))), found

    return asyncio.run(read())
