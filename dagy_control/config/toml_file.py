"""The file's part of the configuration: TOML text as data, and on which line each key stands."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dagy_control.config.bounds import find_excess
from dagy_control.config.problems import ConfigError, Problem

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"^\s*([\w.\-\"']+)\s*=")
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True, slots=True)
class FileValues:
    """A parsed file. `name`: as people know it. `lines`: from a key's path to the line that it stands on, where known."""

    name: str
    values: Mapping[str, object]
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)

    def says(self, path: tuple[str | int, ...]) -> bool:
        """Whether the file itself holds something at `path`."""
        value: object = self.values
        for part in path:
            if not isinstance(value, Mapping) or part not in value:
                return False
            value = value[part]
        return True

    def place(self, path: tuple[str | int, ...]) -> str:
        """The file's name, with the line of the key or of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name


@dataclass(frozen=True, slots=True)
class ConfigText:
    """The bytes of a configuration file, as read at one moment. `name`: as people know it."""

    name: str
    data: bytes


def read_bytes(path: Path) -> ConfigText:
    """The file at `path` as it is now. Raises `ConfigError` when it cannot be read."""
    try:
        return ConfigText(str(path), path.read_bytes())
    except FileNotFoundError:
        raise _unusable(str(path), "does not exist", "give the path of a configuration file, or none at all") from None
    except OSError as error:
        raise _unusable(
            str(path), f"cannot be read: {error.strerror}", "make it a file that this user may read"
        ) from None


def parse_bytes(config: ConfigText) -> FileValues:
    """The parsed file. Raises `ConfigError` when it is not UTF-8 text, blank, or no TOML that can be worked with.

    Blank is what an editor or a failed upload leaves for a moment. It would be valid TOML, and mean every default.
    """
    try:
        text = config.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unusable(config.name, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    if not text.strip():
        raise _unusable(config.name, "is empty", "restore it; a file of comments only means every default")
    return parse_toml(text, name=config.name)


def parse_toml(text: str, *, name: str) -> FileValues:
    """The parsed text. Raises `ConfigError` with line and column when it is no TOML, and when it is beyond all bounds."""
    try:
        file = FileValues(name, tomllib.loads(text), _lines(text))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        last = text.splitlines() or [""]
        line, column = place.groups() if place else (len(last), len(last[-1]) + 1)
        reason = f"is not valid TOML: {message.split(' (at ')[0]}"
        raise _unusable(
            f"{name}:{line}:{column}", reason, "mend the syntax there; texts need quotes, true and false do not"
        ) from None
    except ValueError:  # of Python's own: more digits than it makes a number of
        raise _unusable(name, "holds a number that is too long to be read", "give a shorter one") from None
    except RecursionError:
        raise _unusable(name, "is nested too deeply to be read", "take the brackets or dots out") from None
    if excess := find_excess(file.values):
        at, reason = excess
        raise ConfigError(
            (Problem(file.place(at), ".".join(map(str, at)), None, reason, "give what the setting takes"),)
        )
    return file


def _unusable(source: str, reason: str, remedy: str) -> ConfigError:
    return ConfigError((Problem(source, "", None, reason, remedy),))


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of each header and key. Good for files as people write them; an odd one only loses its line numbers."""
    lines: dict[tuple[str | int, ...], int] = {}
    entries: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                entries[table] = entries.get(table, -1) + 1
                lines.setdefault(table, number)
                table = (*table, entries[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def _parts(dotted: str) -> tuple[str | int, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
