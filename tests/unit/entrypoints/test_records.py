"""Records as documents for programs."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from dagy_control.config.loops import WorkerSettings
from dagy_control.entrypoints.records import hiding, hiding_defaults, run_document, task_run_document
from dagy_control.model.deployments import Deployment
from dagy_control.model.lifecycle import claim_launch
from dagy_control.model.runs import FailureClass, Run, RunChange, RunStatus, StopCause, applied
from dagy_control.model.task_runs import TaskRun
from tests.builders import NOW, a_run


def full_run() -> Run:
    """A run of which every attribute has a value."""
    texts = {each.name: "text" for each in fields(Run)}
    times = {name: NOW for name in texts if name.endswith("_at") or name in {"active_since", "not_before"}}
    numbers: dict[str, Any] = dict.fromkeys(
        ("attempt", "launch_try", "max_attempts", "infra_failures", "version", "priority", "launch_sends"), 1
    )
    numbers |= dict.fromkeys(("result_attempt", "cpu", "memory", "ephemeral_storage_gib", "exit_code"), 2)
    numbers |= dict.fromkeys(("duration_seconds", "estimated_cost_usd"), 0.5)
    kinds = {
        "status": RunStatus.FAILED,
        "stop_cause": StopCause.CANCELLED,
        "failure_class": FailureClass.USER_ERROR,
        "environment": {"A": "1"},
        "evidence": {"stopCode": "x", "containers": [{"exitCode": 1}]},
        "transitions": (),
    }
    return Run(**{**texts, **times, **numbers, **kinds})


def test_every_attribute_of_a_run_becomes_plain_json_under_its_own_name() -> None:
    document = run_document(full_run())
    assert set(document) == {each.name for each in fields(Run)}
    assert json.loads(json.dumps(document)) == document
    assert document["created_at"] == NOW.isoformat()
    assert document["environment"] == {"A": "1"}


def test_what_is_absent_in_the_table_is_absent_in_the_document() -> None:
    assert "external_id" not in run_document(a_run())


def test_a_transition_has_the_tables_names() -> None:
    run = a_run()
    change = claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=NOW, by="launching")
    assert isinstance(change, RunChange)
    (transition,) = run_document(applied(run, change, "op"))["transitions"]
    assert set(transition) == {"at", "from", "to", "attempt", "by", "why"}
    assert (transition["from"], transition["to"], transition["at"]) == ("QUEUED", "LAUNCHING", NOW.isoformat())


def test_a_task_run_is_plain_json_too() -> None:
    row = TaskRun(
        run_id="r1",
        task_run_id="0001#load",
        task_name="load",
        status="SUCCEEDED",
        attempts=1,
        run_attempt=1,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        peak_memory_mb=1.5,
    )
    document = task_run_document(row)
    assert json.loads(json.dumps(document)) == document
    assert "error_type" not in document


HELD: dict[str, Any] = {"user": "etl", "login": {"api_token": "t0p-secret", "port": 5432}, "lines": [{"password": "x"}]}
SEEN = {"user": "etl", "login": {"api_token": "[redacted]", "port": 5432}, "lines": [{"password": "[redacted]"}]}


def test_a_run_is_shown_without_the_values_of_secret_names_and_without_its_request() -> None:
    run = a_run(parameters=json.dumps(HELD), environment={"DB_PASSWORD": "x", "MODE": "fast"}, launch_request="{}")
    shown = hiding(run, WorkerSettings().redact_keys)
    assert json.loads(shown.parameters) == SEEN
    assert shown.environment == {"DB_PASSWORD": "[redacted]", "MODE": "fast"}
    assert shown.launch_request is None


@pytest.mark.parametrize("parameters", ["{not json", '["a token"]'])
def test_parameters_that_have_no_names_are_hidden_whole(parameters: str) -> None:
    assert hiding(a_run(parameters=parameters), ()).parameters == "[redacted]"


def test_only_the_configured_names_are_hidden() -> None:
    shown = hiding(a_run(parameters=json.dumps(HELD)), ["us*"])
    assert json.loads(shown.parameters) == {**HELD, "user": "[redacted]"}


def test_a_deployment_is_shown_likewise() -> None:
    environment = {"DB_PASSWORD": "x", "MODE": "fast"}
    deployment = Deployment(
        org_id="acme", deployment_name="d", flow_name="etl", updated_at=NOW, parameters=HELD, environment=environment
    )
    shown = hiding_defaults(deployment, WorkerSettings().redact_keys)
    assert (shown.parameters, shown.environment) == (SEEN, {"DB_PASSWORD": "[redacted]", "MODE": "fast"})
