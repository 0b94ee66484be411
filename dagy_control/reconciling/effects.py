"""Reads pages of running runs and their tasks, and writes what was decided. Through ports only."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from dagy_control.errors import Conflict, Gone, Permanent
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import log
from dagy_control.model.lifecycle import end_attempt, record_stop_cause
from dagy_control.model.outcomes import Sighting, judge
from dagy_control.model.runs import ActiveRun, FailureClass, RunChange, RunStatus, WorkerResult
from dagy_control.model.tasks import SeenTask
from dagy_control.ports.flows import Results
from dagy_control.ports.runs import Runs
from dagy_control.ports.tasks import ReadPriority, Tasks
from dagy_control.reconciling.decide import (
    End,
    PagePlan,
    PageSnapshot,
    ReconcilePolicy,
    Stop,
    is_due,
    wants_result_object,
)

BY = "reconciling"
DESCRIBE_MAX = 100
WRITES_IN_FLIGHT = 16
_log = log("dagy.reconciling")


def _batches(arns: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (arns[start : start + size] for start in range(0, len(arns), size))


class ReconcilingEffects:
    """The reads and writes of reconciling. Remembers, across passes, which tasks it has seen missing how often."""

    def __init__(self, runs: Runs, tasks: Tasks, results: Results, writer: RecordWriter, clock: Clock) -> None:
        self._runs = runs
        self._tasks = tasks
        self._results = results
        self._writer = writer
        self._clock = clock
        self._missing: dict[str, tuple[str | None, int]] = {}
        self._missing_now: dict[str, tuple[str | None, int]] = {}

    async def pages(self, policy: ReconcilePolicy, now: datetime) -> AsyncGenerator[Sequence[ActiveRun], None]:
        """The runs that are due, streamed; a run counts as missing twice only if two passes in a row miss it."""
        self._missing_now = {}
        async for page in self._runs.active(RunStatus.RUNNING):
            due = [run for run in page if is_due(run, policy, now)]
            if due:
                yield due
        self._missing = self._missing_now

    async def load(self, runs: Sequence[ActiveRun], policy: ReconcilePolicy) -> PageSnapshot:
        """What ECS, and where needed S3, says of these runs. One that cannot be read is marked, and spoils no other.

        Raises `Transient` when ECS cannot be asked now: then there is nothing to say of any.
        """
        tasks: dict[str, SeenTask] = {}
        unreadable: set[str] = set()
        by_cluster: defaultdict[str, list[str]] = defaultdict(list)
        for run in runs:
            if run.external_id:
                by_cluster[run.cluster or policy.default_cluster].append(run.external_id)
        groups = [(cluster, arns) for cluster, every in by_cluster.items() for arns in _batches(every, DESCRIBE_MAX)]
        outcomes = await run_bounded(
            groups,
            lambda group: self._tasks.describe(group[0], group[1], priority=ReadPriority.RECONCILE),
            limit=policy.describe_concurrency,
            name="describe",
        )
        refusal: Permanent | None = None
        for outcome in outcomes:
            if isinstance(outcome.error, Permanent):
                refusal = refusal or outcome.error
                unreadable.update(outcome.item[1])
            elif outcome.error is not None:
                raise outcome.error
            elif outcome.value is not None:
                tasks.update((task.arn, task) for task in outcome.value.tasks)
                unreadable.update(outcome.value.unreadable)
        shown = [run for run in runs if run.external_id not in unreadable]
        results, unread = await self._load_results(shown, tasks)
        return PageSnapshot(
            runs=runs,
            tasks=tasks,
            missing_observations=self._observe_missing(run for run in shown if (run.external_id or "") not in tasks),
            results=results,
            unreadable=frozenset(unread | {run.run_id for run in runs if run.external_id in unreadable}),
            refusal=refusal,
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
                _log.warning("result object unreadable", run_id=outcome.item.run_id, error=str(outcome.error))
        found = {outcome.item.run_id: outcome.value for outcome in outcomes if outcome.value is not None}
        return found, {outcome.item.run_id for outcome in outcomes if outcome.error is not None}

    def _observe_missing(self, runs: Iterable[ActiveRun]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for run in runs:
            arn, before = self._missing.get(run.run_id, (run.external_id, 0))
            counts[run.run_id] = before + 1 if arn == run.external_id else 1
            self._missing_now[run.run_id] = (run.external_id, counts[run.run_id])
        return counts

    async def apply(
        self, plan: PagePlan, policy: ReconcilePolicy, stop: Callable[[], bool]
    ) -> tuple[list[End], list[Stop], int]:
        """Write the ends, then stop tasks. Gives the ends written, the stops done, and the number of errors."""
        ended = await run_bounded(
            plan.ends, lambda end: self._end(end, policy), limit=WRITES_IN_FLIGHT, name="ends", stop=stop
        )
        stopped = await run_bounded(
            plan.stops, lambda each: self._stop(each, policy), limit=WRITES_IN_FLIGHT, name="stops", stop=stop
        )
        failures = [(each.item.run, each.error) for each in ended if each.error is not None]
        failures += [(each.item.run, each.error) for each in stopped if each.error is not None]
        for run, error in failures:
            _log.warning("reconciling a run failed", run_id=run.run_id, error=str(error))
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
                if run.status is not RunStatus.RUNNING or (run.attempt, run.external_id) != (
                    end.run.attempt,
                    end.run.external_id,
                ):
                    return None
                sighting = Sighting(
                    run=run,
                    task=end.task,
                    now=now,
                    container_name=policy.container_name,
                    missing_grace_s=policy.missing_grace_s,
                    missing_observations=self._missing_now.get(run.run_id, (None, 0))[1],
                    stored_result=end.stored_result,
                )
                outcome = judge(sighting)
            return end_attempt(
                run, outcome, policy.retry, task=end.task, container_name=policy.container_name, now=now, by=BY
            )

        start: ActiveRun = end.run
        if outcome.failure_class is FailureClass.OUT_OF_MEMORY and policy.retry.profiles is not None:
            # The index does not tell with what size it ran.
            start = await self._runs.get(end.run.run_id) or end.run
        written, _ = await self._writer.settle(start, decide_again)
        if written is None:
            return None
        _log.info(
            "reconciled",
            run_id=written.run_id,
            status=written.status,
            attempt=written.attempt,
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
                await self._writer.write(record_stop_cause(run, stop.cause, now=self._clock.now(), by=BY))
            except Conflict:
                return False
        try:
            cluster = run.cluster or policy.default_cluster
            await self._tasks.stop(cluster, run.external_id or "", reason=stop.reason)
        except Gone:
            return False
        _log.info("task stopped", run_id=run.run_id, task_arn=run.external_id, cause=stop.cause, why=stop.reason)
        return True
