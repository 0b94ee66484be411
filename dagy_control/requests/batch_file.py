"""A batch of orders as text: one JSON array, or JSON lines. Pure."""

import json

from dagy_control.model.flow_templates import Json
from dagy_control.requests.refusals import RequestRefused

BATCH_FILE_MAX_BYTES = 64 * 1024 * 1024


def read_batch(content: bytes) -> list[Json]:
    """The orders, unjudged, in the order of the text; blank lines between JSON lines do not count.

    Raises `RequestRefused`, with the line, for what is no JSON: then nobody can say which orders were meant.
    """
    if len(content) > BATCH_FILE_MAX_BYTES:
        raise _refused(f"the batch has over {BATCH_FILE_MAX_BYTES:,} bytes; pass references to files in its parameters")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _refused(f"line {line}: it is not UTF-8") from error
    if text.lstrip().startswith("["):
        items = _parsed(text, 1)
        if isinstance(items, list):
            return items
    return [_parsed(line, number) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _parsed(text: str, first_line: int) -> Json:
    try:
        value: Json = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise _refused(
            f"line {line}, column {error.colno}: {error.msg}; a batch is one JSON array, or one JSON object a line"
        ) from error
    except _Repeated as error:
        raise _refused(f"{_place(text, first_line)}: {error}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of too many digits
        raise _refused(f"{_place(text, first_line)}: it cannot be read: {error}") from error
    return value


class _Repeated(Exception):
    """A name stands twice in one object: either value could be meant."""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Repeated(f"the name {twice!r} stands twice in one object; give it once")
    return found


def _place(text: str, first_line: int) -> str:
    lines = text.rstrip().count("\n")
    return f"lines {first_line} to {first_line + lines}" if lines else f"line {first_line}"


def _refused(message: str) -> RequestRefused:
    return RequestRefused("batch", message)
