"""Follows the configuration file while the daemon runs: load, check the whole, say what changes, swap; a bad edit changes nothing.

What runs is told by `live.LiveProcess`: first everything is prepared, then swapped. Hints come from the file system and from
SIGHUP, and the file is looked at every few seconds anyway: a hint that is lost costs seconds, not the edit.
"""

import asyncio
import hashlib
import json
import traceback
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from dagy_control.config import (
    Change,
    ConfigError,
    ConfigText,
    Loaded,
    Problem,
    References,
    Settings,
    find_changes,
    load_with_sources,
    references_in,
)
from dagy_control.config.references import Resolved, Unresolved
from dagy_control.entrypoints.config_sources import Source
from dagy_control.errors import DagyError, Permanent, Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.tasks import background
from dagy_control.kernel.telemetry import log

_log = log("dagy.config")


class ConfigMetrics:
    """What became of the configuration, named as Prometheus names its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.successful = Gauge(
            "dagy_config_last_reload_successful",
            "1 if the configuration as last looked at is in effect, 0 if it was refused.",
            registry=registry,
        )
        self.timestamp = Gauge(
            "dagy_config_last_reload_success_timestamp_seconds",
            "When the configuration in effect was taken (Unix time).",
            registry=registry,
        )
        self.hash = Gauge(
            "dagy_config_hash",
            "A number that differs with the settings in effect: equal on all replicas with equal settings.",
            registry=registry,
        )
        self.reloads = Counter(
            "dagy_config_reloads_total",
            "Changed configurations, by what became of them: taken, unchanged (no setting differs), or refused.",
            ["result"],
            registry=registry,
        )
        for result in ("taken", "unchanged", "refused"):
            self.reloads.labels(result)

    def taken(self, settings: Settings, now: datetime) -> None:
        """These settings are in effect since `now`."""
        self.successful.set(1)
        self.timestamp.set(now.timestamp())
        text = json.dumps(settings.model_dump(mode="json"), sort_keys=True)  # tables may be written in any order
        digest = hashlib.sha256(text.encode()).digest()
        self.hash.set(int.from_bytes(digest[:6], "big"))  # 48 bits: a float holds them exactly


class Resolve(Protocol):
    """What references stand for: `ConfigStores.resolve`."""

    async def __call__(self, references: References, *, afresh: bool) -> Resolved:
        """By their text. `afresh`: as they are now, not as they were kept."""
        ...


class Reloader:
    """Keeps the process to its configuration file. `current`: what is in effect; `accept`: `LiveProcess.accept`."""

    def __init__(
        self,
        source: Source,
        resolve: Resolve,
        environ: Mapping[str, str],
        current: tuple[Loaded, ConfigText],
        accept: Callable[[Settings], Callable[[], None]],
        metrics: ConfigMetrics,
        clock: Clock,
    ) -> None:
        self._source = source
        self._resolve = resolve
        self._environ = environ
        self._current, text = current
        self._seen: object = (text, {}) if not self._current.references else None  # those are looked up again
        self._accept = accept
        self._metrics = metrics
        self._clock = clock
        self._look = asyncio.Event()
        self._asked = False
        self._refusal = ""

    @property
    def settings(self) -> Settings:
        """The settings in effect."""
        return self._current.settings

    def request(self) -> None:
        """Look at the file and at every reference now, and say what came of it even if nothing changed. What SIGHUP calls."""
        self._asked = True
        self._look.set()

    def state(self) -> str:
        """For `Health.register_state`: which configuration is in effect, and whether a later one was refused."""
        return self.refusal() or self._source.name

    def refusal(self) -> str | None:
        """For `Health.register_degraded`: why the last edit was refused; None when it is in effect."""
        return f"{self._source.name}: the last edit was refused: {self._refusal}" if self._refusal else None

    async def run(self, drain: Drain) -> None:
        """Follow the file until the drain begins. A service for `Supervisor.add`."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(background(self._listen(), name="configuration hints"))
            while not drain.begun:
                await drain.interrupt(self._next_look())
                if not drain.begun:
                    await drain.interrupt(self.look())

    async def look(self) -> None:
        """Read the configuration; when it has changed, take it or refuse it."""
        asked, self._asked = self._asked, False
        seen: object = None
        try:
            seen = text = await self._source.read()
            resolved = await self._resolve(references_in(text, self._environ), afresh=asked)
            if away := [each for each, found in resolved.items() if isinstance(found, Unresolved) and found.passing]:
                raise Transient(f"{', '.join(away)} cannot be resolved now")
            seen = (text, resolved)
            if seen != self._seen or asked:
                self._take(load_with_sources(text, self._environ, resolved))
                self._seen = seen
        except ConfigError as error:
            self._refuse_once(error.problems, seen, asked=asked)
        except Permanent as error:
            problem = Problem(self._source.name, "", None, "cannot be put into effect", str(error))
            self._refuse_once((problem,), seen, asked=asked)
        except DagyError as error:
            self._asked = self._asked or asked  # the answer is still owed
            _log.warning("Configuration cannot be read now", event_type="CONFIG_UNREAD", error=str(error))
        except Exception as error:  # noqa: BLE001 - no edit may end the daemon: what nobody thought of is refused
            self._refuse_once((_bug(error, self._source.name),), seen, asked=asked)

    def _take(self, loaded: Loaded) -> None:
        """Put the settings into effect. Raises `ConfigError` or `Permanent` when that cannot be; then nothing has changed."""
        hidden = {*self._current.references, *loaded.references}
        changes = find_changes(self.settings, loaded.settings, hidden=hidden)
        if restart := [change for change in changes if change.restart]:
            raise ConfigError(tuple(_needs_restart(change, loaded) for change in restart))
        swap = self._accept(loaded.settings)
        swap()
        self._current, self._refusal = loaded, ""
        self._metrics.taken(loaded.settings, self._clock.now())
        self._metrics.reloads.labels("taken" if changes else "unchanged").inc()
        _log.info(
            "Configuration taken" if changes else "Configuration unchanged",
            event_type="CONFIG_TAKEN",
            source=self._source.name,
            changes=[str(change) for change in changes],
        )

    def _refuse_once(self, problems: tuple[Problem, ...], seen: object, *, asked: bool) -> None:
        """Say what is wrong, once for each edit; the settings in effect stay."""
        seen = (seen, problems)
        if seen == self._seen and not asked:
            return
        self._seen, self._refusal = seen, str(problems[0])
        self._metrics.successful.set(0)
        self._metrics.reloads.labels("refused").inc()
        _log.error(
            "Configuration refused; the old one stays in effect",
            event_type="CONFIG_REFUSED",
            source=self._source.name,
            problems=[str(problem) for problem in problems],
        )

    async def _next_look(self) -> None:
        async with background(self._look_after(self._source.poll_s), name="configuration poll"):
            await self._look.wait()
        self._look.clear()

    async def _look_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._look.set()

    async def _listen(self) -> None:
        """Turn hints into looks. Where there are none, polling is enough."""
        try:
            async for _ in self._source.hints():
                self._look.set()
        except Exception as error:  # noqa: BLE001 - watchfiles raises errors of its own kinds; without hints the poll remains
            _log.warning("No hints of configuration edits; polling only", event_type="CONFIG_POLLED", error=str(error))


def _bug(error: Exception, source: str) -> Problem:
    """By its kind and place in the program, for whoever mends that; its own words may hold a value."""
    *_, last = traceback.extract_tb(error.__traceback__)
    reason = f"fails the program by a bug: {type(error).__name__}, {Path(last.filename).name}:{last.lineno}"
    return Problem(source, "", None, reason, "take the edit back, and report the bug")


def _needs_restart(change: Change, loaded: Loaded) -> Problem:
    reason = f"changes from {change.before}, but is read only when the service starts"
    remedy = "restart the service to put it into effect, or take the change back; nothing of this edit is in effect"
    return Problem(loaded.sources.get(change.key, "default"), change.key, change.after, reason, remedy)
