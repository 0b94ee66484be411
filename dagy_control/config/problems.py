"""What is wrong with a configuration, told so that the reader can mend it: where, key, value, reason, remedy."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from typing_extensions import override

from dagy_control.errors import DagyError

REDACTED = "(redacted)"
_SECRET = re.compile(r"passw|secret|token|credential|api_?key|private_?key", re.IGNORECASE)
_SHOWN_MAX = 160


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `source`: the environment variable's name, or the file's path with line (and column) where known.

    `key`: dotted, as in `launching.interval_s`, empty for the file as a whole. `value`: as found, redacted if it may be a
    secret; None when there is none. `reason` and `remedy`: what is wrong, and what to do.
    """

    source: str
    key: str
    value: str | None
    reason: str
    remedy: str

    @override
    def __str__(self) -> str:
        """The problem in one line."""
        value = "" if self.value is None else f" = {self.value}"
        subject = f"{self.key}{value} " if self.key else ""
        return f"{self.source}: {subject}{self.reason}; {self.remedy}"


class ConfigError(DagyError):
    """The configuration cannot be used. `problems`: all that were found, never empty."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def shown(key: str, value: object) -> str:
    """`value` as text for people. Redacted when its key, or a key within it, speaks of a password, secret, token or the like.

    Numbers and booleans are no secrets: `token_replay_max_age_s` stays readable.
    """
    text = json.dumps(redacted(key, value), default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def redacted(key: str, value: object) -> object:
    """`value` with what may be secret in it replaced, as in `shown`."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET.search(key):
        return REDACTED
    if isinstance(value, dict):
        return {str(name): redacted(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted("", inner) for inner in value]
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")) and _SECRET.search(value):
        return REDACTED  # JSON that was not understood: its keys cannot be told from its values
    return value


def shown_of_unknown(key: str, value: object) -> str:
    """`value` of something that is no setting: numbers, booleans, names and emptiness only.

    Nobody knows what it is: with its name and its section's both misspelt a token is a text like any other.
    """
    return shown(key, _without_texts(value))


def _without_texts(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _without_texts(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_texts(inner) for inner in value]
    is_plain = isinstance(value, bool | int | float) or value is None or value == ""
    return value if is_plain else REDACTED


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely meant; None when nothing is near."""
    by_lower = {each.lower(): each for each in known}
    matches = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None
