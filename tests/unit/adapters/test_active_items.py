"""Entries of the `active` index, decoded from an answer of Query."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from dagy_control.adapters.active_items import ACTIVE_PAGE, active_runs
from dagy_control.adapters.attributes import Item
from dagy_control.adapters.run_codec import run_item
from dagy_control.model.runs import ACTIVE, ActiveRun, FailureClass, ResultStatus, RunStatus, StopCause, active_view
from dagy_control.model.tables import ACTIVE_INCLUDED
from tests.builders import NOW, a_run, ago

KEYS: Item = {
    "run_id": {"S": "r1"},
    "active_key": {"S": "ecs#RUNNING#03"},
    "active_since": {"S": "2026-01-01T00:00:00Z"},
}


def read(*items: Any, status: RunStatus = RunStatus.RUNNING) -> list[ActiveRun]:
    body = json.dumps({"Items": items, "Count": len(items), "LastEvaluatedKey": KEYS}).encode()
    answer = ACTIVE_PAGE.decode(body)
    assert answer["LastEvaluatedKey"] == KEYS
    return active_runs(answer["Items"], executor="ecs", status=status)


@pytest.mark.parametrize("status", ACTIVE)
def test_the_projection_of_the_index_is_enough_for_the_active_view(status: RunStatus) -> None:
    run = a_run(
        status,
        org_id="a#b",
        external_id="arn",
        launch_sends=2,
        not_before=ago(1),
        cancel_requested_at=ago(0.123456),
        stop_cause=StopCause.TIMED_OUT,
        result_status=ResultStatus.FAILED,
        result_attempt=1,
        result_class=FailureClass.SHUTDOWN,
    )
    keys = ("run_id", "active_key", "active_since", *ACTIVE_INCLUDED)
    item = {name: value for name, value in run_item(run).items() if name in keys}
    assert read(item, status=status) == [active_view(run)]


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("attempt", {"S": "3"}, 3),
        ("attempt", {"N": "3.0"}, 3),
        ("attempt", {"N": "3E0"}, 3),
        ("cluster", {"N": "7"}, "7"),
        ("started_at", {"S": "2026-01-01T01:00:00+01:00"}, NOW),
        ("started_at", {"S": "2026-01-01T00:00:00"}, NOW),
        ("started_at", {"S": "2026-01-01 00:00:00Z"}, NOW),
        ("started_at", {"N": "1767225600"}, NOW),
        ("started_at", {"N": "1767225600.25"}, datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)),
        ("started_at", {"NULL": True}, None),
        ("stop_cause", {"NULL": True}, None),
    ],
    ids=str,
)
def test_values_are_read_however_people_write_them(name: str, value: Any, meant: Any) -> None:
    (run,) = read({**KEYS, name: value})
    assert getattr(run, name) == meant


def test_an_entry_written_by_hand_has_the_defaults_of_a_record_written_by_hand() -> None:
    (run,) = read({**KEYS, "note": {"M": {}}})
    assert (run.version, run.attempt, run.max_attempts, run.infra_failures, run.org_id) == (0, 1, 1, 0, "")
    assert (run.executor, run.status, run.active_since) == ("ecs", RunStatus.RUNNING, NOW)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("started_at", {"S": "yesterday"}),
        ("started_at", {"BOOL": True}),
        ("attempt", {"N": "1.5"}),
        ("attempt", {"S": "first"}),
        ("attempt", {"L": []}),
        ("stop_cause", {"S": "BOREDOM"}),
    ],
    ids=str,
)
def test_nonsense_is_left_out_and_logged_and_spoils_no_other_entry(name: str, value: Any) -> None:
    entries = [{**KEYS, "run_id": {"S": f"r{number}"}} for number in range(3)]
    entries[1][name] = value
    with capture_logs() as lines:
        runs = read(*entries)
    assert [run.run_id for run in runs] == ["r0", "r2"]
    (line,) = lines
    assert (line["event_type"], line["log_level"]) == ("RUN_UNREADABLE", "error")
    assert line["run_id"] == "r1"
    assert f"{name} holds" in line["problem"]
