"""The launch breaker in the whole simulated world: the permission to launch is lost for twenty minutes."""

import pytest

from dagy_control.launching import breaker
from dagy_control.launching.breaker import Breaker, Claims
from dagy_control.model.runs import FailureClass
from tests.simulation.faults import Fate, Outage
from tests.simulation.removing import CALM, replaced
from tests.simulation.scenario import Report
from tests.simulation.violation import Violation
from tests.simulation.world import play


def a_lost_permission() -> Report:
    outage = Outage(200, 1500, Fate.DENIED, ("RunTask",))
    return play(0, **{**CALM, "replicas": 1, "runs": 60, "outages": (outage,), "calm_from_s": 7200.0})


def test_a_permission_lost_for_twenty_minutes_costs_three_runs_and_the_others_are_launched_when_it_is_back() -> None:
    report = a_lost_permission()
    assert report.sometimes[FailureClass.LAUNCH_PERMISSION] == 3
    assert report.sometimes["launch failed: held LAUNCH_PERMISSION"] > 0
    assert report.sometimes["Launch breaker closed"] == 1


def test_a_breaker_that_never_probes_is_missed() -> None:
    def never(state: Breaker, _now: object) -> Claims:
        return Claims.NONE if state.is_open else Claims.ALL

    with replaced(breaker, "allowed_claims", never), pytest.raises(Violation, match="liveness"):
        a_lost_permission()
