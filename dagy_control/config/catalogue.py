"""Every setting as data: name, kind, range, default, meaning. Read from the schema of `Settings`, so that it cannot drift.

The loader takes names and kinds from it, the example file and the reference their text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from dagy_control.config.fields import SAFE_MINIMUM
from dagy_control.config.settings import Settings

SEPARATOR = str(Settings.model_config.get("env_nested_delimiter"))
PREFIX = str(Settings.model_config.get("env_prefix"))


class Kind(StrEnum):
    """What a value is, in words for people."""

    FLAG = "true or false"
    COUNT = "a whole number"
    NUMBER = "a number"
    TEXT = "text"
    LIST = "a list of texts"
    TABLE = "a table"
    TABLES = "a list of tables"


_KINDS = {"boolean": Kind.FLAG, "integer": Kind.COUNT, "number": Kind.NUMBER, "string": Kind.TEXT, "object": Kind.TABLE}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `path`: section and name, or the name alone at the root. `default` and `example` are plain JSON data.

    `required`: no default (only inside a table). `limits`: the range in words, empty if any value will do. `members`: the
    fields of a table's entries.
    """

    path: tuple[str, ...]
    kind: Kind
    description: str
    default: Any
    example: Any
    limits: str
    required: bool
    restart: bool
    safe_minimum: int | None
    members: tuple["Setting", ...]

    @property
    def key(self) -> str:
        """The dotted name."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + SEPARATOR.join(self.path).upper()


@dataclass(frozen=True, slots=True)
class Group:
    """A section of the file. `name` is empty for the root."""

    name: str
    description: str
    settings: tuple[Setting, ...]


@cache
def groups() -> tuple[Group, ...]:
    """The root and every section, in the file's order."""
    schema = Settings.model_json_schema()
    definitions: Mapping[str, Any] = schema["$defs"]
    root, sections = [], []
    for name, field in schema["properties"].items():
        if "$ref" not in field:
            root.append(_setting((name,), field, definitions))
            continue
        section = definitions[_referred(field)]
        settings = tuple(_setting((name, inner), each, definitions) for inner, each in section["properties"].items())
        sections.append(Group(name, section["description"], settings))
    return (Group("", "The service as a whole.", tuple(root)), *sections)


@cache
def settings_by_path() -> Mapping[tuple[str, ...], Setting]:
    """Every setting by its path."""
    return {setting.path: setting for group in groups() for setting in group.settings}


def _referred(field: Mapping[str, Any]) -> str:
    return str(field["$ref"]).removeprefix("#/$defs/")


def _setting(
    path: tuple[str, ...], field: Mapping[str, Any], definitions: Mapping[str, Any], *, required: bool = False
) -> Setting:
    value = next((choice for choice in field.get("anyOf", ()) if choice["type"] != "null"), field)
    named: Mapping[str, Any] = value.get("patternProperties", {})
    entry: Mapping[str, Any] = value.get("items") or next(iter(named.values()), {})
    members: tuple[Setting, ...] = ()
    if "$ref" in entry:
        table = definitions[_referred(entry)]
        needed = table.get("required", ())
        members = tuple(
            _setting((name,), each, definitions, required=name in needed) for name, each in table["properties"].items()
        )
    kind = _KINDS.get(value["type"]) or (Kind.TABLES if members else Kind.LIST)
    return Setting(
        path=path,
        kind=kind,
        description=field["description"],
        default=field.get("default"),
        example=next(iter(field.get("examples", ())), None),
        limits=_limits(value),
        required=required,
        restart=bool(field.get("restart")),
        safe_minimum=field.get(SAFE_MINIMUM),
        members=members,
    )


def _plain(number: float) -> str:
    """`31536000`, not `3.1536e+07`."""
    return f"{number:.0f}" if number == int(number) else f"{number:g}"


def _limits(value: Mapping[str, Any]) -> str:
    """The range of a value in words: `1 to 110`, `above 0, 60 at most`, `one of json, console`."""
    if "enum" in value:
        return f"one of {', '.join(value['enum'])}"
    if "minimum" in value and "maximum" in value:
        return f"{_plain(value['minimum'])} to {_plain(value['maximum'])}"
    parts = []
    if "exclusiveMinimum" in value:
        parts.append(f"above {_plain(value['exclusiveMinimum'])}")
    if "minimum" in value:
        parts.append(f"{_plain(value['minimum'])} at least")
    if "maximum" in value:
        parts.append(f"{_plain(value['maximum'])} at most")
    if "maxItems" in value:
        parts.append(f"{value['maxItems']} at most")
    if "patternProperties" in value:
        parts.append(f"with names matching {next(iter(value['patternProperties']))}")
    pattern = value.get("pattern") or value.get("items", {}).get("pattern")
    if pattern:
        parts.append(f"matching {pattern}")
    return ", ".join(parts)
