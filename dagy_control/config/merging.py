"""File and environment as one draft of the settings, not validated yet, that knows the source of each value."""

import contextlib
import copy
from typing import Any

from dagy_control.config.catalogue import settings_by_path
from dagy_control.config.environment import STATE_TABLES, EnvironmentValues, Given, parsed
from dagy_control.config.problems import Problem, shown
from dagy_control.config.references import References, Resolved, Unresolved, find_references, parse_reference
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
        self._hidden: dict[Location, str] = {}
        for path, given in environment.fallbacks.items():
            if not self._file.says(path):
                self._put(path, given)
        for path, given in environment.values.items():
            self._put(path, given)
        for table, given in environment.state_tables.items():
            self._put_state_table(table, given)

    def references(self) -> References:
        """Every reference among the values, each once. Misspelt ones are left out: `resolve` tells of them.

        They stand in the region that the values say, unless it is a reference itself.
        """
        texts = dict(find_references(self._values))
        found = set()
        for text in texts.values():
            with contextlib.suppress(ValueError):
                found.add(parse_reference(text))
        aws = self._values.get("aws")
        region = aws.get("region") if isinstance(aws, dict) and ("aws", "region") not in texts else None
        return References(
            tuple(sorted(reference for reference in found if reference is not None)),
            region.strip() or None if isinstance(region, str) else None,
        )

    def resolve(self, resolved: Resolved) -> None:
        """Put what the references stand for into their places; a problem for each that stands for nothing."""
        for location, text in tuple(find_references(self._values)):
            self._hidden[location] = text
            try:
                parse_reference(text)
            except ValueError as error:
                self._refuse(location, text, str(error), "mend it, or give the value itself")
                continue
            value = resolved.get(text, Unresolved("was not looked up"))
            if isinstance(value, Unresolved):
                self._refuse(
                    location, text, f"cannot be resolved: {value.reason}", "create it, or give the value itself"
                )
                continue
            setting = settings_by_path().get(tuple(str(part) for part in location[:2]))
            is_whole = setting is not None and len(location) == len(setting.path)
            self._replace(location, parsed(setting, value) if setting is not None and is_whole else value)

    def reference(self, location: Location) -> str | None:
        """The reference that gave the value at `location`, or a part of it or the whole that it is part of; None when none did."""
        for place, text in self._hidden.items():
            shared = min(len(place), len(location))
            if place[:shared] == location[:shared]:
                return text
        return None

    def resolved_whole(self, location: Location) -> Location:
        """Where the reference stands that gave the value at `location` and all around it; `location` itself when none did."""
        return next((place for place in self._hidden if location[: len(place)] == place), location)

    def _refuse(self, location: Location, text: str, reason: str, remedy: str) -> None:
        key = ".".join(str(part) for part in location)
        self.problems.append(Problem(self.source(location), key, text, reason, remedy))
        self._replace(location, None)

    def _replace(self, location: Location, value: object) -> None:
        """Set what stands at a location; None takes it out, so that its default is validated instead."""
        target: Any = self._values
        for part in location[:-1]:
            target = target[part]
        if value is None and isinstance(target, dict):
            del target[location[-1]]
        else:
            target[location[-1]] = value

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
