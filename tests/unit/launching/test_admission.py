"""Which queued runs go first."""

from collections import Counter
from typing import Any

import pytest

from dagy_control.launching.admission import Admission, AdmissionLimits, admit
from dagy_control.model.census import Census
from dagy_control.model.runs import ActiveRun
from tests.builders import a_run, ago

UNLIMITED = AdmissionLimits(max_concurrent_tasks=100_000, max_admitted=100_000)


def queue(
    count: int, org: str = "acme", *, flow: str = "etl", since_s_ago: float = 60, **values: Any
) -> list[ActiveRun]:
    """So many runs, one a second."""
    return [
        a_run(run_id=f"{org}-{flow}-{n:05}", org_id=org, flow_name=flow, active_since=ago(since_s_ago - n), **values)
        for n in range(count)
    ]


def census_of(*runs: ActiveRun) -> Census:
    census = Census()
    census.add(runs)
    return census


def order(admission: Admission) -> list[str]:
    return [run.run_id for run in admission.admitted]


def test_a_burst_of_ten_thousand_runs_delays_another_organisations_first_run_by_one_launch() -> None:
    burst = queue(10_000, "burst", since_s_ago=20_000)
    late = queue(1, "late", since_s_ago=0)
    admission = admit([*burst, *late], Census(), AdmissionLimits(max_admitted=2))
    assert order(admission) == ["burst-etl-00000", "late-etl-00000"]


def test_an_organisation_that_already_runs_much_waits_for_one_that_runs_less() -> None:
    busy = census_of(*queue(3, "busy"))
    admission = admit([*queue(4, "busy", since_s_ago=900), *queue(4, "calm")], busy, AdmissionLimits(max_admitted=5))
    assert [run.org_id for run in admission.admitted] == ["calm", "calm", "calm", "busy", "calm"]


def test_organisations_with_as_many_active_runs_take_turns_by_age() -> None:
    admission = admit([*queue(2, "young", since_s_ago=10), *queue(2, "old", since_s_ago=99)], Census(), UNLIMITED)
    assert [run.org_id for run in admission.admitted] == ["old", "young", "old", "young"]


def test_within_an_organisation_priority_goes_before_fairness_and_age() -> None:
    urgent = queue(2, flow="urgent", since_s_ago=1, priority=5)
    admission = admit([*queue(1, since_s_ago=900), *urgent], census_of(*urgent), UNLIMITED)
    assert order(admission) == ["acme-urgent-00000", "acme-urgent-00001", "acme-etl-00000"]


def test_within_an_organisation_flows_take_turns_and_then_age_decides() -> None:
    admission = admit([*queue(3, flow="big", since_s_ago=900), *queue(1, flow="small")], Census(), UNLIMITED)
    assert order(admission) == ["acme-big-00000", "acme-small-00000", "acme-big-00001", "acme-big-00002"]


@pytest.mark.parametrize(
    ("limits", "admitted", "held"),
    [
        pytest.param(AdmissionLimits(max_concurrent_tasks=3), 1, {"no_room": 5}, id="the cluster's room"),
        pytest.param(AdmissionLimits(max_concurrent_tasks=1), 0, {"no_room": 6}, id="more active than allowed"),
        pytest.param(AdmissionLimits(max_admitted=2), 2, {"next_tick": 4}, id="one tick's share"),
        pytest.param(AdmissionLimits(max_per_org=3), 3, {"org_limit": 3}, id="an organisation's limit"),
        pytest.param(AdmissionLimits(max_per_flow=1), 2, {"flow_limit": 4}, id="a flow's limit"),
        pytest.param(AdmissionLimits(), 6, {}, id="no limit reached"),
    ],
)
def test_runs_beyond_a_limit_are_held_and_counted(limits: AdmissionLimits, admitted: int, held: dict[str, int]) -> None:
    active = census_of(*queue(2, "acme", flow="etl"))
    queued = [*queue(3, "acme", flow="etl"), *queue(1, "acme", flow="report"), *queue(2, "other")]
    admission = admit(queued, active, limits)
    assert len(admission.admitted) == admitted
    assert Counter(admission.waiting.values()) == held
    assert admission.waiting.keys() == {run.run_id for run in queued} - set(order(admission))


def test_a_full_flow_does_not_hold_back_its_organisations_other_flows() -> None:
    limits = AdmissionLimits(max_per_flow=1)
    queued = [*queue(2, flow="full", priority=9), *queue(1, flow="free")]
    assert order(admit(queued, census_of(*queue(1, flow="full")), limits)) == ["acme-free-00000"]


def test_the_same_flow_name_of_another_organisation_counts_for_itself() -> None:
    limits = AdmissionLimits(max_per_flow=1)
    assert order(admit(queue(1, "b"), census_of(*queue(5, "a")), limits)) == ["b-etl-00000"]


def test_an_empty_queue_admits_nothing() -> None:
    assert admit([], Census(), UNLIMITED) == Admission((), {})
