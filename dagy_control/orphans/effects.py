"""Reads running tasks and their records, records suspicions, and stops orphans. Through ports only."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from dagy_control.errors import Conflict, DagyError, Gone
from dagy_control.kernel.about import about, learned
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.tasks import within
from dagy_control.kernel.telemetry import log
from dagy_control.model.lifecycle import record_stop_cause
from dagy_control.model.runs import ActiveRun, RunChange, RunGlance, RunStatus, StopCause
from dagy_control.model.suspicions import Suspicion
from dagy_control.orphans.criteria import (
    Criteria,
    RunningTask,
    StateKey,
    StateRecord,
    StateTable,
    Suspect,
    Verdict,
)
from dagy_control.orphans.decide import (
    Orphan,
    OrphanPolicy,
    Review,
    ScanPlan,
    ScanSnapshot,
    Stops,
    lacks_its_task,
    review,
)
from dagy_control.orphans.listing import Listing, list_tasks
from dagy_control.ports.orphans import StateTables, Suspicions
from dagy_control.ports.runs import Runs
from dagy_control.ports.tasks import Tasks

BY = "orphans"
KEYS_A_READ = 100
"""Keys of one BatchGetItem (DynamoDB API Reference): a read that fails leaves so many records unread, not all."""
READS_IN_FLIGHT = 8
STOPS_IN_FLIGHT = 8
JUDGED_AT_ONCE = 250
"""Tasks judged between two turns of the event loop: a few milliseconds' work."""
LISTING_SHARE = 0.6
"""Of a scan's time; the rest is for the records of what has been listed."""

