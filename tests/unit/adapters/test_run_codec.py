"""Items of DAGY_RUNS to runs and back, and the tolerance that records written by hand need."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagy_control.adapters.attributes import UnreadableRecord, iso, read_moment, to_plain, to_value
from dagy_control.adapters.run_codec import EPOCH, read_run, run_item
from dagy_control.adapters.run_update import update_request
from dagy_control.errors import Permanent
from dagy_control.model.runs import TERMINAL, RunChange, RunStatus
from dagy_control.model.tables import PROJECTED_MAX, TABLES
from tests.builders import NOW, a_run, ago

MINIMAL: dict[str, Any] = {"run_id": {"S": "r1"}, "status": {"S": "RUNNING"}}

plain = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(10**30), 10**30) | st.floats(-1e15, 1e15),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_data_survives_the_attribute_values(value: Any) -> None:
    assert to_plain(to_value(value)) == value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), datetime(2026, 1, 1)],  # noqa: DTZ001 - a naive time is the case
    ids=["NaN", "infinity", "an object", "a naive time"],
)
def test_what_dynamodb_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(Permanent) as refused:
        to_value(value)
    assert refused.value.code == "Unstorable"


moments = st.datetimes(datetime(1900, 1, 2), datetime(9000, 1, 1), timezones=st.timezones())  # noqa: DTZ001 - the zone is drawn


@given(moments, moments)
def test_times_sort_as_text_and_come_back_the_same(one: datetime, other: datetime) -> None:
    assert read_moment({"S": iso(one)}) == one.astimezone(UTC)
    assert (iso(one) < iso(other)) == (one.astimezone(UTC) < other.astimezone(UTC))


@pytest.mark.parametrize(
    "value",
    [
        {"S": "2026-01-01T00:00:00Z"},
        {"S": "2026-01-01T00:00:00"},
        {"S": "2026-01-01T01:00:00+01:00"},
        {"N": "1767225600"},
        {"N": "1767225600.0"},
    ],
    ids=str,
)
def test_a_time_is_read_however_people_write_it(value: Any) -> None:
    assert read_run({**MINIMAL, "started_at": value}).started_at == NOW


def test_a_record_with_next_to_nothing_is_a_run() -> None:
    run = read_run(MINIMAL)
    assert (run.status, run.attempt, run.version, run.executor) == (RunStatus.RUNNING, 1, 0, "ecs")
    assert (run.correlation_id, run.created_at, run.transitions) == ("r1", EPOCH, ())


def test_a_missing_creation_time_is_the_oldest_time_of_the_record() -> None:
    times = {"started_at": {"S": iso(ago(5))}, "queued_at": {"S": iso(ago(9))}}
    assert read_run({**MINIMAL, **times}).created_at == ago(9)


@pytest.mark.parametrize(
    ("name", "value"),
    [("attempt", {"S": "3"}), ("attempt", {"N": "3.0"}), ("attempt", {"N": "3"})],
    ids=["text", "with a point", "number"],
)
def test_numbers_are_read_however_people_write_them(name: str, value: Any) -> None:
    assert read_run({**MINIMAL, name: value}).attempt == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", {"S": "DONE"}),
        ("started_at", {"S": "yesterday"}),
        ("started_at", {"BOOL": True}),
        ("attempt", {"N": "1.5"}),
        ("attempt", {"S": "first"}),
        ("attempt", {"L": []}),
        ("stop_cause", {"S": "BOREDOM"}),
        ("transitions", {"L": [{"M": {"to": {"S": "RUNNING"}}}]}),
        ("environment", {"S": "A=1"}),
        ("dep_package_slugs", {"S": "base"}),
    ],
    ids=str,
)
def test_nonsense_names_record_attribute_and_value(name: str, value: Any) -> None:
    with pytest.raises(UnreadableRecord, match=f"record r1: {name} holds") as unreadable:
        read_run({**MINIMAL, name: value})
    assert unreadable.value.key == "r1"


@pytest.mark.parametrize(
    ("value", "slugs"),
    [
        ({"L": [{"S": "b"}, {"S": "a"}]}, ("b", "a")),
        ({"SS": ["b", "a"]}, ("a", "b")),
        ({"L": []}, ()),
    ],
    ids=["list", "set", "none"],
)
def test_slugs_are_read_from_a_list_or_a_set(value: Any, slugs: tuple[str, ...]) -> None:
    assert read_run({**MINIMAL, "dep_package_slugs": value}).dep_package_slugs == slugs


def test_null_and_unknown_attributes_are_as_if_absent() -> None:
    assert read_run({**MINIMAL, "cpu": {"NULL": True}, "note": {"S": "mine"}}) == read_run(MINIMAL)


def test_a_record_without_status_is_unreadable() -> None:
    with pytest.raises(UnreadableRecord, match="no status"):
        read_run({"run_id": {"S": "r1"}})


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_terminal_run_has_no_key_of_the_active_index(status: RunStatus) -> None:
    item = run_item(a_run(status))
    assert "active_key" not in item
    assert "active_since" not in item


def test_no_index_includes_more_attributes_than_dynamodb_takes() -> None:
    included = [len(index.included) for table in TABLES for index in table.indexes]
    assert max(included) <= PROJECTED_MAX, "project fewer: derive an attribute from a key, or drop it from ActiveRun"
    assert sum(included) <= 100


def test_a_change_names_only_what_it_changes() -> None:
    change = RunChange(run_id="r1", expected_version=7, fields={"cluster": "main", "not_before": None})
    request = update_request(change, "op", executor="ecs")
    assert sorted(request["ExpressionAttributeNames"].values()) == ["cluster", "not_before", "op_id", "version"]
    assert "REMOVE #not_before" in request["UpdateExpression"]
    assert request["ConditionExpression"] == "#version = :v3"


def test_a_change_of_an_attribute_that_no_run_has_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no colour"):
        update_request(RunChange(run_id="r1", expected_version=1, fields={"colour": "red"}), "op", executor="ecs")


def test_decimals_are_numbers() -> None:
    assert to_value(Decimal("1.50")) == {"N": "1.50"}
    assert to_plain({"NS": ["2", "1"]}) == [1, 2]
