"""What a queued run waits for at the moment."""

from datetime import timedelta

import pytest

from dagy_control.launching.admission import AdmissionLimits
from dagy_control.model.census import Census
from dagy_control.model.runs import Run, RunStatus
from dagy_control.operations.explain_waiting import waits_for
from tests.builders import NOW, a_run, running


@pytest.mark.parametrize(
    ("run", "limits", "said"),
    [
        pytest.param(a_run(), None, "launching is switched off: launching.enabled is false", id="launching is off"),
        pytest.param(
            a_run(not_before=NOW + timedelta(seconds=90)),
            AdmissionLimits(max_concurrent_tasks=0),
            "not_yet: its next try is due at 00:01:30 UTC, in 90 s",
            id="the delay before its next try",
        ),
        pytest.param(
            a_run(),
            AdmissionLimits(max_per_org=2),
            "org_limit: acme has 2 active runs, and launching.max_per_org is 2",
            id="its organisation's limit",
        ),
        pytest.param(
            a_run(),
            AdmissionLimits(max_per_flow=1),
            "flow_limit: etl of acme has 1 active run, and launching.max_per_flow is 1",
            id="its flow's limit",
        ),
        pytest.param(
            a_run(not_before=NOW),
            AdmissionLimits(max_concurrent_tasks=3),
            "no_room: there are 3 active runs, and launching.max_concurrent_tasks is 3",
            id="the cluster is full",
        ),
        pytest.param(
            a_run(),
            AdmissionLimits(),
            "its turn: no limit holds it back (3 active runs of 1000). If it stays, no daemon launches, or ECS refuses every run: "
            'see /healthz, and "A run stays QUEUED" of the operations page',
            id="nothing that is on record",
        ),
        pytest.param(running(), AdmissionLimits(max_concurrent_tasks=0), "", id="it waits no more"),
        pytest.param(a_run(RunStatus.FAILED), None, "", id="it is over"),
    ],
)
def test_what_a_run_waits_for(run: Run, limits: AdmissionLimits | None, said: str) -> None:
    census = Census()
    census.add([running(), running(flow_name="report"), running(org_id="other")])
    assert waits_for(run, census, limits, NOW) == said
