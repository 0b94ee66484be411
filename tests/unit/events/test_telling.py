"""What may be shown of a message of the task-state queue."""

import json
from typing import Any

import pytest

from dagy_control.events.telling import without_values

CANARY = "canary-7f3a91"
VARIABLE = {"name": "DB_PASSWORD", "value": CANARY}
OVERRIDES = {"containerOverrides": [{"name": "dagy-worker", "environment": [VARIABLE]}]}
EVENT = {"detail-type": "ECS Task State Change", "detail": {"lastStatus": "STOPPED", "overrides": OVERRIDES}}


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        pytest.param(json.dumps(EVENT), "DB_PASSWORD", id="an event"),
        pytest.param(json.dumps({"Message": json.dumps(EVENT)}), "DB_PASSWORD", id="wrapped as text"),
        pytest.param(json.dumps([{"a": {"b": json.dumps({"c": json.dumps(EVENT)})}}]), "STOPPED", id="wrapped twice"),
        pytest.param(json.dumps(EVENT)[:-3], "STOPPED", id="cut off"),
        pytest.param(json.dumps({"Message": json.dumps(EVENT)[:-3]}), "Message", id="cut off within its wrapper"),
        pytest.param(json.dumps({"environment": {"DB_PASSWORD": CANARY}}), "environment", id="a map"),
        pytest.param(json.dumps({"environment": [CANARY]}), "environment", id="a list of texts"),
        pytest.param(json.dumps({"environment": CANARY}), "environment", id="a text"),
        pytest.param("[" * 100_000 + f"environment {CANARY}", "[[[", id="too deep to be read"),
        pytest.param(
            json.dumps({"stoppedReason": f"CannotPull: https://host/layer?X-Amz-Signature={CANARY}: 403"}),
            "CannotPull: https://host/layer?",
            id="a signed address",
        ),
    ],
)
def test_no_value_of_a_variable_is_shown_however_the_event_is_wrapped(body: str, kept: str) -> None:
    shown = without_values(body)
    assert CANARY not in shown
    assert kept in shown


@pytest.mark.parametrize(
    "message", [{"detail": {"version": 3, "group": None, "tags": ["é"]}}, [], "hello", 7], ids=json.dumps
)
def test_what_has_no_environment_is_shown_as_it_came(message: Any) -> None:
    assert json.loads(without_values(json.dumps(message))) == message


def test_what_is_no_json_is_shown_as_it_came() -> None:
    assert without_values("every word of it") == "every word of it"
