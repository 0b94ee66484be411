"""IAM's evaluation of identity policies, as far as our statements go: actions, resources, conditions, explicit denials.

Source: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements: Condition". What it does not know it refuses, so that a new
kind of statement cannot be taken for a permission that it is not.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]

KNOWN_ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}
OPERATORS = {
    "StringEquals": lambda wanted, given: given == wanted,
    "StringLike": lambda wanted, given: _like(wanted, given),
    "ArnEquals": lambda wanted, given: _arn_like(
        wanted, given
    ),  # both take wildcards ("ArnLike and ArnEquals behave identically")
    "ArnLike": lambda wanted, given: _arn_like(wanted, given),
    "Bool": lambda wanted, given: str(wanted).lower() == str(given).lower(),
}


@dataclass(frozen=True, slots=True)
class Access:
    """One permission that a call needs. `context`: the condition keys that AWS fills in for it."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """For people."""
        told = "".join(f" {name}={value}" for name, value in sorted(self.context.items()))
        return f"{self.action} on {self.resource}{told}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is permitted, and by which statement; without one nobody said anything of it."""

    allowed: bool
    sid: str = ""


class UnknownElement(ValueError):
    """A statement that this evaluator does not understand."""


def decide(statements: Iterable[Statement], access: Access) -> Decision:
    """A denial that applies goes before every permission that applies; what nothing applies to is denied."""
    allowed = Decision(allowed=False)
    for statement in statements:
        if not _applies(statement, access):
            continue
        sid = str(statement.get("Sid", "?"))
        if statement["Effect"] == "Deny":
            return Decision(allowed=False, sid=sid)
        allowed = allowed if allowed.allowed else Decision(allowed=True, sid=sid)
    return allowed


def _applies(statement: Statement, access: Access) -> bool:
    if unknown := set(statement) - KNOWN_ELEMENTS:
        raise UnknownElement(f"{statement.get('Sid')}: {sorted(unknown)}")
    if statement["Effect"] not in ("Allow", "Deny"):
        raise UnknownElement(f"{statement.get('Sid')}: the effect {statement['Effect']!r}")
    actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
    conditions: Mapping[str, Mapping[str, Any]] = statement.get("Condition", {})
    return (
        any(_like(action.lower(), access.action.lower()) for action in actions)
        and any(_arn_like(resource, access.resource) for resource in resources)
        and all(_holds(operator, keys, access.context) for operator, keys in conditions.items())
    )


def _holds(operator: str, keys: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """Every key of the operator must match one of its values; a key that the request has not matches nothing."""
    if operator not in OPERATORS:
        raise UnknownElement(f"the condition operator {operator!r}")
    given = {name.lower(): value for name, value in context.items()}
    return all(
        name.lower() in given and any(OPERATORS[operator](wanted, given[name.lower()]) for wanted in _listed(values))
        for name, values in keys.items()
    )


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str | bool) else value


def _like(pattern: str, text: str) -> bool:
    """`*` and `?`, and nothing else: a bracket is a bracket."""
    return re.fullmatch(fnmatch.translate(re.sub(r"\[", "[[]", pattern)), text) is not None


def _arn_like(pattern: str, arn: str) -> bool:
    """Part by part: a `*` in one of the first five parts of an ARN matches no colon ("ARN condition operators")."""
    if pattern == "*":
        return True
    wanted, given = pattern.split(":", 5), arn.split(":", 5)
    return len(wanted) == len(given) and all(_like(*pair) for pair in zip(wanted, given, strict=True))
