"""What one task state-change event leads to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dagy_control.model.cost import PriceTable
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.outcomes import Ending, Outcome, Sighting, judge
from dagy_control.model.runs import ActiveRun, Run, RunStatus, WorkerResult
from dagy_control.model.stop_evidence import wants_evidence
from dagy_control.model.tasks import SeenTask, TaskIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPolicy:
    """All that the consumer is told by the configuration. Times in seconds.

    `set_aside_after`: a message that could not be read or used is set aside once it has been received so often; until then the
    queue's own redrive policy may take it. `later_max`: an event that is faster than our own record of its task is looked at
    again so often at most, after 1, 2, 4 … `later_delay_max_s` seconds.
    """

    installation: str
    container_name: str
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    prices: PriceTable = field(default_factory=PriceTable)
    wait_s: float = 10.0
    set_aside_after: int = 5
    later_max: int = 8
    later_delay_max_s: int = 30


class Reading(StrEnum):
    """What an event is to us, before any record is read."""

    JUDGE = "judge"
    NOT_OURS = "not_ours"
    NOT_ENDED = "not_ended"
    STALE = "stale"
    UNREADABLE = "unreadable"
    SET_ASIDE = "set_aside"


class Act(StrEnum):
    """What to do with an event whose run has been read."""

    END = "end"
    KEEP = "keep"
    DROP = "drop"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class EventPlan:
    """`END`: write `outcome`. `KEEP`: its worker ended the run, keep what ECS says of the task.

    `DROP`: nothing to do, forget it. `LATER`: leave it in the queue, its run is not there yet.
    """

    act: Act
    why: str
    outcome: Outcome | None = None


def read_event(event: ReceivedEvent, policy: EventPolicy) -> Reading:
    """Whether the event concerns a run of this installation and says that a task has ended. Ordered; the first that holds."""
    if event.task is None:
        return Reading.SET_ASIDE if event.receive_count >= policy.set_aside_after else Reading.UNREADABLE
    identity = TaskIdentity.parse(event.task.started_by)
    if identity is None or identity.installation != policy.installation:
        return Reading.NOT_OURS
    # Earlier states never end a run: a Spot warning carries its stop code while the task still runs.
    if not event.task.has_ended:
        return Reading.NOT_ENDED
    return Reading.JUDGE


def overtaken(events: Sequence[ReceivedEvent], done: Mapping[str, int]) -> frozenset[str]:
    """The receipts of events that change nothing: of each task only the newest, by `detail.version`, is looked at.

    `done`: the versions, by task, that have had their effect. The first of equal ones is the newest. A version of 0 says
    nothing (ECS numbers from 1). Events come at least once and in no order ("Amazon ECS task state change events").
    """
    newest: dict[str, ReceivedEvent] = {}
    stale: set[str] = set()
    for event in events:
        if event.task is None or not event.task.version:
            continue
        arn, version = event.task.arn, event.task.version
        known = newest.get(arn)
        known_version = max(done.get(arn, 0), known.task.version if known and known.task else 0)
        if version <= known_version:
            stale.add(event.receipt)
        elif known is not None:
            stale.add(known.receipt)
        if version > known_version:
            newest[arn] = event
    return frozenset(stale)


def later_delay_s(receive_count: int, policy: EventPolicy) -> int:
    """Seconds until an event that is faster than our own record is looked at again: our record is a second away, as a rule."""
    return int(min(2 ** (receive_count - 1), policy.later_delay_max_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSnapshot:
    """A stopped task, its run as the table has it (None: there is no such run), and the worker's result object, if any."""

    run: ActiveRun | None
    task: SeenTask
    stored_result: WorkerResult | None = None
    receive_count: int = 1


def decide(snapshot: EventSnapshot, policy: EventPolicy, now: datetime) -> EventPlan:
    """The plan for one event. Ordered; the first that holds decides."""
    run, task = snapshot.run, snapshot.task
    identity = TaskIdentity.parse(task.started_by)
    if run is None or identity is None:
        return EventPlan(Act.DROP, "no such run")
    if isinstance(run, Run) and wants_evidence(run, task):
        return EventPlan(Act.KEEP, "its worker has ended the run")
    if run.status.is_terminal:
        return EventPlan(Act.DROP, f"the run is {run.status} already")
    if run.attempt != identity.attempt:
        return EventPlan(Act.DROP, "the task belongs to another attempt")
    if run.status is RunStatus.QUEUED:
        return EventPlan(Act.DROP, "the run waits for another try")
    # The event was faster than our own record of the task: it comes again soon, a few times.
    if run.status is RunStatus.LAUNCHING or run.external_id is None:
        act = Act.LATER if snapshot.receive_count < policy.later_max else Act.DROP
        return EventPlan(act, "the run's task is not on record yet")
    outcome = judge(
        Sighting(
            run=run,
            task=task,
            now=now,
            container_name=policy.container_name,
            missing_grace_s=0.0,
            stored_result=snapshot.stored_result,
        )
    )
    if outcome.ending is Ending.UNDECIDED:
        return EventPlan(Act.DROP, outcome.message)
    return EventPlan(Act.END, outcome.message, outcome)


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a message. `age_s`: seconds from the task's stop, as ECS dates it, to the end on the record."""

    result: str
    age_s: float | None = None
