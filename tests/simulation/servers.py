"""The services, in memory and in one instant: the runs table with its lagging index, the queue, S3, the small tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from dagy_control.errors import Conflict
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.runs import ActiveRun, Run, RunChange, RunStatus, WorkerResult, active_view, applied
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tasks import SeenTask


def index_key(run: ActiveRun) -> tuple[float, str]:
    """Where a run stands in the index: by the time since when it is in its state."""
    return (run.active_since.timestamp() if run.active_since else 0.0, run.run_id)


Watch = Callable[[Run | None, Run, RunChange | None], None]


@dataclass(eq=False)
class RunsTable:
    """DAGY_RUNS. `history` lets an index read show the past; `watch` sees every write that takes effect.

    `on_self_conflict` is told of a change that is refused because it has already been made, which its writer ought to know.
    """

    watch: Watch
    now_s: Callable[[], float]
    on_self_conflict: Callable[[RunChange], None] = lambda _: None
    last_change: dict[str, RunChange] = field(default_factory=dict)
    records: dict[str, Run] = field(default_factory=dict)
    history: dict[str, list[tuple[float, Run]]] = field(default_factory=dict)
    writes: int = 0

    def get(self, run_id: str) -> Run | None:
        return self.records.get(run_id)

    def create(self, run: Run, op_id: str) -> Run:
        current = self.records.get(run.run_id)
        if current is not None:
            if current.op_id == op_id:
                return current
            raise Conflict(f"run {run.run_id} exists", current=current)
        self._store(None, replace(run, op_id=op_id), None)
        return self.records[run.run_id]

    def change(self, change: RunChange, op_id: str) -> Run:
        current = self.records.get(change.run_id)
        if current is None or current.version != change.expected_version:
            if current is not None and current.op_id == op_id:
                return current
            if self.last_change.get(change.run_id) is change:
                self.on_self_conflict(change)
            raise Conflict(f"run {change.run_id} is not at version {change.expected_version}", current=current)
        self.last_change[change.run_id] = change
        self._store(current, applied(current, change, op_id), change)
        return self.records[change.run_id]

    def active(self, status: RunStatus, lag_s: float, after: tuple[float, str] | None = None) -> list[ActiveRun]:
        """The index as it was `lag_s` ago, from behind `after` on."""
        found = [active_view(run) for run in self._seen(self.now_s() - lag_s) if run.status is status]
        return sorted((run for run in found if after is None or index_key(run) > after), key=index_key)

    def _seen(self, at: float) -> Iterable[Run]:
        if at >= self.now_s():
            return self.records.values()
        return (run for run in (self._as_of(run_id, at) for run_id in self.records) if run is not None)

    def _as_of(self, run_id: str, at: float) -> Run | None:
        return next((run for when, run in reversed(self.history[run_id]) if when <= at), None)

    def _store(self, before: Run | None, after: Run, change: RunChange | None) -> None:
        self.records[after.run_id] = after
        versions = self.history.setdefault(after.run_id, [])
        versions.append((self.now_s(), after))
        del versions[:-8]
        self.writes += 1
        self.watch(before, after, change)


@dataclass(eq=False)
class _Message:
    body: SeenTask
    number: int
    visible_at: float
    receives: int = 0


@dataclass(eq=False)
class EventQueue:
    """SQS: at least once, in no order, invisible for a while after each receive."""

    now_s: Callable[[], float]
    visibility_s: float = 30.0
    messages: dict[int, _Message] = field(default_factory=dict)
    sent: int = 0

    def send(self, task: SeenTask, delay_s: float) -> None:
        self.sent += 1
        self.messages[self.sent] = _Message(task, self.sent, self.now_s() + delay_s)

    def receive(self) -> Sequence[ReceivedEvent]:
        ready = sorted((m for m in self.messages.values() if m.visible_at <= self.now_s()), key=lambda m: m.visible_at)
        for message in ready[:10]:
            message.visible_at = self.now_s() + self.visibility_s
            message.receives += 1
        return [
            ReceivedEvent(
                receipt=str(message.number),
                message_id=str(message.number),
                task=message.body,
                receive_count=message.receives,
            )
            for message in ready[:10]
        ]

    def postpone(self, delays_s: Mapping[str, int]) -> None:
        for receipt, delay_s in delays_s.items():
            if int(receipt) in self.messages:
                self.messages[int(receipt)].visible_at = self.now_s() + delay_s

    def delete(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            self.messages.pop(int(receipt), None)


@dataclass(eq=False)
class SmallStores:
    """Result objects and when they came, suspicions, state tables. `writes`: how many there have been."""

    writes: int = 0
    put_at: dict[tuple[str, int], datetime] = field(default_factory=dict)
    results: dict[tuple[str, int, str], WorkerResult] = field(default_factory=dict)
    suspicions: dict[str, Suspicion] = field(default_factory=dict)
    states: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)


FORGETS_FROM_LAG_S = 2.0
FORGETS_AGAIN_AFTER_S = 1800.0
"""A stale answer of DescribeTasks may lack a task, but no task twice in so long a time: eventual consistency is a matter of seconds."""


@dataclass(eq=False)
class TaskHistory:
    """What tasks looked like at each change of state: DescribeTasks and ListTasks are eventually consistent.

    Source: "DescribeTasks" and "ListTasks", ECS API reference: results may be behind by seconds.
    """

    now_s: Callable[[], float]
    states: dict[str, list[tuple[float, Mapping[str, Any]]]] = field(default_factory=dict)
    forgotten: dict[str, float] = field(default_factory=dict)
    blind_until_s: float = 0.0

    def keep(self, task: Mapping[str, Any]) -> None:
        """The task is, from now on, as given."""
        self.states.setdefault(task["taskArn"], []).append((self.now_s(), task))

    def answer(self, operation: str, request: Mapping[str, Any], fresh: dict[str, Any], lag_s: float) -> dict[str, Any]:
        """The answer to a read as it was `lag_s` ago."""
        at = self.now_s() - lag_s
        if operation == "DescribeTasks":
            then = {**fresh, "tasks": [self._described(task, at) for task in fresh["tasks"]]}
            return self._without(then, self._forgettable(then)) if lag_s > FORGETS_FROM_LAG_S else then
        wanted = request.get("startedBy")
        if "nextToken" in fresh or "nextToken" in request:
            return fresh  # a stale answer of several pages would take a past of the token too
        return {**fresh, "taskArns": [arn for arn in self.states if self._ran(arn, at, wanted)][:100]}

    def seen(self, operation: str, fresh: dict[str, Any]) -> dict[str, Any]:
        """The answer that is up to date; while ECS is looked for in the wrong region, it knows of nothing."""
        if operation == "DescribeTasks" and self.now_s() < self.blind_until_s:
            return self._without(fresh, [task["taskArn"] for task in fresh["tasks"]])
        return fresh

    def _forgettable(self, answer: Mapping[str, Any]) -> list[str]:
        """The first task that was not missing from an answer lately: no task is missing for long."""
        at = self.now_s()
        for task in answer["tasks"]:
            if at - self.forgotten.get(task["taskArn"], -FORGETS_AGAIN_AFTER_S) >= FORGETS_AGAIN_AFTER_S:
                self.forgotten[task["taskArn"]] = at
                return [task["taskArn"]]
        return []

    def _without(self, answer: Mapping[str, Any], arns: Sequence[str]) -> dict[str, Any]:
        missing = [{"arn": arn, "reason": "MISSING"} for arn in arns]
        shown = [task for task in answer["tasks"] if task["taskArn"] not in arns]
        return {**answer, "tasks": shown, "failures": [*answer.get("failures", ()), *missing]}

    def _described(self, task: dict[str, Any], at: float) -> dict[str, Any]:
        """An older state where one is known; the tags are those that were asked for."""
        then = self._as_of(task["taskArn"], at)
        return {**then, "tags": task.get("tags", [])} if then is not None else task

    def _ran(self, arn: str, at: float, started_by: str | None) -> bool:
        then = self._as_of(arn, at)
        return (
            then is not None
            and then["desiredStatus"] == "RUNNING"
            and (started_by is None or then.get("startedBy") == started_by)
        )

    def _as_of(self, arn: str, at: float) -> Mapping[str, Any] | None:
        return next((task for when, task in reversed(self.states[arn]) if when <= at), None)
