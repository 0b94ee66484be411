"""A task's identity, its container and the evidence that it leaves."""

import json

import pytest

from dagy_control.model.tasks import SeenContainer, TaskIdentity, evidence_of, short_id
from tests.builders import ARN, WORKER, running, stopped, task_of


@pytest.mark.parametrize(
    ("started_by", "identity"),
    [
        pytest.param("dagy/r1/2", TaskIdentity("dagy", "r1", 2), id="ours"),
        pytest.param("staging/r1/1", TaskIdentity("staging", "r1", 1), id="another installation is read, not judged"),
        pytest.param("", None, id="started by hand"),
        pytest.param("ecs-svc/9223370526000000000", None, id="a service's deployment"),
        pytest.param("dagy/r1", None, id="no attempt"),
        pytest.param("dagy/r1/x", None, id="the attempt is no number"),
        pytest.param("dagy/r1/-1", None, id="the attempt is negative"),
        pytest.param("dagy//1", None, id="no run"),
        pytest.param("/r1/1", None, id="no installation"),
        pytest.param("dagy/r1/1/2", None, id="too many parts"),
    ],
)
def test_an_identity_is_read_from_started_by(started_by: str, identity: TaskIdentity | None) -> None:
    assert TaskIdentity.parse(started_by) == identity


def test_an_identity_survives_being_written_and_read() -> None:
    identity = TaskIdentity("dagy", "550e8400-e29b-41d4-a716-446655440000", 12)
    assert TaskIdentity.parse(identity.started_by()) == identity


def test_the_container_is_found_by_name_behind_an_injected_sidecar() -> None:
    sidecar = SeenContainer(name="aws-guardduty-agent-abc", exit_code=0)
    worker = SeenContainer(name=WORKER, exit_code=1)
    task = task_of(running(), containers=(sidecar, worker))
    assert task.container(WORKER) is worker
    assert task.container("other") is None


@pytest.mark.parametrize(
    ("status", "ended"),
    [("RUNNING", False), ("STOPPING", False), ("DEPROVISIONING", False), ("STOPPED", True), ("DELETED", True)],
)
def test_only_stopped_and_deleted_are_an_end(status: str, ended: bool) -> None:
    assert task_of(running(), last_status=status).has_ended == ended


def test_the_short_id_is_the_last_part_of_the_arn() -> None:
    assert short_id(ARN) == "aaaa"


def test_evidence_is_plain_bounded_and_leaves_out_times_that_ecs_did_not_give() -> None:
    many = tuple(SeenContainer(name=f"sidecar-{number}", reason="x" * 5000) for number in range(30))
    evidence = evidence_of(stopped(running(), containers=many, stopped_reason="y" * 5000))
    assert json.loads(json.dumps(evidence)) == evidence
    assert len(json.dumps(evidence)) < 20_000
    assert "stopped_at" not in evidence
    assert evidence["task_arn"] == ARN
