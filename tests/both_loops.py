"""Launching and reconciling over the same records and tasks: whole stories of a run."""

from typing import Any

from prometheus_client import CollectorRegistry

from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import LaunchRetryPolicy, claim_attempt, commit_result
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import ResultStatus, Run, WorkerResult
from dagy_control.reconciling.decide import ReconcilePolicy
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics
from tests.builders import CLUSTER, WORKER, tick_at, writer_of
from tests.fakes.flows import FakeResults
from tests.launch_bed import LaunchBed

PROFILES = {"small": TaskSize(256, 512), "medium": TaskSize(1024, 2048), "large": TaskSize(2048, 4096)}


class BothLoops(LaunchBed):
    """Launching, and reconciling beside it over the same records and tasks. `start_s`: what a task takes to start."""

    def __init__(self, *runs: Run, **where: Any) -> None:
        super().__init__(*runs, where=where or None, retry=LaunchRetryPolicy())
        self.retry = RetryPolicy(profiles=PROFILES)
        self.start_s = 45.0
        policy = ReconcilePolicy(container_name=WORKER, default_cluster=CLUSTER, retry=self.retry, stale_threshold_s=0)
        effects = ReconcilingEffects(self.runs, self.tasks, FakeResults(), writer_of(self.runs, self.clock), self.clock)
        self.reconciling = ReconcilingLoop(policy, effects, ReconcilingMetrics(CollectorRegistry()), self.clock)

    async def run_and_end(self, exit_code: int | None, **stopped: Any) -> None:
        """The run's task starts, its worker claims it, and the task ends like this; then both loops tick."""
        self.tasks.finish(await self.run_task(), exit_code=exit_code, **stopped)
        await self.reconcile()

    async def succeed(self) -> None:
        """The run's task starts, its worker claims it and commits its result."""
        arn = await self.run_task()
        await self.clock.advance(120)
        result = WorkerResult(attempt=self.run.attempt, status=ResultStatus.SUCCEEDED, exit_code=0)
        self.write(commit_result(self.run, result, self.retry, task_arn=arn, now=self.clock.now()))

    async def run_task(self) -> str:
        """Launching ticks, the task starts, its worker claims the attempt; gives its ARN."""
        await self.tick()
        arn = self.run.external_id or ""
        await self.clock.advance(self.start_s)
        self.tasks.start(arn, at=self.clock.now())
        self.write(claim_attempt(self.run, attempt=self.run.attempt, task_arn=arn, now=self.clock.now()))
        return arn

    async def reconcile(self) -> None:
        """Reconciling ticks, and what is tried again becomes due."""
        await self.clock.advance(30)
        await self.clock.run(self.reconciling.tick(tick_at(self.clock)))
        await self.until_due()

    async def until_due(self) -> None:
        """Let as much time pass as the run must wait."""
        due = self.run.not_before or self.clock.now()
        await self.clock.advance(max(0.0, (due - self.clock.now()).total_seconds()))

    @property
    def story(self) -> list[tuple[str, str]]:
        """(to, why) of each step, why without what ECS said."""
        return [(step.to_status, step.why.partition(": ")[0]) for step in self.run.transitions]
