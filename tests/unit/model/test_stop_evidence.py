"""What stays of a task that ended: bounded, for each attempt, also of one that ECS has forgotten, and what it cost in all."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from dagy_control.model.cost import PriceTable, attempt_cost_usd
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import end_attempt
from dagy_control.model.outcomes import Ending, Outcome
from dagy_control.model.runs import FailureClass, Run, RunStatus, applied
from dagy_control.model.stop_evidence import keep_evidence, spent_before_usd
from dagy_control.model.tasks import SeenContainer, SeenTask, evidence_of, past_evidence_of, unsigned
from tests.builders import ARN, NOW, OTHER_ARN, WORKER, a_run, ago, result, running, stopped

PRICES = PriceTable()
SPOT_LOST = Outcome(ending=Ending.FAILED, rule="spot", message="reclaimed", failure_class=FailureClass.SPOT_INTERRUPTED)
SUCCESS = Outcome(ending=Ending.SUCCEEDED, rule="worker_result", message="done")
BILLED: dict[str, Any] = {
    "cpu": 1024,
    "memory_mib": 2048,
    "pull_started_at": ago(7200),
    "pull_stopped_at": ago(7170),
    "stopped_at": ago(3600),
    "execution_stopped_at": ago(3602),
    "capacity_provider": "FARGATE_SPOT",
    "architecture": "x86_64",
    "ephemeral_storage_gib": 20,
    "availability_zone": "us-east-1a",
    "connectivity": "CONNECTED",
    "health": "UNKNOWN",
    "platform_version": "1.4.0",
    "launch_type": "FARGATE",
}


def billed(run: Run, **values: Any) -> SeenTask:
    return stopped(run, 137, **{**BILLED, **values})


def ended(run: Run, task: SeenTask | None, outcome: Outcome = SPOT_LOST, now: datetime = NOW) -> Run:
    change = end_attempt(
        run, outcome, RetryPolicy(), task=task, container_name=WORKER, now=now, by="test", prices=PRICES
    )
    assert change is not None
    return applied(run, change, "op")


def again(run: Run) -> Run:
    """The next attempt, running."""
    return replace(run, status=RunStatus.RUNNING, external_id=OTHER_ARN, started_at=ago(60), cluster="main")


def test_the_evidence_names_all_that_ecs_forgets() -> None:
    worker = SeenContainer(name=WORKER, exit_code=137, image="worker:1", image_digest="sha256:0a", health="UNHEALTHY")
    run = ended(running(), billed(running(), containers=(worker,)))
    assert run.evidence is not None
    assert run.evidence["containers"] == [
        {"name": WORKER, "exit_code": 137, "image": "worker:1", "image_digest": "sha256:0a", "health": "UNHEALTHY"}
    ]
    assert {name: run.evidence[name] for name in BILLED if not name.endswith("_at")} == {
        name: value for name, value in BILLED.items() if not name.endswith("_at")
    }
    assert run.evidence["pull_stopped_at"] == ago(7170).isoformat()
    assert run.evidence["execution_stopped_at"] == ago(3602).isoformat()
    assert run.evidence["billed_seconds"] == 3600


def test_the_evidence_is_bounded_and_shows_first_the_containers_that_tell_something() -> None:
    silent = tuple(SeenContainer(name=f"sidecar-{number}", image="x" * 9000) for number in range(30))
    worker = SeenContainer(name=WORKER, exit_code=1, reason="y" * 9000)
    task = stopped(running(), containers=(*silent, worker), stopped_reason="z" * 9000)
    assert evidence_of(task)["containers"][0]["name"] == WORKER
    assert len(json.dumps(evidence_of(task))) < 16_000
    assert len(json.dumps(past_evidence_of(task))) < 3_000


def test_no_signature_of_an_address_is_kept_or_shown() -> None:
    reason = (
        'Get "https://layers.s3.amazonaws.com/0a?X-Amz-Security-Token=Fwo&X-Amz-Signature=01": dial tcp: i/o timeout'
    )
    task = stopped(running(), stopped_reason=reason, containers=(SeenContainer(name=WORKER, reason=reason),))
    assert "Fwo" not in json.dumps(evidence_of(task))
    assert unsigned(reason) == 'Get "https://layers.s3.amazonaws.com/0a?(signature left out)": dial tcp: i/o timeout'
    run = ended(running(), task)
    assert run.stopped_reason is not None
    assert "X-Amz" not in run.stopped_reason


def test_an_attempt_that_another_one_follows_loses_nothing() -> None:
    first = ended(running(), billed(running(), stop_code="SpotInterruption"))
    assert first.status is RunStatus.QUEUED
    last = ended(again(first), billed(again(first), arn=OTHER_ARN), SUCCESS)
    kept = last.transitions[-2].evidence
    assert kept is not None
    assert (kept["task_arn"], kept["stop_code"], kept["containers"][0]["exit_code"]) == (ARN, "SpotInterruption", 137)
    assert last.transitions[-1].evidence is None  # the last attempt's stands on the run itself
    assert last.evidence is not None
    assert last.evidence["task_arn"] == OTHER_ARN


def test_costs_are_added_up_over_all_attempts() -> None:
    one = attempt_cost_usd(billed(running()), PRICES)
    assert one is not None
    first = ended(running(), billed(running()))
    assert first.estimated_cost_usd == pytest.approx(one)
    last = ended(again(first), billed(again(first), arn=OTHER_ARN), SUCCESS)
    assert last.estimated_cost_usd == pytest.approx(2 * one)


@pytest.mark.parametrize("unknown", [{"cpu": None}, {"pull_started_at": None}, {"architecture": "riscv"}], ids=str)
def test_a_sum_with_an_unknown_part_is_unknown(unknown: dict[str, Any]) -> None:
    first = ended(running(), billed(running(), **unknown))
    assert first.estimated_cost_usd is None
    last = ended(again(first), billed(again(first), arn=OTHER_ARN), SUCCESS)
    assert last.estimated_cost_usd is None
    assert last.evidence is not None
    assert last.evidence["cost_usd"] > 0


def test_what_the_index_shows_of_a_later_attempt_tells_no_sum() -> None:
    assert spent_before_usd(running()) == 0.0
    assert spent_before_usd(running(attempt=2)) is None


def test_a_task_that_ecs_has_forgotten_leaves_what_was_looked_for_and_when() -> None:
    lost = Outcome(ending=Ending.FAILED, rule="missing_lost", message="gone", failure_class=FailureClass.LOST)
    run = ended(running(launch_sent_at=ago(4000)), None, lost)
    assert run.evidence == {
        "task_arn": ARN,
        "cluster": "main",
        "last_status": "MISSING",
        "looked_for_at": NOW.isoformat(),
        "launch_sent_at": ago(4000).isoformat(),
    }
    assert run.estimated_cost_usd is None


def over(**values: Any) -> Run:
    """A run that its worker has ended."""
    defaults: dict[str, Any] = {"external_id": ARN, "result_status": result().status, "result_attempt": 1}
    return a_run(RunStatus.SUCCEEDED, **{**defaults, **values})


def test_a_run_that_its_worker_has_ended_gets_its_evidence_once() -> None:
    change = keep_evidence(over(exit_code=0), billed(running()), container_name=WORKER, prices=PRICES)
    assert change is not None
    assert change.transition is None
    kept = applied(over(exit_code=0), change, "op")
    assert (kept.status, kept.exit_code) == (RunStatus.SUCCEEDED, 0)  # the worker's word stands
    assert kept.evidence is not None
    assert kept.estimated_cost_usd == kept.evidence["cost_usd"]
    assert keep_evidence(kept, billed(running()), container_name=WORKER, prices=PRICES) is None


def test_a_late_word_of_ecs_replaces_that_a_task_was_missing() -> None:
    run = over(evidence={"task_arn": ARN, "last_status": "MISSING"})
    assert keep_evidence(run, billed(running()), container_name=WORKER, prices=PRICES) is not None


@pytest.mark.parametrize(
    ("run", "task"),
    [
        pytest.param(running(), billed(running()), id="a run that is not over is ended, not annotated"),
        pytest.param(over(external_id=OTHER_ARN), billed(running()), id="another task's"),
        pytest.param(over(), billed(running(), last_status="DEPROVISIONING"), id="not over yet"),
        pytest.param(over(evidence={"task_arn": ARN, "last_status": "STOPPED"}), billed(running()), id="there already"),
    ],
)
def test_evidence_that_is_not_to_be_kept(run: Run, task: SeenTask) -> None:
    assert keep_evidence(run, task, container_name=WORKER, prices=PRICES) is None


def test_fifty_attempts_leave_room_in_the_item() -> None:
    """DynamoDB's limit is 400 KB; past version 200 no transition but the last is kept."""
    run = running()
    noisy = tuple(SeenContainer(name=f"c{number}", exit_code=1, reason="r" * 1024) for number in range(10))
    for number in range(50):
        task = billed(run, containers=noisy, stopped_reason="s" * 1024, arn=run.external_id)
        change = end_attempt(
            run,
            SPOT_LOST,
            RetryPolicy(max_infra_failures=99),
            task=task,
            container_name=WORKER,
            now=NOW + timedelta(hours=number),
            by="test",
            prices=PRICES,
        )
        assert change is not None
        run = again(applied(run, change, "op"))
    assert len(json.dumps([each.evidence for each in run.transitions])) < 150_000
