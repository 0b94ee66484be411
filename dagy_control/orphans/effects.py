"""Reads running tasks and their records, records suspicions, and stops orphans. Through ports only."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagy_control.errors import Conflict, Gone, Transient
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import log
from dagy_control.model.lifecycle import record_stop_cause
from dagy_control.model.runs import ActiveRun, RunChange, RunStatus, StopCause
from dagy_control.model.tasks import SeenTask, TaskIdentity
from dagy_control.orphans.criteria import OwnRun, StateTable, Suspect
from dagy_control.orphans.decide import Orphan, OrphanPolicy, ScanPlan, ScanSnapshot
from dagy_control.ports.orphans import StateTables, Suspicions
from dagy_control.ports.runs import Runs
from dagy_control.ports.tasks import ReadPriority, Tasks

BY = "orphans"
READS_IN_FLIGHT = 8
STOPS_IN_FLIGHT = 8
_log = log("dagy.orphans")


class OrphanEffects:
    """The reads and writes of the orphan scanner."""

    def __init__(
        self,
        runs: Runs,
        tasks: Tasks,
        state_tables: StateTables,
        suspicions: Suspicions,
        writer: RecordWriter,
        clock: Clock,
    ) -> None:
        self._runs = runs
        self._tasks = tasks
        self._state_tables = state_tables
        self._suspicions = suspicions
        self._writer = writer
        self._clock = clock

    async def load(self, policy: OrphanPolicy) -> ScanSnapshot:
        """Every running task first, its record after: a record read later than its task can only be newer.

        Raises rather than answer in part: nothing is ever stopped on a partial listing or a failed read.
        """
        tasks: list[SeenTask] = []
        async for arns in self._tasks.list_running(policy.cluster):
            if arns:
                described = await self._tasks.describe(policy.cluster, arns, priority=ReadPriority.ORPHANS, tags=True)
                if described.unreadable:
                    raise Transient(f"ECS lists {len(described.unreadable)} tasks that it does not describe")
                tasks.extend(task for task in described.tasks if not task.has_ended)
        by_tag = {table.task_tag: table for table in policy.criteria.state_tables}
        mapped = [(task, *_map(task, policy.criteria.installation, by_tag)) for task in tasks]
        runs = await self._load_runs({identity.run_id for _, identity, _ in mapped if identity})
        records = await self._load_records([(table, task) for task, _, table in mapped if table])
        suspicions = await self._suspicions.get_many(
            [task.arn for task, identity, table in mapped if identity or table]
        )
        suspects = [
            Suspect(
                task=task,
                identity=identity,
                table=table,
                run=runs.get(identity.run_id) if identity else None,
                record=records.get((table.name, task.tags[table.task_tag])) if table else None,
            )
            for task, identity, table in mapped
        ]
        return ScanSnapshot(suspects=suspects, suspicions=suspicions)

    async def _load_runs(self, run_ids: set[str]) -> dict[str, OwnRun]:
        outcomes = await run_bounded(sorted(run_ids), self._runs.get, limit=READS_IN_FLIGHT, name="orphan runs")
        runs: dict[str, OwnRun] = {}
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            if (run := outcome.value) is not None:
                runs[run.run_id] = OwnRun(
                    run_id=run.run_id,
                    status=run.status,
                    attempt=run.attempt,
                    external_id=run.external_id,
                    completed_at=run.completed_at,
                )
        return runs

    async def _load_records(
        self, wanted: Sequence[tuple[StateTable, SeenTask]]
    ) -> dict[tuple[str, str], Mapping[str, Any]]:
        keys: defaultdict[str, set[str]] = defaultdict(set)
        tables: dict[str, StateTable] = {}
        for table, task in wanted:
            tables[table.name] = table
            keys[table.name].add(task.tags[table.task_tag])
        records: dict[tuple[str, str], Mapping[str, Any]] = {}
        for name, table in tables.items():
            found = await self._state_tables.read(
                table.table, table.key_attribute, sorted(keys[name]), table.attributes
            )
            records.update(((name, key), record) for key, record in found.items())
        return records

    async def apply(self, plan: ScanPlan, policy: OrphanPolicy, stop: Callable[[], bool]) -> int:
        """Record the suspicions, then stop the orphans. Gives how many were stopped; one failure does not halt the others."""
        if plan.suspicions:
            await self._suspicions.put_many(plan.suspicions)
        outcomes = await run_bounded(
            plan.stops, lambda orphan: self._stop(orphan, policy), limit=STOPS_IN_FLIGHT, name="orphan stops", stop=stop
        )
        for outcome in outcomes:
            if outcome.error is not None:
                _log.warning("orphan not stopped", task_arn=outcome.item.task_arn, error=str(outcome.error))
        return sum(1 for outcome in outcomes if outcome.value)

    async def _stop(self, orphan: Orphan, policy: OrphanPolicy) -> bool:
        if orphan.own_run_id is not None and not await self._record_timeout(orphan, orphan.own_run_id):
            return False
        try:
            await self._tasks.stop(policy.cluster, orphan.task_arn, reason=f"Orphan scan: {orphan.reason}")
        except Gone:
            return False
        _log.warning("orphan stopped", task_arn=orphan.task_arn, reason=orphan.reason)
        return True

    async def _record_timeout(self, orphan: Orphan, run_id: str) -> bool:
        """That our own run exceeded its runtime, on the record before StopTask, so that its end is judged by it."""

        def decide_again(run: ActiveRun) -> RunChange | bool:
            if run.status is not RunStatus.RUNNING or run.external_id != orphan.task_arn:
                return run.status.is_terminal
            if run.stop_cause is not None:
                return True
            return record_stop_cause(run, StopCause.TIMED_OUT, now=self._clock.now(), by=BY)

        run = await self._runs.get(run_id)
        if run is None:
            return True
        try:
            written, recorded_before = await self._writer.settle(run, decide_again)
        except Conflict:
            return False
        return written is not None or bool(recorded_before)


def _map(
    task: SeenTask, installation: str, by_tag: Mapping[str, StateTable]
) -> tuple[TaskIdentity | None, StateTable | None]:
    """Whose task it is: by `startedBy` first (StopTask deletes tags), else by the tag of a configured state table."""
    identity = TaskIdentity.parse(task.started_by)
    if identity is not None and identity.installation == installation:
        return identity, None
    table = next((by_tag[tag] for tag in sorted(by_tag) if tag in task.tags), None)
    return None, table
