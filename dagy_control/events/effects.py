"""Receives events, writes the ends that they lead to, and deletes them only then. Through ports only."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from dagy_control.errors import Conflict, DagyError, Transient
from dagy_control.events.decide import (
    Act,
    EventPlan,
    EventPolicy,
    EventSnapshot,
    Handled,
    Reading,
    decide,
    later_delay_s,
    overtaken,
    read_event,
)
from dagy_control.events.telling import without_values
from dagy_control.kernel.about import about
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import log
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.lifecycle import end_attempt
from dagy_control.model.runs import ActiveRun, Run, RunChange, RunStatus
from dagy_control.model.stop_evidence import keep_evidence
from dagy_control.model.tasks import SeenTask, TaskIdentity
from dagy_control.ports.events import DeadLetters, TaskEvents
from dagy_control.ports.flows import Results
from dagy_control.ports.runs import Runs

BY = "events"
RECEIVE_MAX = 10
VERSIONS_MAX = 10_000
"""Ended tasks whose version is remembered, the latest: some 3 MB. An older duplicate costs one read and changes nothing."""
ERROR = "error"
KEPT = frozenset({Act.LATER, Reading.UNREADABLE, ERROR})
"""What leaves a message in the queue."""
_log = log("dagy.events")


class EventEffects:
    """The reads and writes of the event consumer. One for all receivers of a queue: they share what is known of versions."""

    def __init__(
        self,
        runs: Runs,
        events: TaskEvents,
        results: Results,
        writer: RecordWriter,
        clock: Clock,
        *,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self._runs = runs
        self._events = events
        self._results = results
        self._writer = writer
        self._clock = clock
        self._dead_letters = dead_letters
        self._versions: OrderedDict[str, int] = OrderedDict()

    async def load(self, policy: EventPolicy, drain: Drain) -> Sequence[ReceivedEvent]:
        """Up to ten messages; empty when none came in time, or when the drain began."""
        return await drain.interrupt(self._events.receive(wait_s=policy.wait_s)) or ()

    async def count_dead_letters(self) -> int | None:
        """How many messages are set aside; None without a dead-letter queue."""
        return await self._dead_letters.count() if self._dead_letters is not None else None

    async def apply(self, events: Sequence[ReceivedEvent], policy: EventPolicy) -> list[Handled]:
        """Handle each, then delete those whose effect is durable (or that have none). Gives what became of each."""
        stale = overtaken(events, self._versions)
        outcomes = await run_bounded(
            [event for event in events if event.receipt not in stale],
            lambda event: self._handle(event, policy),
            limit=RECEIVE_MAX,
            name="events",
        )
        done = list(stale)
        handled = [Handled(Reading.STALE)] * len(stale)
        later: dict[str, int] = {}
        for outcome in outcomes:
            event, word = outcome.item, outcome.value
            if word is None:
                word = await self._failed(event, outcome.error, policy)
            handled.append(word)
            if word.result == Act.LATER:
                later[event.receipt] = later_delay_s(event.receive_count, policy)
            elif word.result not in KEPT:
                done.append(event.receipt)
                if word.result in (Act.END, Act.KEEP, Act.DROP):
                    self._remember(event)
        if later:
            await self._postpone(later)
        if done:
            await self._events.delete(done)
        return handled

    async def _handle(self, event: ReceivedEvent, policy: EventPolicy) -> Handled:
        reading = read_event(event, policy)
        if event.task is None:
            _log.warning(
                "event unreadable",
                event_type="EVENT_UNREADABLE",
                message_id=event.message_id,
                problem=event.problem,
                reading=reading,
            )
            if reading is Reading.SET_ASIDE:
                await self._set_aside(event, event.problem)
            return Handled(reading)
        if reading is not Reading.JUDGE:
            return Handled(reading)
        return await self._judge(event, event.task, policy)

    async def _failed(self, event: ReceivedEvent, error: Exception | None, policy: EventPolicy) -> Handled:
        """A message that cannot be used, again and again, and not for an outage, is set aside where there is a place for it."""
        told = {**_told(event), "error": str(error), "receive_count": event.receive_count}
        _log.warning("event failed", event_type="EVENT_FAILED", **told)
        passing = isinstance(error, Transient | Conflict)
        if passing or self._dead_letters is None or event.receive_count < policy.set_aside_after:
            return Handled(ERROR)
        try:
            await self._set_aside(event, str(error))
        except DagyError as no_place:
            told = {**_told(event), "error": str(no_place)}
            _log.warning("event cannot be set aside", event_type="EVENT_NOT_SET_ASIDE", **told)
            return Handled(ERROR)
        return Handled(Reading.SET_ASIDE)

    async def _set_aside(self, event: ReceivedEvent, why: str) -> None:
        """To the dead-letter queue; without one the log is the only place left: what may be told of the message goes there."""
        told = {**_told(event), "why": why}
        if self._dead_letters is not None:
            await self._dead_letters.send(event.body)
            told["to"] = "dead-letter queue"
        else:
            told |= {"to": "log", "body": without_values(event.body)}
        _log.error("event set aside", event_type="EVENT_SET_ASIDE", **told)

    async def _postpone(self, delays_s: dict[str, int]) -> None:
        try:
            await self._events.postpone(delays_s)
        except DagyError as error:
            _log.warning(
                "events come again after the visibility timeout only",
                event_type="EVENTS_NOT_POSTPONED",
                count=len(delays_s),
                error=str(error),
            )

    def _remember(self, event: ReceivedEvent) -> None:
        if event.task is None or not event.task.version:
            return
        self._versions[event.task.arn] = event.task.version
        self._versions.move_to_end(event.task.arn)
        if len(self._versions) > VERSIONS_MAX:
            self._versions.popitem(last=False)

    async def _judge(self, event: ReceivedEvent, task: SeenTask, policy: EventPolicy) -> Handled:
        identity = TaskIdentity.parse(task.started_by)
        run = await self._runs.get(identity.run_id) if identity else None
        if run is None:
            return Handled(Act.DROP)
        with about(run):
            return await self._judge_run(run, event, task, policy)

    async def _judge_run(self, run: Run, event: ReceivedEvent, task: SeenTask, policy: EventPolicy) -> Handled:
        stored = None
        if run.status is RunStatus.RUNNING and run.committed_result is None:
            stored = await self._results.get(run.run_id, run.attempt, task.arn)
        plan = EventPlan(Act.DROP, "")

        def decide_again(current: ActiveRun | None) -> RunChange | None:
            nonlocal plan
            now = self._clock.now()
            snapshot = EventSnapshot(run=current, task=task, stored_result=stored, receive_count=event.receive_count)
            plan = decide(snapshot, policy, now)
            if plan.act is Act.KEEP and isinstance(current, Run):
                return keep_evidence(current, task, container_name=policy.container_name, prices=policy.prices)
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
                prices=policy.prices,
            )

        written, _ = await self._writer.settle(run, decide_again)
        if written is None or plan.outcome is None:
            return Handled(plan.act)
        since = task.stopped_at or event.sent_at
        age_s = None if since is None else max(0.0, (self._clock.now() - since).total_seconds())
        _log.info(
            "ended by event",
            event_type="RUN_ENDED_BY_EVENT",
            status=written.status,
            rule=plan.outcome.rule,
            failure_class=plan.outcome.failure_class,
            why=plan.why,
            age_s=age_s,
        )
        return Handled(plan.act, age_s)


def _told(event: ReceivedEvent) -> dict[str, Any]:
    """What a message says of itself: the run that its task was started for, if it is readable and ours. Nothing is read for it."""
    task = event.task
    identity = TaskIdentity.parse(task.started_by) if task is not None else None
    of_run = {"run_id": identity.run_id, "run_attempt": identity.attempt} if identity is not None else {}
    return {"message_id": event.message_id, **of_run, **({"task_arn": task.arn} if task is not None else {})}
