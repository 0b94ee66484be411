"""The template deployed as far as it goes without an account, the demo on it, and every call that it took held against IAM."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from dagy_control.config import Settings
from dagy_control.model.runs import RunStatus
from dagy_control.model.tables import TABLES
from tests.deploy.performance import Performance
from tests.deploy.policies import Access, Decision, decide
from tests.deploy.recorder import accesses

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

ROLES = {"daemon": "DaemonRole", "worker": "WorkerRole", "operator": "OperatorPolicy"}
STAGE = {"ecs:RegisterTaskDefinition", "ecs:RunTask"}
"""What the demo does to set its stage, in the operator's name: nobody who has that policy may."""

MAY_GO_UNCALLED = {
    ("daemon", "sqs:ChangeMessageVisibility"): "an event that came before its record; a matter of moments",
    ("daemon", "s3:ListBucket"): "no call: what lets S3 tell that an object is not there",
    ("daemon", "sqs:GetQueueAttributes"): "the depth of both queues, looked at once a minute",
    ("operator", "s3:ListBucket"): "as with the daemon",
}
"""Permissions of the daemon and the worker that a short demo need not use, each with what it is for."""

FOR_RARE_MOMENTS = {
    "AbsentObjectsAreToldSo": "no call: what lets S3 tell that an object is not there",
    "ResultsWritten": "where a result goes when the table cannot be written, which never happens in the demo",
}
"""Statements without which the demo's calls would be permitted all the same."""


def told(performance: Performance) -> Iterator[tuple[str, Access, Decision]]:
    """Every permission that a call needed, once for each principal, with what the template's statements say."""
    template = performance.stack.template
    statements = {who: template.statements(role) for who, role in ROLES.items()}
    seen = {
        (call.principal, access.action, access.resource, tuple(sorted(access.context.items()))): access
        for call in performance.calls
        for access in accesses(call)
    }
    for (who, *_), access in seen.items():
        yield who, access, decide(statements[who], access)


async def test_every_claim_of_the_demo_holds_on_what_the_template_made(performance: Performance) -> None:
    assert [row for row in performance.rows if not row.ok] == []
    assert len(performance.rows) == 12


async def test_the_deployed_configuration_is_what_the_daemon_runs_with(performance: Performance) -> None:
    settings = performance.stack.settings()
    assert settings.ecs.missing_for_launch() == ()
    assert settings.ecs.task_definition == "dagy-worker-medium"
    assert settings.tables == Settings().tables
    assert settings.orphans.alert_topic_arn == "arn:aws:sns:us-east-1:123456789012:dagy-alerts"
    read = {
        call.operation: call.request.get("Name")
        for call in performance.calls
        if call.principal == "daemon" and call.service == "ssm"
    }
    assert read == {"GetParameter": "/dagy/config.toml"}


async def test_the_workers_ran_from_the_templates_own_task_definitions(performance: Performance) -> None:
    driver = performance.stack.cloud.driver
    runs = [task for task in driver.tasks().values() if task.definition.family != "sleeper"]
    assert {task.definition.family for task in runs} == {"dagy-worker-medium"}
    (container,) = {task.definition.container["image"] for task in runs}
    assert container.startswith("123456789012.dkr.ecr.us-east-1.amazonaws.com/dagy-worker@sha256:")
    assert 512 in {task.memory_mib for task in runs}, (
        "the demo's runs are small: RunTask overrides the definition's size"
    )


async def test_a_trace_of_the_failing_flow_lies_in_the_trace_bucket(performance: Performance) -> None:
    stack = performance.stack
    bucket = stack.settings().storage.trace_bucket
    listed = await asyncio.to_thread(stack.client("s3").list_objects_v2, Bucket=bucket)
    assert [item["Key"] for item in listed["Contents"] if item["Key"].startswith("traces/")] != []


async def test_the_tables_that_cloudformation_makes_are_those_of_tables_create(performance: Performance) -> None:
    client = performance.stack.client("dynamodb")
    for spec in TABLES:
        shown = (await asyncio.to_thread(client.describe_table, TableName=f"DAGY_{spec.setting.upper()}"))["Table"]
        keys = {each["KeyType"]: each["AttributeName"] for each in shown["KeySchema"]}
        assert (keys["HASH"], keys.get("RANGE")) == (spec.hash_key, spec.range_key)
        assert {each["IndexName"] for each in shown.get("GlobalSecondaryIndexes", ())} == {
            each.name for each in spec.indexes
        }


async def test_events_came_through_the_templates_rule_and_were_used(performance: Performance) -> None:
    """Nothing else brings an event into the queue: those that the daemon has deleted came by EventBridge's rule."""
    deleted = [
        call for call in performance.calls if call.principal == "daemon" and call.operation == "DeleteMessageBatch"
    ]
    assert sum(len(call.request["Entries"]) for call in deleted) > 10


async def test_every_call_is_permitted_to_whom_it_comes_from(performance: Performance) -> None:
    verdicts = list(told(performance))
    assert {who for who, _, _ in verdicts} == set(ROLES)
    refused = [
        f"{who}: {access}"
        for who, access, decision in verdicts
        if not decision.allowed and not (who == "operator" and access.action in STAGE)
    ]
    assert refused == []


async def test_no_permission_lies_idle(performance: Performance) -> None:
    """What daemon and worker may and never did in all of the demo is listed, with its reason: it is little."""
    template = performance.stack.template
    granted = {
        (who, action)
        for who in ("daemon", "worker")
        for each in template.statements(ROLES[who])
        for action in _listed(each["Action"])
    }
    used = {(who, access.action) for who, access, _ in told(performance)}
    assert sorted(granted - used - set(MAY_GO_UNCALLED)) == []


@pytest.mark.parametrize("who", ["daemon", "worker"])
async def test_without_any_one_statement_some_call_is_refused(who: str, performance: Performance) -> None:
    """The same judgement can refuse, and no statement is there for nothing."""
    statements = performance.stack.template.statements(ROLES[who])
    needed = [access for caller, access, _ in told(performance) if caller == who]
    idle = [
        left_out["Sid"]
        for left_out in statements
        if all(decide([each for each in statements if each is not left_out], access).allowed for access in needed)
    ]
    assert [sid for sid in idle if sid not in FOR_RARE_MOMENTS] == []


async def test_the_table_of_calls(performance: Performance, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed for whoever runs it: which calls were seen, and by which statement each is permitted."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    calls: Counter[str] = Counter(call.principal for call in performance.calls)
    for who, access, decision in told(performance):
        what = access.resource.split(":", 5)[-1]
        kind = (
            what.partition("/")[0]
            if access.action.partition(":")[0] not in ("s3", "dynamodb")
            else what.rpartition("/")[0] or what
        )
        if access.action.startswith("dynamodb:"):
            kind = what
        if access.action.startswith("s3:"):
            kind = "/".join(what.split("/")[:2]) + "/…"
        counts[who, access.action, kind, decision.sid if decision.allowed else "denied"] += 1
    lines = [f"{sum(calls.values()):,} calls: {', '.join(f'{who} {n:,}' for who, n in sorted(calls.items()))}"]
    lines += [
        f"  {who:<9} {action:<32} {sid:<24} {number:>4}  {kind}"
        for (who, action, kind, sid), number in sorted(counts.items())
    ]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert counts


async def test_no_run_of_the_demo_is_left_undecided(performance: Performance) -> None:
    client = performance.stack.client("dynamodb")
    items = (await asyncio.to_thread(client.scan, TableName="DAGY_RUNS"))["Items"]
    assert items
    assert {item["status"]["S"] for item in items} <= {each.value for each in RunStatus if each.is_terminal}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
