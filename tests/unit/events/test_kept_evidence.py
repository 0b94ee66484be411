"""What ECS says of a task whose worker has ended the run itself: kept on the record, once, and nothing else changes."""

from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry

from dagy_control.events.decide import Act, EventPolicy, EventSnapshot, decide
from dagy_control.events.effects import EventEffects
from dagy_control.events.loop import EventLoop
from dagy_control.events.metrics import EventMetrics
from dagy_control.model.cost import PriceTable
from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.tasks import SeenTask
from tests.builders import ARN, INSTALLATION, NOW, OTHER_ARN, WORKER, a_run, ago, running, stopped, tick_at, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.events import FakeTaskEvents
from tests.fakes.flows import FakeResults
from tests.fakes.runs import FakeRuns

POLICY = EventPolicy(installation=INSTALLATION, container_name=WORKER, prices=PriceTable(x86_vcpu_hour_usd=1.0))


def succeeded(**values: Any) -> Run:
    return a_run(RunStatus.SUCCEEDED, external_id=ARN, completed_at=ago(5), **values)


def an_end(**values: Any) -> SeenTask:
    sized: dict[str, Any] = {"cpu": 1024, "memory_mib": 1024, "pull_started_at": ago(3600), "stopped_at": NOW}
    return stopped(running(), 0, **{**sized, **values})


async def after_events(run: Run, *tasks: SeenTask) -> FakeRuns:
    clock, runs = VirtualClock(), FakeRuns(run)
    queue = FakeTaskEvents(clock)
    effects = EventEffects(runs, queue, FakeResults(), writer_of(runs, clock), clock)
    loop = EventLoop("events-1", POLICY, effects, EventMetrics(CollectorRegistry()))
    for task in tasks:
        queue.put(task)
        await clock.run(loop.tick(tick_at(clock)))
    return runs


async def test_the_evidence_and_the_cost_of_a_success_are_kept() -> None:
    runs = await after_events(succeeded(), an_end())
    run = runs.records["r1"]
    assert run.evidence is not None
    assert run.evidence["task_arn"] == ARN
    assert run.estimated_cost_usd == round(1.0 + 0.004445, 8)
    assert (run.status, run.completed_at, run.transitions) == (RunStatus.SUCCEEDED, ago(5), ())


async def test_an_event_that_comes_twice_is_kept_once() -> None:
    runs = await after_events(succeeded(), an_end(version=6), an_end(version=7))
    assert len(runs.writes) == 1


def test_only_the_end_of_its_last_task_is_kept() -> None:
    def act(run: Run, task: SeenTask) -> Act:
        return decide(EventSnapshot(run=run, task=task), POLICY, NOW).act

    assert act(succeeded(), an_end()) is Act.KEEP
    assert act(succeeded(), an_end(arn=OTHER_ARN)) is Act.DROP
    assert act(replace(succeeded(), evidence={"task_arn": ARN}), an_end()) is Act.DROP
