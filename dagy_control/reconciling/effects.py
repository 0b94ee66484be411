"""Reads running runs and their tasks, and writes what was decided. Through ports only."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from dagy_control.errors import Conflict, Gone, Permanent
from dagy_control.kernel.about import about, learned, run_keys
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.handover import Handover
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.telemetry import log
from dagy_control.model.lifecycle import end_attempt, record_stop_cause
from dagy_control.model.runs import ActiveRun, FailureClass, RunChange, RunStatus, WorkerResult
from dagy_control.model.tasks import SeenTask
from dagy_control.ports.flows import Results
from dagy_control.ports.runs import Runs
from dagy_control.ports.tasks import DESCRIBE_MAX, Looked, ReadPriority, Tasks
from dagy_control.reconciling.chunks import Chunk, Chunks
from dagy_control.reconciling.decide import (
    ChunkPlan,
    ChunkSnapshot,
    End,
    ReconcilePolicy,
    Stop,
    due_filter,
    judged_again,
    wants_result_object,
)
from dagy_control.reconciling.rotation import Arc
from dagy_control.reconciling.sightings import MissingSightings

BY = "reconciling"
WRITES_IN_FLIGHT = 16
NAMED_MAX = 10
"""Runs that a warning names; the others are counted."""

_log = log("dagy.reconciling")


class ReconcilingEffects:
    """The reads and writes of reconciling. Remembers, across passes, which tasks it has seen missing how often.

    `wanted`: runs that another loop wants looked at, however young they are.
    """

    def __init__(
        self,
        runs: Runs,
        tasks: Tasks,
        results: Results,
        writer: RecordWriter,
        clock: Clock,
        *,
        wanted: Handover | None = None,
    ) -> None:
        self._runs = runs
        self._tasks = tasks
        self._results = results
        self._writer = writer
        self._clock = clock
        self.missing = MissingSightings()
        self._wanted = wanted or Handover()

    async def chunks(
        self, policy: ReconcilePolicy, now: datetime, arc: Arc | None, young: Callable[[int], None]
    ) -> AsyncGenerator[Chunk, None]:
        """The runs that are due, in full calls, while the index is still being read; of an `arc` once it has been.

        `young` is told of each page how many running runs were too young to look at.
        """
        gathered = Chunks(policy.default_cluster, DESCRIBE_MAX)
        async with aclosing(self._due(policy, now, young)) as pages:
            async for due in pages:
                if arc is not None:
                    arc.offer(due)
                    continue
                gathered.add(due)
                for chunk in gathered.full():
                    yield chunk
        if arc is not None:
            gathered.add(arc.taken())
        for chunk in gathered.rest():
            yield chunk

    async def _due(
        self, policy: ReconcilePolicy, now: datetime, young: Callable[[int], None]
    ) -> AsyncGenerator[list[ActiveRun], None]:
        by_age, wanted = due_filter(policy, now), self._wanted.take()
        is_due = (lambda run: by_age(run) or run.run_id in wanted) if wanted else by_age
        async with aclosing(_closable(self._runs.active(RunStatus.RUNNING))) as pages:
            async for page in pages:
                due = list(filter(is_due, page))
                young(len(page) - len(due))
                yield due

    async def look(self, chunk: Chunk) -> ChunkSnapshot:
        """What ECS, and where needed S3, says of these runs. One that cannot be read is marked, and spoils no other.

        Raises `Transient` when ECS cannot be asked now, after some tries: then there is nothing to say of any.
        """
        runs = chunk.runs
        try:
            looked = await self._looked(chunk)
        except Permanent as refusal:
            every = frozenset(run.run_id for run in runs)
            return ChunkSnapshot(
                runs=runs, living={}, over={}, missing_observations={}, results={}, unreadable=every, refusal=refusal
            )
        living, over = looked.living, {task.arn: task for task in looked.over}
        hidden, refused = frozenset(looked.unreadable), set[str]()
        missing_observations: dict[str, int] = {}
        ended: list[ActiveRun] = []
        for run in runs:
            arn = run.external_id or ""
            if arn in living or arn in over:
                if self.missing:
                    self.missing.seen(run.run_id)
                if arn in over:
                    ended.append(run)
            elif arn in hidden:
                refused.add(run.run_id)
            else:
                missing_observations[run.run_id] = self.missing.missed(run)
        if refused:
            _log.warning(
                "ECS does not tell of these tasks: their runs stay as they are",
                event_type="RUN_TASKS_UNREADABLE",
                cluster=chunk.cluster,
                runs=len(refused),
                run_ids=sorted(refused)[:NAMED_MAX],
                remedy="look at external_id of these records: ECS refuses what is no task ARN of this cluster",
            )
        results, unread = await self._load_results(ended, over) if ended else ({}, set())
        return ChunkSnapshot(
            runs=runs,
            living=living,
            over=over,
            missing_observations=missing_observations,
            results=results,
            unreadable=frozenset(unread | refused),
        )

    async def _looked(self, chunk: Chunk) -> Looked:
        cluster = chunk.cluster
        if cluster is None:
            return Looked(living={}, over=(), missing=())
        arns = [run.external_id or "" for run in chunk.runs]
        return await retrying(
            lambda: self._tasks.look(cluster, arns, priority=ReadPriority.RECONCILE), self._clock, key=arns[0]
        )

    def chunks_of(self, runs: Sequence[ActiveRun], policy: ReconcilePolicy) -> Iterator[Chunk]:
        """These runs in full calls, for a second look."""
        gathered = Chunks(policy.default_cluster, DESCRIBE_MAX)
        gathered.add(runs)
        return gathered.rest()

    async def look_for_results(self, lost: Sequence[End]) -> ChunkSnapshot:
        """What the workers of lost tasks have left in S3. Asked last, and only of them: nothing else can tell how they ended."""
        runs = [end.run for end in lost]
        results, unread = await self._load_results(runs, {})
        return ChunkSnapshot(
            runs=runs,
            living={},
            over={},
            missing_observations={end.run.run_id: end.observations for end in lost},
            results=results,
            unreadable=frozenset(unread),
        )

    async def _load_results(
        self, runs: Sequence[ActiveRun], tasks: dict[str, SeenTask]
    ) -> tuple[dict[str, WorkerResult], set[str]]:
        wanted = [run for run in runs if wants_result_object(run, tasks.get(run.external_id or ""))]
        outcomes = await run_bounded(
            wanted,
            lambda run: self._results.get(run.run_id, run.attempt, run.external_id or ""),
            limit=WRITES_IN_FLIGHT,
            name="results",
        )
        for outcome in outcomes:
            if outcome.error is not None:
                told = run_keys(outcome.item)
                _log.warning(
                    "result object unreadable", event_type="RUN_RESULT_UNREADABLE", **told, error=str(outcome.error)
                )
        found = {outcome.item.run_id: outcome.value for outcome in outcomes if outcome.value is not None}
        return found, {outcome.item.run_id for outcome in outcomes if outcome.error is not None}

    async def apply(
        self, plan: ChunkPlan, policy: ReconcilePolicy, stop: Callable[[], bool]
    ) -> tuple[list[End], list[Stop], int]:
        """Write the ends, then stop tasks. Gives the ends written, the stops done, and the number of errors."""

        async def end(each: End) -> End | None:
            with about(each.run):
                return await self._end(each, policy)

        async def stop_task(each: Stop) -> bool:
            with about(each.run):
                return await self._stop(each, policy)

        ended = await run_bounded(plan.ends, end, limit=WRITES_IN_FLIGHT, name="ends", stop=stop)
        stopped = await run_bounded(plan.stops, stop_task, limit=WRITES_IN_FLIGHT, name="stops", stop=stop)
        failures = [(each.item.run, each.error) for each in ended if each.error is not None]
        failures += [(each.item.run, each.error) for each in stopped if each.error is not None]
        for run, error in failures:
            _log.warning(
                "reconciling a run failed", event_type="RUN_RECONCILE_FAILED", **run_keys(run), error=str(error)
            )
        return (
            [outcome.value for outcome in ended if outcome.value],
            [outcome.item for outcome in stopped if outcome.value],
            len(failures),
        )

    async def _end(self, end: End, policy: ReconcilePolicy) -> End | None:
        """Write the end; against a newer record it is judged again, so that a stale page never beats a result or a cancel.

        Gives the end as it was written, None when another writer had made it needless.
        """
        outcome = end.outcome

        def decide_again(run: ActiveRun) -> RunChange | None:
            nonlocal outcome
            now = self._clock.now()
            if run is not end.run:
                newer = judged_again(end, run, policy, now)
                if newer is None:
                    return None
                outcome = newer
            return end_attempt(
                run,
                outcome,
                policy.retry,
                task=end.task,
                container_name=policy.container_name,
                now=now,
                by=BY,
                prices=policy.prices,
            )

        start: ActiveRun = end.run
        resized = outcome.failure_class is FailureClass.OUT_OF_MEMORY and policy.retry.profiles is not None
        if resized or end.run.attempt > 1:
            # The index does not tell with what size it ran, nor what its earlier attempts cost.
            start = await self._runs.get(end.run.run_id) or end.run
        written, _ = await self._writer.settle(start, decide_again)
        self.missing.seen(end.run.run_id)
        if written is None:
            return None
        _log.info(
            "reconciled",
            event_type="RUN_RECONCILED",
            correlation_id=written.correlation_id,
            status=written.status,
            rule=outcome.rule,
            failure_class=outcome.failure_class,
            why=outcome.message,
        )
        return replace(end, outcome=outcome)

    async def _stop(self, stop: Stop, policy: ReconcilePolicy) -> bool:
        """The cause on the record first, then StopTask. A changed record stops nothing: the next pass looks again."""
        run = stop.run
        if run.stop_cause is not stop.cause:
            try:
                learned(await self._writer.write(record_stop_cause(run, stop.cause, now=self._clock.now(), by=BY)))
            except Conflict:
                return False
        try:
            cluster = run.cluster or policy.default_cluster
            await self._tasks.stop(cluster, run.external_id or "", reason=stop.reason)
        except Gone:
            return False
        told = {"task_arn": run.external_id, "cause": stop.cause, "why": stop.reason}
        _log.info("task stopped", event_type="RUN_TASK_STOPPED", **told)
        return True


async def _closable(pages: AsyncIterator[Sequence[ActiveRun]]) -> AsyncGenerator[Sequence[ActiveRun], None]:
    """The port's pages as something that can be closed, so that a pass that ends early leaves no read under way."""
    try:
        async for page in pages:
            yield page
    finally:
        if isinstance(pages, AsyncGenerator):
            await pages.aclose()
