"""The documented input of a scan."""

from typing import Any

import pytest

from dagy_control.orphans.criteria import Criteria, RuntimeLimit
from dagy_control.orphans.decide import OrphanPolicy
from dagy_control.orphans.request import BadInput, ScanInput, read_input


@pytest.mark.parametrize(
    ("document", "read"),
    [
        pytest.param({}, ScanInput(), id="nothing"),
        pytest.param({"dry_run": None, "max_runtime_hours": None}, ScanInput(), id="nulls"),
        pytest.param({"dry_run": False, "max_runtime_hours": 6}, ScanInput(False, 6), id="the documented schedule"),
        pytest.param({"dry_run": "False", "max_runtime_hours": " 6.5 "}, ScanInput(False, 6.5), id="as text"),
        pytest.param({"dry_run": "true"}, ScanInput(True), id="one of them"),
    ],
)
def test_input_is_read(document: Any, read: ScanInput) -> None:
    assert read_input(document) == read


@pytest.mark.parametrize(
    "document",
    [
        None,
        "x",
        ["dry_run"],
        {"dryrun": True},
        {"dry_run": 0},
        {"dry_run": "no"},
        {"dry_run": []},
        {"max_runtime_hours": True},
        {"max_runtime_hours": 0},
        {"max_runtime_hours": 8761},
        {"max_runtime_hours": float("inf")},
        {"max_runtime_hours": 10**400},
        {"max_runtime_hours": "1,5"},
        {"max_runtime_hours": [6]},
    ],
    ids=repr,
)
def test_other_input_is_refused(document: Any) -> None:
    with pytest.raises(BadInput):
        read_input(document)


def test_input_goes_before_the_settings_and_limits_of_their_own_stay() -> None:
    limits = (RuntimeLimit(hours=48, flow="etl"),)
    criteria = Criteria(installation="dagy", state_tables=(), max_runtime_hours=9, runtime_limits=limits)
    policy = OrphanPolicy(cluster="main", environment="dev", criteria=criteria, dry_run=False)
    assert ScanInput().applied(policy) == policy
    asked = ScanInput(True, 2.5).applied(policy)
    assert (asked.dry_run, asked.criteria.max_runtime_hours) == (True, 2.5)
    assert asked.criteria.runtime_limits == limits
