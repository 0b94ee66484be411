"""What the process says about itself: one JSON object per log line, and Prometheus metrics."""

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from json import JSONEncoder
from types import MappingProxyType
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from structlog.typing import EventDict, Processor

from dagy_control.kernel.about import run_at_hand, run_keys
from dagy_control.kernel.limiter import Limiter
from dagy_control.model.runs import FailureClass, Run, RunStatus

NO_FIELDS: Mapping[str, str] = MappingProxyType({})

CHATTY_LIBRARIES = ("aiobotocore", "botocore", "aiohttp", "asyncio", "urllib3", "watchfiles")
"""Kept at WARNING even when we debug: below it, botocore writes where credentials come from, signatures and whole bodies."""


class _OurHandler(logging.StreamHandler[Any]):
    """Marks our handler, so that configuring again replaces it and nobody else's."""

    def write(self, line: str) -> None:
        """A line that is rendered already. One that cannot be written (nobody reads any more) is lost, as `emit` loses it."""
        with self.lock or nullcontext(), suppress(OSError, ValueError):
            self.stream.write(line + self.terminator)
            self.flush()


class _OwnLogger:
    """What structlog takes for a logger: writes rendered lines past `logging`, whose records and formatters take half of a line's time.

    Levels are those of the standard library's logger of the same name.
    """

    disabled = False  # asked by structlog's filter

    def __init__(self, name: str, handler: _OurHandler) -> None:
        self.name = name
        self.isEnabledFor = logging.getLogger(name).isEnabledFor
        self.getEffectiveLevel = logging.getLogger(name).getEffectiveLevel
        self.debug = self.info = self.warning = self.error = self.exception = self.critical = handler.write


def configure_logging(
    *, level: str, json: bool = True, static: Mapping[str, str] = NO_FIELDS, finish: Processor | None = None
) -> None:
    """Send every log line of the process, the libraries' too, to standard output in one format. Idempotent.

    Each line is one JSON object: `timestamp` (ISO 8601, UTC), `level`, `logger`, `message`, the fields given with the call
    (`event_type` where there is one), the keys of the run at hand (`about`), `exception` (the traceback, one string, without the
    values of variables) and the `static` fields. `json=False` is for a person at a terminal. `level`: a name that the standard
    library knows; ValueError for any other. `finish` is given each line whole, the traceback in it, before it is rendered.
    """
    own: list[Processor] = [structlog.contextvars.merge_contextvars, _completed(static, json=json)]
    rendering = [*([] if finish is None else [finish]), _renderer(json=json)]
    handler = _OurHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=own, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
        )
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *own, *rendering],
        logger_factory=cache(lambda name="": _OwnLogger(name, handler)),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a microsecond a line; a cached logger would keep what it was told before a change
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _OurHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    set_log_level(level)


def set_log_level(level: str) -> None:
    """Log from this level on; some libraries from WARNING on at the least. ValueError for a name that is no level."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name in (*CHATTY_LIBRARIES, "uvicorn"):  # the API room says itself where it listens
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def log(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a room or module: `log(__name__).info("Run launched", event_type="RUN_LAUNCHED", run_id=run_id)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def flush_logs() -> None:
    """Push out what the handlers still hold; for the moment before the process ends without ceremony."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _completed(static: Mapping[str, str], *, json: bool) -> Processor:
    """All that a line has beside what it was given, in one step: lines are rare enough for each step to cost a cold cache.

    What a person looks for first comes first, the rest as it was given; what the line itself says goes before static fields and the
    run's.
    """

    def complete(logger: Any, method: str, event: MutableMapping[str, Any]) -> EventDict:  # noqa: ANN401 - as structlog has it
        record = event.get("_record")  # of a library's line
        first = {"timestamp": _now_text(), "level": "error" if method == "exception" else method}
        event = structlog.processors.format_exc_info(logger, method, event) if "exc_info" in event else event
        if json:
            first["message"] = event.pop("event")
        run = run_at_hand()
        of_run = {} if run is None else run_keys(run)
        return {**first, **static, **of_run, **event, "logger": logger.name if record is None else record.name}

    return complete


