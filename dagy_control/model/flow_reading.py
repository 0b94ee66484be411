"""Reading JSON strictly: every field taken by name and type, and whatever is left over refused."""

import json
from collections.abc import Iterable
from typing import TypeVar

from dagy_control.model.flow_templates import FlowSpecError, Json

T = TypeVar("T")


class StrictFields:
    """Takes typed fields out of one JSON object, so that nothing in it is silently ignored.

    `where` begins every message. Every method raises `FlowSpecError` for what does not fit.
    """

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise FlowSpecError(f"{where}: an object was expected, not {_shown(value)}")
        self._left = dict(value)
        self._where = where

    def has(self, name: str) -> bool:
        """The field is there and was not taken yet."""
        return name in self._left

    def holds(self, name: str, kind: type) -> bool:
        """The field is there, not taken yet, and of this type."""
        return isinstance(self._left.get(name), kind)

    def take_known(self, names: Iterable[str]) -> dict[str, Json]:
        """Those of these fields that are there."""
        return {name: self._left.pop(name) for name in names if name in self._left}

    def take_json(self, name: str) -> Json:
        """Any JSON."""
        if name not in self._left:
            raise FlowSpecError(f"{self._where}: the field {name!r} is missing; build the artifact again")
        return self._left.pop(name)

    def take(self, name: str, kind: type[T]) -> T:
        """A value of this type; true and false are no numbers."""
        value = self.take_json(name)
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        raise FlowSpecError(f"{self._where}: {name} must be a {kind.__name__}, not {_shown(value)}")

    def take_or_none(self, name: str, kind: type[T]) -> T | None:
        """A value of this type, or null."""
        if self.has(name) and self._left[name] is None:
            self._left.pop(name)
            return None
        return self.take(name, kind)

    def take_seconds(self, name: str) -> float:
        """A number, whole or not."""
        return float(self.take(name, int)) if isinstance(self._left.get(name), int) else self.take(name, float)

    def take_seconds_or_none(self, name: str) -> float | None:
        """A number, whole or not, or null."""
        if self.has(name) and self._left[name] is None:
            return self.take_or_none(name, float)
        return self.take_seconds(name)

    def take_list_of_seconds(self, name: str) -> list[float]:
        """A list of numbers, whole or not."""
        items = self.take(name, list)
        return [StrictFields({name: item}, self._where).take_seconds(name) for item in items]

    def take_texts(self, name: str) -> list[str]:
        """A list of texts."""
        items = self.take(name, list)
        return [StrictFields({name: item}, self._where).take(name, str) for item in items]

    def refuse_the_rest(self) -> None:
        """Call last: a field that nobody took is an error."""
        if self._left:
            name = sorted(self._left)[0]
            raise FlowSpecError(f"{self._where}: unknown field {name!r}; was it written by a newer version?")


def _shown(value: Json) -> str:
    return json.dumps(value)[:80]
