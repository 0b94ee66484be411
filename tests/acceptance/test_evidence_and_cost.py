"""Over real processes: what ECS says of every task of a run stays on its record, and the run's cost is their sum."""

import signal

import pytest

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import end_process
from dagy_control.model.runs import Run, RunStatus
from tests.acceptance.looking import SOON_S, at_work, ended

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]


async def test_a_run_whose_host_failed_keeps_both_tasks_and_costs_both(world: DemoWorld) -> None:
    daemon = await world.stack.start_daemon()
    try:
        run = await at_work(world, await world.launch("probe", "acme", "evidence", seconds=3.0))
        world.stack.cloud.driver.fail_host(run.external_id or "")
        done = await ended(world, run)

        async def kept() -> Run | None:
            now = await world.run(run.run_id)
            return now if (now.evidence or {}).get("task_arn") == done.external_id else None

        # The worker ended the run before its task stopped: the event of the stop brings the rest.
        whole = await world.until("the evidence of the last task", kept, timeout_s=SOON_S)
        shown = await world.command("runs", "show", run.run_id, "--json")
    finally:
        await end_process(daemon.process, signal.SIGTERM)
    assert (whole.status, whole.attempt, whole.completed_at) == (RunStatus.SUCCEEDED, 2, done.completed_at)
    (first,) = [step.evidence for step in whole.transitions if step.evidence]
    assert whole.evidence is not None
    assert first["task_arn"] == run.external_id
    assert {first["billed_seconds"], whole.evidence["billed_seconds"]} == {60}  # a minute at least
    assert whole.estimated_cost_usd == pytest.approx(first["cost_usd"] + whole.evidence["cost_usd"])
    assert shown["estimated_cost_usd"] == whole.estimated_cost_usd