def _now_text() -> str:
    now_us = time.time_ns() // 1000  # noqa: TID251 - a line's own time; nothing is decided by it
    seconds, microseconds = divmod(now_us, 1_000_000)
    return f"{_second_text(seconds)}.{microseconds:06}Z"


@lru_cache(maxsize=1)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def _renderer(*, json: bool) -> Processor:
    if json:
        return _as_json_text
    plain = structlog.dev.plain_traceback  # the default one, rich's, shows the values of local variables
    return structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return sorted(map(str, value))
    return str(value)


_ENCODER = JSONEncoder(default=_as_json)


def _as_json_text(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    return _ENCODER.encode(event)


def new_registry() -> CollectorRegistry:
    """A registry of its own (not the library's global one), with the process's memory, CPU, files and Python version."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class LoopMetrics:
    """How the loops fare. Label `loop` is the loop's name; `outcome` is ok, transient, conflict, permanent or bug."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ticks = Counter(
            "dagy_loop_ticks_total", "Ticks that ended, by outcome.", ["loop", "outcome"], registry=registry
        )
        self.duration = Histogram(
            "dagy_loop_tick_duration_seconds",
            "How long a tick took.",
            ["loop"],
            registry=registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )
        self.last_success = Gauge(
            "dagy_loop_last_success_timestamp_seconds",
            "When the last good tick ended (Unix time).",
            ["loop"],
            registry=registry,
        )
        self.overruns = Counter(
            "dagy_loop_overruns_total", "Ticks that took longer than their interval.", ["loop"], registry=registry
        )
        self.consecutive_errors = Gauge(
            "dagy_loop_consecutive_errors", "Failed ticks since the last good one.", ["loop"], registry=registry
        )
        self.enabled = Gauge(
            "dagy_loop_enabled",
            "1 if this process has the loop switched on, with or without its lease.",
            ["loop"],
            registry=registry,
        )
        self.interval = Gauge(
            "dagy_loop_interval_seconds",
            "From one tick's start to the next, as configured.",
            ["loop"],
            registry=registry,
        )


class RunEndMetrics:
    """Ends of runs, by whichever loop. Those that a worker or a command writes are counted in their own process only."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "dagy_runs_ended_total",
            "Runs that this process has brought to their end.",
            ["status", "failure_class"],
            registry=registry,
        )
        self._known: dict[tuple[str, str], Counter] = {}  # to look labels up is most of the work
        ends = [
            *((RunStatus.FAILED, why) for why in FailureClass),
            (RunStatus.SUCCEEDED, ""),
            (RunStatus.CANCELLED, ""),
        ]
        for end in ends:  # at 0 from the start: of a series that begins at 30 Prometheus sees no increase
            self._known[end] = self._ended.labels(*end)

    def record(self, run: Run) -> None:
        """One run, at its end."""
        end = (run.status, run.failure_class or "")
        if end not in self._known:
            self._known[end] = self._ended.labels(*end)
        self._known[end].inc()


class LimiterMetrics:
    """The limiter's buckets, read when Prometheus asks."""

    def __init__(self, registry: CollectorRegistry, limiter: Limiter) -> None:
        tokens = Gauge("dagy_limiter_tokens", "Calls that the bucket has room for now.", ["bucket"], registry=registry)
        rate = Gauge(
            "dagy_limiter_rate", "Calls per second that the bucket is refilled by now.", ["bucket"], registry=registry
        )
        waiting = Gauge("dagy_limiter_waiting", "Calls that wait for the budget.", registry=registry)
        for bucket in limiter.buckets:
            tokens.labels(bucket).set_function(partial(limiter.level, bucket))
            rate.labels(bucket).set_function(partial(limiter.rate, bucket))
        waiting.set_function(lambda: limiter.waiting)
