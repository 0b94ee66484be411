"""Receives events, writes the ends that they lead to, and deletes them only then. Through ports only."""

from collections.abc import Sequence

from dagy_control.events.decide import Act, EventPlan, EventPolicy, EventSnapshot, Reading, decide, read_event
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import log
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.lifecycle import end_attempt
from dagy_control.model.runs import ActiveRun, RunChange, RunStatus
from dagy_control.model.tasks import SeenTask, TaskIdentity
from dagy_control.ports.events import TaskEvents
from dagy_control.ports.flows import Results
from dagy_control.ports.runs import Runs

BY = "events"
RECEIVE_MAX = 10
_log = log("dagy.events")


class EventEffects:
    """The reads and writes of the event consumer."""

    def __init__(self, runs: Runs, events: TaskEvents, results: Results, writer: RecordWriter, clock: Clock) -> None:
        self._runs = runs
        self._events = events
        self._results = results
        self._writer = writer
        self._clock = clock

    async def load(self, policy: EventPolicy, drain: Drain) -> Sequence[ReceivedEvent]:
        """Up to ten messages; empty when none came in time, or when the drain began."""
        return await drain.interrupt(self._events.receive(wait_s=policy.wait_s)) or ()

    async def apply(self, events: Sequence[ReceivedEvent], policy: EventPolicy) -> list[str]:
        """Handle each, then delete those whose effect is durable (or that have none). Gives one word a message, for the metrics."""
        outcomes = await run_bounded(
            events, lambda event: self._handle(event, policy), limit=RECEIVE_MAX, name="events"
        )
        done: list[str] = []
        words: list[str] = []
        for outcome in outcomes:
            if outcome.error is not None or outcome.value is None:
                _log.warning("event failed", message_id=outcome.item.message_id, error=str(outcome.error))
                words.append("error")
                continue
            words.append(outcome.value)
            if outcome.value not in (Act.LATER, Reading.UNREADABLE):
                done.append(outcome.item.receipt)
        if done:
            await self._events.delete(done)
        return words

    async def _handle(self, event: ReceivedEvent, policy: EventPolicy) -> str:
        reading = read_event(event, policy)
        if event.task is None:
            _log.warning("event unreadable", message_id=event.message_id, problem=event.problem, reading=reading)
            return reading
        if reading is not Reading.JUDGE:
            return reading
        return await self._judge(event, event.task, policy)

    async def _judge(self, event: ReceivedEvent, task: SeenTask, policy: EventPolicy) -> str:
        identity = TaskIdentity.parse(task.started_by)
        run = await self._runs.get(identity.run_id) if identity else None
        stored = None
        if run is not None and run.status is RunStatus.RUNNING and run.committed_result is None:
            stored = await self._results.get(run.run_id, run.attempt, task.arn)
        plan = EventPlan(Act.DROP, "")

        def decide_again(current: ActiveRun | None) -> RunChange | None:
            nonlocal plan
            now = self._clock.now()
            snapshot = EventSnapshot(run=current, task=task, stored_result=stored, receive_count=event.receive_count)
            plan = decide(snapshot, policy, now)
            if plan.outcome is None or current is None:
                return None
            return end_attempt(
                current,
                plan.outcome,
                policy.retry,
                task=task,
                container_name=policy.container_name,
                now=now,
                by=BY,
            )

        if run is None:
            decide_again(None)
            return plan.act
        written, _ = await self._writer.settle(run, decide_again)
        if written is not None and plan.outcome is not None:
            _log.info(
                "ended by event",
                run_id=written.run_id,
                status=written.status,
                attempt=written.attempt,
                rule=plan.outcome.rule,
                failure_class=plan.outcome.failure_class,
                why=plan.why,
            )
        return plan.act
