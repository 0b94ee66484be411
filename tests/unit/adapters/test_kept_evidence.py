"""Evidence in the item of a run: of its last task, and of each earlier attempt in the transition that ended it."""

from dataclasses import replace

from dagy_control.adapters.run_codec import read_run, run_item, transition_map
from dagy_control.model.runs import Transition
from tests.builders import ARN, NOW, a_run

ENDED = Transition(
    at=NOW,
    from_status="RUNNING",
    to_status="QUEUED",
    attempt=1,
    by="events",
    why="SPOT_INTERRUPTED: reclaimed",
    evidence={"task_arn": ARN, "cost_usd": 0.04937, "containers": [{"name": "dagy-worker", "exit_code": 137}]},
)


def test_the_evidence_of_an_earlier_attempt_comes_back_as_it_was_stored() -> None:
    run = a_run(attempt=2, transitions=(ENDED,), estimated_cost_usd=0.04937)
    assert read_run(run_item(run)) == run


def test_a_transition_without_evidence_is_stored_without_it() -> None:
    assert "evidence" not in transition_map(replace(ENDED, evidence=None))
