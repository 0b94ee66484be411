"""DynamoDB attribute values: plain Python to {"S": …} and back, and typed readers that take what people write by hand.

Times are ISO 8601 in UTC with offset and six digits of a second, so that they sort as text.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from math import isfinite
from typing import Any, TypeAlias, TypeVar

from dagy_control.errors import Permanent

Value: TypeAlias = dict[str, Any]
Item: TypeAlias = dict[str, Value]
E = TypeVar("E", bound=StrEnum)


class UnreadableRecord(Permanent):
    """A record that holds something that cannot be understood. `key` names the record; the message says what and where."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"record {key}: {problem}", code="UnreadableRecord")
        self.key = key


def to_value(value: object) -> Value:
    """Plain data as an attribute value. Raises `Permanent` for what DynamoDB cannot hold."""
    write = _WRITERS.get(type(value))
    return _to_value(value) if write is None else write(value)


def _to_value(value: object) -> Value:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": str(value)}
        case int() | Decimal():
            return {"N": str(value)}
        case float() if isfinite(value):
            return {"N": repr(value)}
        case datetime():
            return {"S": iso(value)}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": {str(key): to_value(each) for key, each in value.items()}}
        case Sequence():
            return {"L": [to_value(each) for each in value]}
        case _:
            raise Permanent(f"DynamoDB cannot hold {value!r}", code="Unstorable")


_WRITERS: Mapping[type, Callable[[Any], Value]] = {
    str: lambda value: {"S": value},
    int: lambda value: {"N": str(value)},
    dict: lambda value: {"M": {str(key): to_value(each) for key, each in value.items()}},
    list: lambda value: {"L": [to_value(each) for each in value]},
}
"""The most of what is written: told by its type alone, in a fifth of the time that a match takes."""


def to_plain(value: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a table may hold anything
    """An attribute value as plain data: numbers as int or float, sets as sorted lists."""
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return _number(content)
        case "M":
            return {key: to_plain(each) for key, each in content.items()}
        case "L":
            return [to_plain(each) for each in content]
        case "NS":
            return sorted(map(_number, content))
        case "SS" | "BS":
            return sorted(content)
        case "NULL":
            return None
        case _:
            return content


def _number(text: str) -> int | float:
    if text.isdecimal():
        return int(text)
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(number)


def iso(moment: datetime) -> str:
    """`2026-01-02T03:04:05.000000+00:00`, always that wide."""
    if moment.tzinfo is None:
        raise Permanent(f"a time without a time zone cannot be stored: {moment}", code="Unstorable")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def read_text(value: Value) -> str:
    """A string; a number as its text."""
    text: str = value["S"] if "S" in value else value["N"]
    return text


def read_whole(value: Value) -> int:
    """A whole number, also when written as a string or as 3.0."""
    text = value["N"] if "N" in value else value["S"]
    if text.isdecimal():
        return int(text)
    number = Decimal(text)
    if number != number.to_integral_value():
        raise ValueError(f"{number} is not a whole number")
    return int(number)


def read_fraction(value: Value) -> float:
    """A number, also when written as a string."""
    return float(value["N"] if "N" in value else value["S"])


def read_moment(value: Value) -> datetime:
    """ISO 8601 (UTC when it names no zone), or a number: epoch seconds."""
    if "N" in value:
        return datetime.fromtimestamp(float(value["N"]), UTC)
    return in_utc(datetime.fromisoformat(value["S"]))


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is UTC."""
    if moment.tzinfo is UTC:
        return moment
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_map(value: Value) -> dict[str, Any]:
    """A map as plain data."""
    return {key: to_plain(each) for key, each in value["M"].items()}


def read_texts(value: Value) -> tuple[str, ...]:
    """A list of strings; a set in the order of the alphabet."""
    return tuple(sorted(value["SS"])) if "SS" in value else tuple(read_text(each) for each in value["L"])


def read_enum(kind: type[E]) -> Callable[[Value], E]:
    """A reader of one closed set of names."""

    def read(value: Value) -> E:
        return kind(read_text(value))

    return read


Reader: TypeAlias = Callable[[Value], Any]

UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, InvalidOperation, OverflowError)
"""What a reader raises for a value of another form."""


def read_attributes(
    item: Item, readers: Mapping[str, Reader], *, key: str, needed: Collection[str] = ()
) -> dict[str, Any]:
    """The attributes that are there, read; absent and NULL ones are left out, unknown ones ignored.

    Raises `UnreadableRecord`, naming record and attribute, for a value that its reader does not understand, and if one of those
    needed is not there.
    """
    values: dict[str, Any] = {}
    for name, reader in readers.items():
        value = item.get(name)
        if value is None or "NULL" in value:
            continue
        try:
            values[name] = reader(value)
        except UNREADABLE as error:
            raise UnreadableRecord(key, f"{name} holds {str(value)[:120]}: {type(error).__name__}: {error}") from error
    if missing := [name for name in needed if name not in values]:
        raise UnreadableRecord(key, f"it has no {', '.join(missing)}")
    return values


def to_item(values: Mapping[str, Any]) -> Item:
    """An item of the values that are not None."""
    return {name: to_value(value) for name, value in values.items() if value is not None}


ITEM_MAX_BYTES = 400 * 1024
"""DynamoDB's limit of an item, names included (Developer Guide, "Quotas": 400 KB)."""


def check_size(item: Item, *, key: str) -> None:
    """Raises `Permanent` when the item is certainly too large, naming its largest attribute."""
    sizes = {name: len(name.encode()) + _size(value) for name, value in item.items()}
    total = sum(sizes.values())
    if total > ITEM_MAX_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise Permanent(
            f"record {key} would have {total} bytes, more than the {ITEM_MAX_BYTES} that DynamoDB allows; "
            f"its largest attribute is {largest} with {sizes[largest]}",
            code="ItemTooLarge",
        )


def _size(value: Value) -> int:
    """Bytes as DynamoDB counts them, never more (Developer Guide, "DynamoDB item sizes and formats")."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return (len(content.strip("-0.")) + 1) // 2 + 1
        case "M":
            return 3 + sum(len(key.encode()) + _size(each) + 1 for key, each in content.items())
        case "L":
            return 3 + sum(_size(each) + 1 for each in content)
        case "B":
            return len(content)
        case _:
            return 1