T = TypeVar("T")
Records = Mapping[StateKey, Mapping[str, Any] | None]
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

    async def load(self, policy: OrphanPolicy, now: datetime) -> ScanSnapshot:
        """Every running task first, its record after: a record read later than its task can only be newer.

        What cannot be read is left out of the judgement, and told. Raises when the listing breaks off.
        """
        limit_s = LISTING_SHARE * policy.scan_timeout_s
        listing = await list_tasks(self._tasks, self._clock, policy.cluster, policy.criteria, timeout_s=limit_s)
        problems = [*listing.problems]
        runs = await self._load_runs({task.identity.run_id for task in listing.tasks if task.identity}, problems)
        records = await self._load_records({key for task in listing.tasks for key in task.states}, problems)
        judged = await self._review(listing, runs, records, policy.criteria, now)
        unsure = [finding.suspect.task.arn for finding in judged.findings if finding.judgement.confirm]
        suspicions, unread = await self._load_suspicions(unsure, problems)
        return ScanSnapshot(
            review=judged,
            suspicions=suspicions,
            suspicions_unread=unread,
            cut=listing.cut,
            problems=tuple(problems),
            listed=listing.arns,
        )

    async def _review(
        self,
        listing: Listing,
        runs: Mapping[str, RunGlance | None],
        records: Records,
        criteria: Criteria,
        now: datetime,
    ) -> Review:
        judged = Review(Counter({Verdict.KEEP_UNREAD: listing.undescribed} if listing.undescribed else {}))
        for tasks in _slices(listing.tasks, JUDGED_AT_ONCE):
            review((_suspect(task, runs, records) for task in tasks), criteria, now, judged)
            await self._clock.sleep(0)
        return judged

    async def _load_runs(self, run_ids: set[str], problems: list[str]) -> dict[str, RunGlance | None]:
        """The runs that exist; None for one that could not be read."""
        return await self._read_all(sorted(run_ids), self._runs.glance_many, "runs", problems)

    async def _load_records(self, keys: set[StateKey], problems: list[str]) -> dict[StateKey, Mapping[str, Any] | None]:
        """The items that exist; None for one that could not be read. A table that fails spoils no other."""
        by_table: defaultdict[StateTable, list[str]] = defaultdict(list)
        for key in keys:
            by_table[key.table].append(key.key)
        records: dict[StateKey, Mapping[str, Any] | None] = {}
        for table, wanted in by_table.items():
            found = await self._read_all(
                sorted(wanted), partial(self._read_states, table), f"{table.name} states", problems
            )
            records.update((StateKey(table, key), record) for key, record in found.items())
        return records

    async def _read_states(self, table: StateTable, keys: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        return await self._state_tables.read(table.table, table.key_attribute, keys, table.attributes)

    async def _load_suspicions(
        self, arns: Sequence[str], problems: list[str]
    ) -> tuple[Mapping[str, Suspicion], frozenset[str]]:
        """The suspicions on record, and of which tasks that could not be read."""
        found = await self._read_all(arns, self._suspicions.get_many, "suspicions", problems)
        known = {arn: suspicion for arn, suspicion in found.items() if suspicion is not None}
        return known, frozenset(found) - frozenset(known)

    async def _read_all(
        self,
        keys: Sequence[str],
        read: Callable[[Sequence[str]], Awaitable[Mapping[str, T | None]]],
        what: str,
        problems: list[str],
    ) -> dict[str, T | None]:
        """What there is under these keys, 100 a call; None where the call failed, which is told once."""
        outcomes = await run_bounded(
            list(_slices(keys, KEYS_A_READ)), read, limit=READS_IN_FLIGHT, name=f"orphan scan: {what}"
        )
        found: dict[str, T | None] = {}
        failed: list[Exception] = []
        for outcome in outcomes:
            if outcome.error is not None:
                if not isinstance(outcome.error, DagyError):
                    raise outcome.error
                failed.append(outcome.error)
            found.update(dict.fromkeys(outcome.item) if outcome.value is None else outcome.value)
        if unread := sum(value is None for value in found.values()):
            why = f": {failed[0]}" if failed else ""
            problems.append(f"{unread} of {len(keys)} {what} could not be read{why}")
        return found

    async def runs_without_task(self, plan: ScanPlan, policy: OrphanPolicy, now: datetime) -> list[str]:
        """The running runs of this cluster whose tasks the scan has not listed, by the `active` index."""
        pages = self._runs.active(RunStatus.RUNNING)
        return [run.run_id async for page in pages for run in page if lacks_its_task(run, plan.listed, policy, now)]

    async def apply(self, plan: ScanPlan, policy: OrphanPolicy, stop: Callable[[], bool]) -> Stops:
        """Record the suspicions, then stop the orphans, until `stop` says to begin nothing more. One failure does not halt the others."""
        try:
            if plan.suspicions and not stop():
                put = self._suspicions.put_many(plan.suspicions)
                await within(self._clock, policy.scan_timeout_s, put, name="recording suspicions")
        except (
            DagyError,
            TimeoutError,
        ) as error:  # they only make a later scan sure; what this one is sure of can be done
            _log.warning(
                "suspicions not recorded",
                event_type="ORPHAN_SUSPICIONS_LOST",
                suspicions=len(plan.suspicions),
                error=str(error),
            )

        async def stop_one(orphan: Orphan) -> bool:
            with about():
                return await self._stop(orphan, policy)

        outcomes = await run_bounded(plan.stops, stop_one, limit=STOPS_IN_FLIGHT, name="orphan stops", stop=stop)
        failed = [(outcome.item, str(outcome.error)) for outcome in outcomes if outcome.error is not None]
        for orphan, why in failed:
            _log.error("orphan not stopped", event_type="ORPHAN_NOT_STOPPED", **_told(orphan), error=why)
        return Stops(sum(1 for outcome in outcomes if outcome.value), tuple(why for _, why in failed))

    async def _stop(self, orphan: Orphan, policy: OrphanPolicy) -> bool:
        if orphan.own_run_id is not None and not await self._record_timeout(orphan, orphan.own_run_id):
            return False
        try:
            await self._tasks.stop(policy.cluster, orphan.task_arn, reason=f"Orphan scan: {orphan.reason}")
        except Gone:
            return False
        told = {**_told(orphan), "reason": orphan.reason}
        _log.warning("orphan stopped", event_type="ORPHAN_STOPPED", **told)
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
        learned(run)
        try:
            written, recorded_before = await self._writer.settle(run, decide_again)
        except Conflict:
            return False
        return written is not None or bool(recorded_before)


def _told(orphan: Orphan) -> dict[str, Any]:
    """The task, and the run that it was started for, if it is ours."""
    identity = orphan.identity
    of_run = {"run_id": identity.run_id, "run_attempt": identity.attempt} if identity is not None else {}
    return {**of_run, "task_arn": orphan.task_arn}


def _suspect(task: RunningTask, runs: Mapping[str, RunGlance | None], records: Records) -> Suspect:
    run = runs.get(task.identity.run_id) if task.identity else None
    states = tuple(StateRecord(key.table, records.get(key)) for key in task.states)
    unread = (task.identity is not None and run is None and task.identity.run_id in runs) or any(
        key in records and records[key] is None for key in task.states
    )
    return Suspect(task=task, run=run, states=states, unread=unread)


def _slices(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
