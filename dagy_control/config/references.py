"""Values that stand elsewhere: `ssm:/path` and `secret:id#key` in the place of a value. Pure: what they stand for is handed in.

A reference may stand for a whole setting, in the file or in a variable: what it stands for is then read as a variable's text is,
`a,b` for a list, JSON for a table. Within a list or a table it stands for one text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

_FORM = re.compile(r"^(?P<store>ssm|secret):(?P<name>[^#\s,]*)(?:#(?P<key>.+))?$")

Location = tuple[str | int, ...]


class Store(StrEnum):
    """Where a value stands: SSM Parameter Store, or Secrets Manager."""

    SSM = "ssm"
    SECRET = "secret"  # noqa: S105 - the word that begins a reference


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """`text`: as the configuration says it. `name`: of the parameter or secret. `key`: a key of a secret that is a JSON object."""

    text: str
    store: Store
    name: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A reference that stands for nothing that could be had: `reason`, as a sentence without the reference itself.

    `passing`: only now; nothing is known to be wrong with it.
    """

    reason: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class References:
    """Those of a configuration, each once. `region`: where they stand; None: where AWS's own chain (a profile) says."""

    each: tuple[Reference, ...] = ()
    region: str | None = None


Resolved = Mapping[str, str | Unresolved]
"""What references stand for, by their text."""


def parse_reference(value: object) -> Reference | None:
    """The reference that a value is; None for an ordinary one. Raises ValueError, saying what is wrong, for a misspelt one."""
    if not isinstance(value, str) or not value.startswith(tuple(f"{store}:" for store in Store)):
        return None
    match = _FORM.match(value)
    if match is None or not match["name"]:
        raise ValueError("is no reference that can be read; write ssm:/path or secret:id or secret:id#key")
    store = Store(match["store"])
    if store is Store.SSM and match["key"]:
        raise ValueError("names a key, which only secrets have; write ssm:/path")
    return Reference(value, store, match["name"], match["key"] or "")


def find_references(values: object, at: Location = ()) -> Iterator[tuple[Location, str]]:
    """Every text in `values`, at any depth, that begins like a reference, with its place."""
    if isinstance(values, Mapping):
        for name, inner in values.items():
            yield from find_references(inner, (*at, str(name)))
    elif isinstance(values, list | tuple):
        for index, inner in enumerate(values):
            yield from find_references(inner, (*at, index))
    elif isinstance(values, str) and values.startswith(tuple(f"{store}:" for store in Store)):
        yield at, values
