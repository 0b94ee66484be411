"""Two real daemons, killed at random for a minute under a stream of launches: afterwards every invariant holds."""

import json
import os
import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.flows_commands import build
from dagy_control.entrypoints.local_stack import Daemon
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED
from dagy_control.model.runs import FailureClass, RunStatus
from dagy_control.requests.registration import register_flow
from tests.acceptance.evidence import (
    Evidence,
    Ledger,
    contested,
    launched_as_heir,
    launched_without_lease,
    log_lines,
    still_there,
    violations,
)
from tests.acceptance.looking import SOON_S
from tests.acceptance.storm import AMBUSH, ORGS, Part, Storm

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.storm,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(900),
]

STORM_S = 60.0
PASSES_AT_REST = 3

LOOPS = ("launching", "reconciling", "orphans", "events")
EXCUSES = {FailureClass.CAPACITY, FailureClass.IMAGE_PULL, FailureClass.INFRASTRUCTURE, FailureClass.START_TIMEOUT}
"""What the faults may do to a run whose part was to succeed, if they hit it again and again."""


async def register(world: DemoWorld) -> None:
    artifact = build("witness:witness", Path(__file__).parent / "witness_flow")
    ports = world.ports
    for org_id in ORGS:
        await register_flow(
            ports.flows,
            ports.artifacts,
            ports.clock,
            org_id=org_id,
            spec=artifact.spec,
            artifact=artifact.data,
            prefix=ports.settings.storage.artifact_prefix,
        )


async def evidence_of(world: DemoWorld, storm: Storm) -> Evidence:
    settings = world.stack.settings()
    driver = world.stack.cloud.driver
    tasks = list(driver.tasks().values())
    ends = {story.run.run_id: story.end for story in storm.stories}
    return Evidence(
        runs={run_id: await world.run(run_id) for run_id in ends},
        seen_ends={run_id: end for run_id, end in ends.items() if end is not None},
        cancelled=frozenset(
            story.run.run_id for story in storm.stories if story.cancelled and story.cancelled.cancel_requested_at
        ),
        tasks=tasks,
        doubles=frozenset(storm.doubles),
        testimony=storm.ledger.lines(),
        logs={task.task_id: log_lines(driver.agent.log_path(task.arn)) for task in tasks if task.container_up},
        max_launch_tries=settings.launching.max_launch_tries,
        max_infra_failures=settings.reconciling.max_infra_failures,
    )


async def until_nothing_is_left(world: DemoWorld) -> None:
    """No task, no message, and a scan that has seen as much."""

    async def no_task() -> bool:
        return not still_there(world.stack.cloud.driver.tasks().values())

    async def no_message() -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer: Any = await world.ports.clients.sqs.get_queue_attributes(
            QueueUrl=world.stack.settings().events.queue_url or "",
            AttributeNames=names,  # type: ignore[arg-type]
        )
        return {int(answer["Attributes"][name]) for name in names} == {0}

    await world.until("the end of every task", no_task, timeout_s=SOON_S)
    await world.until("an empty queue", no_message, timeout_s=SOON_S)
    summary = (await world.command("orphans", "scan", "--json"))["data"]["summary"]
    assert (summary["total_running"], summary["orphans_found"]) == (0, 0)


async def everything_written(world: DemoWorld) -> dict[str, list[str]]:
    """Every item of every table but that of the leases."""
    tables = world.stack.settings().tables.model_dump()
    found: dict[str, list[str]] = {}
    for table in (name for key, name in tables.items() if key != "leases"):
        items: list[str] = []
        async for page in world.ports.clients.dynamodb.get_paginator("scan").paginate(TableName=table):
            items += [json.dumps(item, sort_keys=True, default=str) for item in page["Items"]]
        found[table] = sorted(items)
    return found


async def let_every_loop_pass(world: DemoWorld, daemon: Daemon) -> None:
    async def passes() -> dict[str, float]:
        line = 'dagy_loop_ticks_total{{loop="{}",outcome="ok"}}'
        return {loop: await world.metric(daemon.url, line.format(loop)) for loop in LOOPS}

    before = await passes()

    async def passed() -> bool:
        now = await passes()
        return all(now[loop] >= before[loop] + PASSES_AT_REST for loop in LOOPS)

    await world.until(f"{PASSES_AT_REST} passes of every loop", passed, timeout_s=SOON_S)


