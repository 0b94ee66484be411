"""Whose task a running task is, and what its tags ask for. Pure.

By `startedBy` first: StopTask deletes a task's tags, and a person who runs "more like this" copies them. So a run's task is known by
`startedBy` alone; tags lead to the state tables of others.
"""

from datetime import UTC, datetime, time, timedelta

from dagy_control.model.tasks import SeenTask, TaskIdentity
from dagy_control.orphans.criteria import Criteria, RunningTask, StateKey

SERVICE = "ecs-svc/"
"""How `startedBy` begins for a task of an ECS service, which would only start another one."""

STOPPING = "STOPPED"
"""The `desiredStatus` of a task that somebody has stopped already, whatever its `lastStatus`."""


def map_task(task: SeenTask, criteria: Criteria) -> RunningTask:
    """As much of the task as its judgement needs. A tag without a value is no tag: it leads nowhere."""
    identity = _own_identity(task, criteria)
    states = tuple(
        StateKey(table, key)
        for table in (() if identity else criteria.state_tables)
        if (key := task.tags.get(table.task_tag))
    )
    keep_until, keep_unclear = _kept(task.tags.get(criteria.keep_tag))
    return RunningTask(
        arn=task.arn,
        started_at=task.started_at,
        created_at=task.created_at,
        identity=identity,
        states=states,
        of_family=identity is None and not states and _is_of_family(task, criteria),
        stopping=task.desired_status == STOPPING,
        keep_until=keep_until,
        keep_unclear=keep_unclear,
        max_runtime_hours=_runtime_limit(task, criteria, identity),
    )


def _own_identity(task: SeenTask, criteria: Criteria) -> TaskIdentity | None:
    identity = TaskIdentity.parse(task.started_by)
    return identity if identity is not None and identity.installation == criteria.installation else None


def _is_of_family(task: SeenTask, criteria: Criteria) -> bool:
    family = task.task_definition.rsplit("/", 1)[-1].partition(":")[0]
    return family in criteria.families and not task.started_by.startswith(SERVICE)


def _runtime_limit(task: SeenTask, criteria: Criteria, identity: TaskIdentity | None) -> float:
    """The first limit that names the task; else the one for all. A flow's limit is for runs of ours, which RunTask tags with it."""
    for limit in criteria.runtime_limits:
        tag = limit.tag if limit.flow is None else "flow_name"
        value = limit.value if limit.flow is None else limit.flow
        if task.tags.get(tag) == value and (limit.flow is None or identity is not None):
            return limit.hours
    return criteria.max_runtime_hours


def _kept(text: str | None) -> tuple[datetime | None, bool]:
    """Until when the task is exempt, and whether nobody can tell. A date alone lasts to its end; without a zone it is UTC."""
    if text is None:
        return None, False
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None, True
    try:
        if moment.time() == time.min and "T" not in text and ":" not in text:
            moment += timedelta(days=1)
        return (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)), False
    except OverflowError:  # the year 9999 is a way to say "for ever"
        return datetime.max.replace(tzinfo=UTC), False
