"""Hears what the product says in its log while a world is played: rare branches are counted by the words that the product itself uses."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Hear = Callable[[str, str, dict[str, Any]], None]
"""What is told of a log line: its level, its event, its fields."""


@dataclass(frozen=True, slots=True)
class _Ear:
    """Stands in for a module's logger."""

    hear: Hear
    bound: dict[str, Any] = field(default_factory=dict)

    def bind(self, **fields: Any) -> "_Ear":
        return _Ear(self.hear, self.bound | fields)

    def debug(self, event: str, **fields: Any) -> None:
        self.hear("debug", event, self.bound | fields)

    def info(self, event: str, **fields: Any) -> None:
        self.hear("info", event, self.bound | fields)

    def warning(self, event: str, **fields: Any) -> None:
        self.hear("warning", event, self.bound | fields)

    def error(self, event: str, **fields: Any) -> None:
        self.hear("error", event, self.bound | fields)


@contextmanager
def heard(hear: Hear) -> Iterator[None]:
    """Every module of the product logs to `hear` instead."""
    modules = [module for name, module in sys.modules.items() if name.startswith("dagy_control")]
    loggers = [(module, module.__dict__["_log"]) for module in modules if "_log" in module.__dict__]
    for module, _ in loggers:
        module.__dict__["_log"] = _Ear(hear)
    try:
        yield
    finally:
        for module, logger in loggers:
            module.__dict__["_log"] = logger


def branches(event: str, fields: dict[str, Any]) -> Iterator[str]:
    """The names under which a log line is counted."""
    match event:
        case "reconciled" | "ended by event":
            yield f"rule {fields['rule']}"
            yield event
        case "launched":
            yield f"launched: {fields['why'].partition(':')[0]}"
        case "launch failed":
            yield f"launch failed: {fields['kind']} {fields['failure_class']}"
        case "task stopped":
            yield f"task stopped: {fields['cause']}"
        case "orphan stopped" | "orphan scan refused to stop":
            yield f"{event}: {_without_figures(fields.get('reason') or fields.get('why') or '')}"
        case "Orphan scan complete":
            yield from (f"orphans: {verdict}" for verdict in fields["verdicts"])
        case "Loop failed and will try again" | "Reconciliation complete":
            pass
        case _:
            yield event


def _without_figures(text: str) -> str:
    return " ".join("N" if any(letter.isdigit() for letter in word) else word for word in text.split())