def wrong_ends(storm: Storm) -> list[str]:
    """Runs whose end does not fit their part."""
    wrong = []
    for story in storm.stories:
        end = story.end
        assert end is not None
        fits = {
            Part.SUCCEEDS: end.status is RunStatus.SUCCEEDED,
            Part.FAILS: end.failure_class is FailureClass.USER_ERROR and end.user_failures + 1 == end.max_attempts,
            Part.WORKER_KILLED: end.status is RunStatus.SUCCEEDED and end.attempt >= 2,
            Part.HOST_LOST: end.status is RunStatus.SUCCEEDED and end.infra_failures >= 1,
            Part.CANCELLED: end.status in (RunStatus.CANCELLED, RunStatus.SUCCEEDED),
            Part.CANCELLED_AT_WORK: end.status in (RunStatus.CANCELLED, RunStatus.SUCCEEDED),
        }[story.part]
        if not fits and end.failure_class not in EXCUSES:
            wrong.append(
                f"{story.part}: {end.run_id} is {end.status} {end.failure_class} at attempt {end.attempt}: {end.error_message}"
            )
    return wrong


def bugs(storm: Storm) -> list[str]:
    """What the daemons themselves called a bug, or could not do. Each has said at least where it listens."""
    found = []
    for log in storm.logs:
        lines = log_lines(log)
        if not any(line.get("event_type") == "HTTP_LISTENING" for line in lines):
            found.append(f"{log} is no daemon's log")
        found += [json.dumps(line) for line in lines if line.get("level") in ("error", "critical")]
    return found


def not_met(storm: Storm, evidence: Evidence) -> list[str]:
    """What must have happened, or the rules that held would have judged nothing."""
    logs = [log_lines(log) for log in storm.logs[:-1]]  # the last daemon was started after the storm
    met = {
        "both daemons were killed while ECS had carried out a RunTask that nobody had heard of": storm.kills[AMBUSH],
        "an attempt had a task beyond its first": evidence.surplus(),
        "a worker's claim was refused because of another's": contested(evidence.tasks, evidence.testimony),
        "a daemon launched runs without a lease": any(map(launched_without_lease, logs)),
        "a daemon launched runs under a lease that it had taken over": any(map(launched_as_heir, logs)),
    }
    return [f"it never happened that {what}" for what, found in met.items() if not found]


def summary(storm: Storm, evidence: Evidence) -> str:
    ends = Counter(f"{story.end.status}" for story in storm.stories if story.end)
    refused = sum(task.exit_code == EXIT_CLAIM_REFUSED for task in evidence.tasks)
    logs = [log_lines(log) for log in storm.logs[:-1]]
    heirs = [runs for runs in map(launched_as_heir, logs) if runs]
    free = [runs for runs in map(launched_without_lease, logs) if runs]
    counts = {
        "launches": Counter(story.part.value for story in storm.stories),
        "SIGKILLs": storm.kills,
        "faults": storm.faults,
        "ends": ends,
    }
    lines = [
        f"  {name}: {sum(of.values())}: " + ", ".join(f"{what} {n}" for what, n in sorted(of.items()))
        for name, of in counts.items()
    ]
    tasks = (
        f"  tasks: {len(evidence.tasks)} made, {evidence.surplus()} of them beyond the first of their attempt, "
        f"{len(evidence.doubles)} behind the daemons' backs; {len(evidence.past_claim())} past their claim, {refused} refused"
    )
    leases = (
        f"  leases: {len(free)} daemons launched {sum(map(len, free))} runs without one, "
        f"{len(heirs)} launched {sum(map(len, heirs))} under one that they had taken over"
    )
    return "\n".join([f"seed {storm.seed}", *lines, tasks, leases])


async def test_after_a_minute_of_kills_every_run_has_ended_and_every_invariant_holds(
    world: DemoWorld, tmp_path: Path
) -> None:
    """The same choices again: KILL_SEED=<seed>. What they meet is a matter of real time."""
    seed = int(os.environ.get("KILL_SEED") or secrets.randbelow(10**6))
    print(f"\nKILL_SEED={seed}")  # noqa: T201 - shown when the test fails, and by -s
    await register(world)
    storm = Storm(world, Ledger(tmp_path / "ledger"), seed, STORM_S)
    try:
        await storm.rage()
        daemon = await storm.calm()
        await until_nothing_is_left(world)
        await let_every_loop_pass(world, daemon)  # what the last events brought is written now
        at_rest = await everything_written(world)
        await let_every_loop_pass(world, daemon)
        assert await everything_written(world) == at_rest
        evidence = await evidence_of(world, storm)
    finally:
        await storm.close()
    print(summary(storm, evidence))  # noqa: T201 - likewise
    wrong = [*violations(evidence), *wrong_ends(storm), *bugs(storm), *not_met(storm, evidence)]
    assert not wrong, "\n".join(wrong)
