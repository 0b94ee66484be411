"""As much of CloudWatch Logs Insights' language as the runbook's queries use, over JSON lines.

`fields`, `filter` (=, like /…/, ispresent), `stats` (count, avg, max, pct, by), `sort`, `limit`. Fields of a JSON line are its keys; a line
that lacks a field has no value for it ("CloudWatch Logs Insights language query syntax", Amazon CloudWatch Logs User Guide).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

Line = dict[str, Any]

_CALL = re.compile(r"(count|avg|max|pct)\(([^)]*)\)")


def query(text: str, lines: Sequence[Line]) -> list[Line]:
    """What the query answers."""
    rows = [{**line, "@timestamp": line.get("timestamp"), "@message": line} for line in lines]
    shown: list[str] = []
    for command in (part.strip() for part in re.split(r"\s\|\s", text.strip())):
        word, _, rest = command.partition(" ")
        match word:
            case "fields":
                shown = [name.strip() for name in rest.split(",")]
            case "filter":
                rows = [row for row in rows if _condition(rest)(row)]
            case "stats":
                rows, shown = _stats(rest, rows), []
            case "sort":
                name, _, order = rest.partition(" ")
                rows = sorted((row for row in rows if name in row), key=lambda row: row[name], reverse=order == "desc")
            case "limit":
                rows = rows[: int(rest)]
            case _:
                raise ValueError(f"no such command here: {command}")
    return [{name: row[name] for name in shown if name in row} for row in rows] if shown else rows


def _condition(text: str) -> Callable[[Line], bool]:
    if match := re.fullmatch(r'(\w+) = "([^"]*)"', text):
        name, value = match.groups()
        return lambda row: row.get(name) == value
    if match := re.fullmatch(r"(\w+) like /(.*)/", text):
        name, pattern = match.groups()
        return lambda row: isinstance(row.get(name), str) and re.search(pattern, row[name]) is not None
    if match := re.fullmatch(r"ispresent\((\w+)\)", text):
        (name,) = match.groups()
        return lambda row: row.get(name) is not None
    raise ValueError(f"no such condition here: {text}")


def _stats(text: str, rows: list[Line]) -> list[Line]:
    calls, _, by = text.partition(" by ")
    groups: defaultdict[Any, list[Line]] = defaultdict(list)
    for row in rows:
        groups[row.get(by.strip())].append(row)
    return [
        {by.strip(): key, **{match.group(): _aggregate(*match.groups(), rows=group) for match in _CALL.finditer(calls)}}
        for key, group in groups.items()
    ]


def _aggregate(function: str, argument: str, *, rows: list[Line]) -> float:
    name, _, rank = argument.partition(",")
    values = sorted(float(row[name.strip()]) for row in rows if row.get(name.strip()) is not None) if name else []
    match function:
        case "count":
            return len(rows)
        case "avg":
            return sum(values) / len(values)
        case "max":
            return values[-1]
        case _:
            return values[min(int(len(values) * float(rank) / 100), len(values) - 1)]
