"""File and environment as one draft of the settings, not validated yet, that knows the source of each value."""

import copy
from typing import Any

from dagy_control.config.catalogue import settings_by_path
from dagy_control.config.environment import STATE_TABLES, EnvironmentValues, Given
from dagy_control.config.problems import Problem, shown
from dagy_control.config.toml_file import FileValues

Location = tuple[str | int, ...]
"""Where a value stands: names, and indexes within lists."""

DEFAULT = "default"
"""The source of a value that nobody set."""


class Draft:
    """Merged values. `problems`: variables that fit nowhere."""

    def __init__(self, file: FileValues | None, environment: EnvironmentValues) -> None:
        self.problems: list[Problem] = []
        self._file = file or FileValues("", {})
        self._values: dict[str, Any] = copy.deepcopy(dict(self._file.values))
        self._variables: dict[Location, str] = {}
        for path, given in environment.fallbacks.items():
            if not self._file.says(path):
                self._put(path, given)
        for path, given in environment.values.items():
            self._put(path, given)
        for table, given in environment.state_tables.items():
            self._put_state_table(table, given)

    def values(self, *, without: frozenset[tuple[str, ...]] = frozenset()) -> dict[str, Any]:
        """A copy of the values, with the settings or whole sections in `without` left out."""
        values = copy.deepcopy(self._values)
        for path in without:
            if len(path) == 1:
                values.pop(path[0], None)
            elif isinstance(values.get(path[0]), dict):
                values[path[0]].pop(path[1], None)
        return values

    def source(self, location: Location) -> str:
        """The variable, or the place in the file, that says what stands at `location`; `default` when nobody does."""
        for length in range(len(location), 0, -1):
            if location[:length] in self._variables:
                return self._variables[location[:length]]
        return self._file.place(location) if location and self._file.says(location[:1]) else DEFAULT

    def sources(self, path: tuple[str, ...]) -> str:
        """All sources of a setting: of the whole, and of parts that variables set."""
        parts = [name for place, name in self._variables.items() if place[: len(path)] == path and place != path]
        whole = self._variables.get(path) or (self._file.place(path) if self._file.says(path) else DEFAULT)
        return ", ".join([whole, *parts])

    def _put(self, path: tuple[str, ...], given: Given) -> None:
        """Set a value. A section that is no table in the file is left as it is, for validation to refuse."""
        target = self._values if len(path) == 1 else self._values.setdefault(path[0], {})
        if isinstance(target, dict):
            target[path[-1]] = given.value
            self._variables[path] = given.name

    def _put_state_table(self, table: str, given: Given) -> None:
        """Set `table` of the entry of that name; a problem when the file's entries have none of that name."""
        section, key = STATE_TABLES
        target = self._values.setdefault(section, {})
        entries = (
            target.setdefault(key, copy.deepcopy(settings_by_path()[STATE_TABLES].default))
            if isinstance(target, dict)
            else None
        )
        if not isinstance(entries, list):
            return
        for index, entry in enumerate(entries):
            if isinstance(entry, dict) and entry.get("name") == table:
                entry["table"] = given.value
                self._variables[(*STATE_TABLES, index, "table")] = given.name
                return
        reason = f"is for the state table '{table}', but the file's orphans.state_tables have none of that name"
        remedy = f'unset it, or add an entry with name = "{table}"'
        self.problems.append(
            Problem(given.name, "orphans.state_tables", shown(given.name, given.value), reason, remedy)
        )
