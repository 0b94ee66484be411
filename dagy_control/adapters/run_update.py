"""A `RunChange` as one UpdateItem request. Pure."""

from typing import Any

from dagy_control.adapters.attributes import Value, to_value
from dagy_control.adapters.run_codec import RUN_ATTRIBUTES, transition_map
from dagy_control.model.runs import TERMINAL, RunChange, RunStatus, active_key


def update_request(change: RunChange, op_id: str, *, executor: str) -> dict[str, Any]:
    """The request, without the table's name. Raises ValueError for an attribute that no run has: a bug of the caller.

    Only what changes is named, so attributes written by others survive. The condition holds the expected version and, for a
    change of status, that the run is not over: a terminal status set by hand, without a new version, is safe too.
    """
    if unknown := set(change.fields) - set(RUN_ATTRIBUTES):
        raise ValueError(f"a run has no {', '.join(sorted(unknown))}")
    expression = _Expression()
    for name, value in change.fields.items():
        expression.set_or_remove(name, value)
    expression.set_or_remove("version", change.expected_version + 1)
    expression.set_or_remove("op_id", op_id)
    if change.transition is not None:
        expression.append("transitions", transition_map(change.transition))
    condition = _version_condition(expression, change.expected_version)
    if "status" in change.fields:
        status = RunStatus(change.fields["status"])
        key = None if status.is_terminal else active_key(executor, status, change.run_id)
        expression.set_or_remove("active_key", key)
        over = ", ".join(expression.value(each) for each in sorted(TERMINAL))
        condition += f" AND NOT {expression.name('status')} IN ({over})"
    return {
        "Key": {"run_id": to_value(change.run_id)},
        "UpdateExpression": expression.text(),
        "ConditionExpression": condition,
        "ExpressionAttributeNames": expression.names,
        "ExpressionAttributeValues": expression.values,
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _version_condition(expression: "_Expression", expected: int) -> str:
    same = f"{expression.name('version')} = {expression.value(expected)}"
    if expected > 0:
        return same
    # A record written by hand has no version, which we read as 0; the update must still not create a run.
    return f"attribute_exists(run_id) AND (attribute_not_exists({expression.name('version')}) OR {same})"


class _Expression:
    """An update expression in the making. Every name is a placeholder: many of ours are reserved words (status, priority)."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, Value] = {}
        self._sets: list[str] = []
        self._removes: list[str] = []

    def name(self, attribute: str) -> str:
        """The attribute's placeholder."""
        self.names[f"#{attribute}"] = attribute
        return f"#{attribute}"

    def value(self, value: object) -> str:
        """A placeholder for the value."""
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = to_value(value)
        return placeholder

    def set_or_remove(self, attribute: str, value: object) -> None:
        """Set the attribute, or remove it when the value is None."""
        if value is None:
            self._removes.append(self.name(attribute))
        else:
            self._sets.append(f"{self.name(attribute)} = {self.value(value)}")

    def append(self, attribute: str, value: object) -> None:
        """Append to a list, which may not be there yet."""
        name = self.name(attribute)
        self._sets.append(f"{name} = list_append(if_not_exists({name}, {self.value([])}), {self.value([value])})")

    def text(self) -> str:
        """The update expression."""
        removes = f" REMOVE {', '.join(self._removes)}" if self._removes else ""
        return f"SET {', '.join(self._sets)}{removes}"
