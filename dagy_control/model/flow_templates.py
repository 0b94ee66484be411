"""Templates: the JSON in which a flow's arguments and result are written.

A template is plain JSON in which a one-key object stands for something that is known only at run time.

    {"$task": "extract"}          the result of the task with that key (and an edge from it)
    {"$param": "day"}             the value of the flow's parameter of that name
    {"$tuple": [t, …]}            a tuple, which JSON has not
    {"$dict": [[key, t], …]}      an object of which some key begins with "$"

Everything else means itself. There are no expressions: what needs computing belongs into a task.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dagy_control.errors import Permanent

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"

NESTING_MAX = 64
SCALARS = frozenset({str, int, bool, type(None)})
"""Types whose every value is JSON and refers to nothing; a float may be NaN."""


class FlowSpecError(Permanent):
    """A flow's description cannot be used. The message says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class TaskRef:
    """The result of the task with this key."""

    key: str


@dataclass(frozen=True, slots=True)
class ParamRef:
    """The value of the flow's parameter of this name."""

    name: str


def template_operator(node: Mapping[str, Json]) -> tuple[str, Json] | None:
    """(operator, operand) if this JSON object is one of the module's special forms, None if it means itself.

    Raises `FlowSpecError` for an object with a "$" key that is no known form.
    """
    if not any(key.startswith("$") for key in node):
        return None
    if len(node) == 1:
        ((operator, operand),) = node.items()
        if operator in ("$task", "$param") and isinstance(operand, str):
            return operator, operand
        if operator == "$tuple" and isinstance(operand, list):
            return operator, operand
        if operator == "$dict" and isinstance(operand, list) and all(_is_pair(pair) for pair in operand):
            return operator, operand
    raise FlowSpecError(f"{json.dumps(node)[:200]} is no template; write an object with '$' keys as {{\"$dict\": …}}")


def references(template: Json) -> tuple[TaskRef | ParamRef, ...]:
    """Every reference in a template, in reading order. Raises `FlowSpecError` for an unknown form."""
    found: list[TaskRef | ParamRef] = []
    stack: list[Json] = [template]
    while stack:
        node = stack.pop()
        if node.__class__ in SCALARS:
            continue  # nearly every argument of a large flow
        if isinstance(node, list):
            stack.extend(reversed(node))
        elif isinstance(node, dict):
            match template_operator(node):
                case ("$task", str(key)):
                    found.append(TaskRef(key))
                case ("$param", str(name)):
                    found.append(ParamRef(name))
                case (_, operand):
                    stack.append(operand)
                case None:
                    stack.extend(reversed(node.values()))
    return tuple(found)


def json_problem(value: object) -> str | None:
    """What keeps `value` from being JSON that reads back equal; None when nothing does."""
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        node, depth = stack.pop()
        if node.__class__ in SCALARS and depth <= NESTING_MAX:
            continue
        if depth > NESTING_MAX:
            return f"it is nested deeper than {NESTING_MAX} levels"
        if isinstance(node, float) and not math.isfinite(node):
            return f"{node} is no JSON number"
        if isinstance(node, list):
            stack.extend((item, depth + 1) for item in node)
        elif isinstance(node, dict):
            if odd := [key for key in node if not isinstance(key, str)]:
                return f"the key {odd[0]!r} is not a string"
            stack.extend((item, depth + 1) for item in node.values())
        elif not (node is None or isinstance(node, bool | int | float | str)):
            return f"a {type(node).__name__} is no JSON value"
    return None


def _is_pair(value: Json) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
