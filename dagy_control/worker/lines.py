"""What leaves the worker as text: bounded, without the values that must not be told, and one event one line.

The JSON renderer escapes line ends and everything beyond ASCII; here each text is cut to a bound, with a mark, and the values of
parameters and variables whose names match a pattern are replaced wherever they occur.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from structlog.typing import EventDict

from dagy_control.model.tasks import unsigned

TEXT_MAX_CHARACTERS = 8_000
LINE_MAX_CHARACTERS = 60_000
"""Of all texts of one line together. CloudWatch Logs takes events of 256 KB ("quotas"); escaping may make six bytes of one character."""
SECRET_MIN_CHARACTERS = 6
"""A shorter value ("on", "3") would be found all over the text, and is no secret that anybody keeps."""
TEXTS_MAX = 1_000
REDACTED = "[redacted]"


class Redactor:
    """Replaces the values of names that match a pattern (`*token*`; case does not matter) by `[redacted NAME]`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [pattern.lower() for pattern in patterns]
        self._names: dict[str, str] = {}
        self._expression: re.Pattern[str] | None = None

    def covers(self, name: str) -> bool:
        """Whether the values under this name must not be told."""
        return any(fnmatchcase(name.lower(), pattern) for pattern in self._patterns)

    def learn(self, values: Mapping[str, object]) -> None:
        """Take note of the values to hide, in nested objects too; a hidden name hides all that is below it."""
        for name, value in _leaves(values):
            if self.covers(name) and len(value) >= SECRET_MIN_CHARACTERS and len(self._names) < TEXTS_MAX:
                self._names.setdefault(value, name)
        longest_first = sorted(self._names, key=len, reverse=True)
        self._expression = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """The text without the values that are hidden, and without the signatures of its addresses."""
        text = unsigned(text)
        if self._expression is None:
            return text
        return self._expression.sub(lambda found: f"[redacted {self._names[found.group()]}]", text)

    def hidden(self, values: Mapping[str, object]) -> dict[str, object]:
        """Nested values for people to see: `[redacted]` for all that lies below a hidden name."""
        return {name: REDACTED if self.covers(str(name)) else self._hidden(value) for name, value in values.items()}

    def _hidden(self, value: object) -> object:
        if isinstance(value, Mapping):
            return self.hidden(value)
        if isinstance(value, list | tuple):
            return [self._hidden(each) for each in value]
        return self.text(value) if isinstance(value, str) else value

    def process(self, _: object, __: str, event: EventDict) -> EventDict:
        """A processor of structlog: redacts and bounds every text of a line."""
        room = LINE_MAX_CHARACTERS
        for name, value in event.items():
            if self.covers(name):
                event[name] = REDACTED
                continue
            bounded = self._bounded(value, min(TEXT_MAX_CHARACTERS, room))
            room = max(room - _characters(bounded), 0)
            event[name] = bounded
        return event

    def _bounded(self, value: object, most: int) -> object:
        if isinstance(value, str):
            return cut(self.text(value), most)
        if isinstance(value, Mapping):
            return {
                key: REDACTED if self.covers(str(key)) else self._bounded(each, most) for key, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._bounded(each, max(most // max(len(value), 1), 80)) for each in value[:200]]
        return value


def cut(text: str, most: int) -> str:
    """The text's beginning and end, with a mark between them, when it is longer than `most` characters."""
    if len(text) <= most:
        return str(text)
    mark = f" …[{len(text):,} characters, cut]… "
    head = max((most - len(mark)) // 2, 0)
    tail = max(most - len(mark) - head, 0)
    return text[:head] + mark + text[len(text) - tail :]


def _characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_characters(each) for each in value.values())
    if isinstance(value, list):
        return sum(map(_characters, value))
    return 0


def _leaves(values: Mapping[str, object], under: str = "") -> Iterable[tuple[str, str]]:
    """(name, text) of every text and number; what lies below a name bears it, too."""
    for name, value in values.items():
        path = f"{under}.{name}" if under else str(name)
        yield from _leaf(path, value)


def _leaf(path: str, value: object) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        yield from _leaves({str(key): each for key, each in value.items()}, path)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaf(path, each)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, str(value)
