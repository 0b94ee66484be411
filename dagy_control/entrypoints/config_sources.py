"""Where a running daemon reads its configuration again and again: a local file that gives hints, or AWS, which gives none."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dagy_control.config import ConfigError, ConfigText, Problem, read_bytes, references_in
from dagy_control.config.watching import watch
from dagy_control.entrypoints.configuration import ConfigStores, is_remote
from dagy_control.errors import Transient
from dagy_control.kernel.clock import Clock

POLL_S = 5.0
"""Between two looks at a file when there is no hint: a read of some kilobytes."""
REMOTE_POLL_S = 30.0
"""Between two reads from AWS, which gives no hints: an edit may wait so long, for 3,000 cheap calls a day."""
SETTLE_S = 1.0
SETTLE_LOOKS_MAX = 10
"""A file counts as written once it is the same at two looks so far apart: nobody knows whether a writer that pauses has ended."""


class Source(Protocol):
    """Where the configuration is read from, each `poll_s` at the latest."""

    @property
    def poll_s(self) -> float:
        """Seconds between two reads when there is no hint."""
        ...

    @property
    def name(self) -> str:
        """As people know it."""
        ...

    async def read(self) -> ConfigText:
        """The configuration as it is now. Raises `ConfigError` when it cannot be read."""
        ...

    def hints(self) -> AsyncIterator[None]:
        """Yields when it may have changed. May end or raise at any time: reading from time to time is enough."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A local file."""

    path: Path
    clock: Clock
    poll_s: float = POLL_S

    @property
    def name(self) -> str:
        """As people know it."""
        return str(self.path)

    async def read(self) -> ConfigText:
        """The file's bytes once they stand still: an editor that writes in two steps, or removes it for a moment, is waited for.

        Raises `Transient` when they do not stand still for long.
        """
        before = self._look()
        for _ in range(SETTLE_LOOKS_MAX):
            await self.clock.sleep(SETTLE_S)
            after = self._look()
            if after == before:
                break
            before = after
        else:
            raise Transient(f"{self.name} is being written: it has been another one at every look")
        if not isinstance(before, ConfigText):
            raise ConfigError(before)
        return before

    def hints(self) -> AsyncIterator[None]:
        """Changes in the file's folder that concern it."""
        return watch(self.path)

    def _look(self) -> ConfigText | tuple[Problem, ...]:
        try:
            return read_bytes(self.path)
        except ConfigError as error:
            return error.problems


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """An SSM parameter or S3 object: for a container whose file system is read-only."""

    name: str
    stores: ConfigStores
    region: str | None
    poll_s: float = REMOTE_POLL_S

    async def read(self) -> ConfigText:
        """As it is now: both stores replace the whole at once."""
        return await self.stores.read(self.name, self.region)

    async def hints(self) -> AsyncIterator[None]:
        """None."""
        never: tuple[None, ...] = ()
        for hint in never:
            yield hint


def source_of(location: str, stores: ConfigStores, environ: Mapping[str, str], clock: Clock) -> Source:
    """Where the configuration stands. What is in AWS is read from the region that the environment says."""
    if is_remote(location):
        return RemoteSource(location, stores, references_in(None, environ).region)
    return FileSource(Path(location), clock)
