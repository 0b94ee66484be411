"""`ports.Tasks` on the ECS API, inside the account's API budget."""

from collections.abc import AsyncIterator, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.ecs_reading import (
    DESCRIBE_TASKS,
    LIST_TASKS,
    LOOK_AT_TASKS,
    ShownFailure,
    seen_tasks,
)
from dagy_control.adapters.hot_answers import AnswerForm, answered_as
from dagy_control.adapters.launch_failures import judge_failures, judge_refusal
from dagy_control.errors import Conflict, Gone, Permanent, Transient
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.limiter import Bucket, Limiter, Priority
from dagy_control.model.launch_failure import LaunchFailure, LaunchFailureKind
from dagy_control.model.resources import CapacityProvider
from dagy_control.model.runs import FailureClass
from dagy_control.model.tasks import SeenTask
from dagy_control.ports.tasks import DESCRIBE_MAX, Described, Looked, ReadPriority, Started

if TYPE_CHECKING:
    from types_aiobotocore_ecs import ECSClient

REASON_MAX_CHARACTERS = 255
"""Longer stop reasons are cut: people read the beginning."""
READS_AT_ONCE = 4
"""DescribeTasks calls of one `describe` that may be under way together."""

_PRIORITIES: Mapping[ReadPriority, Priority] = {
    ReadPriority.RECONCILE: Priority.RECONCILE,
    ReadPriority.ORPHANS: Priority.ORPHANS,
}
_READ = (Bucket.ECS_READ,)
_MODIFY = (Bucket.ECS_MODIFY,)


class EcsTasks:
    """The ECS API."""

    def __init__(self, client: "ECSClient", calls: AwsCalls, limiter: Limiter) -> None:
        self._client = client
        self._call = calls.of("ecs")
        self._limiter = limiter

    async def reserve_run_task(self, provider: str) -> None:
        """RunTask counts in three of AWS's buckets: modifying calls, RunTask itself, and Fargate launches of its kind."""
        await self._limiter.acquire(_launch_buckets(provider), Priority.LAUNCH)

    async def run_task(self, request: Mapping[str, Any]) -> Started | LaunchFailure:
        """RunTask as it stands; every answer that ECS documents becomes a task, a failure, or `Transient`."""
        try:
            with self._call("RunTask"):
                answer: Any = await self._client.run_task(**request)
        except Conflict as error:
            return _adopted(error)
        except Permanent as error:
            return judge_refusal(error)
        except Transient as error:
            if not error.throttled:
                raise
            self._limiter.throttled(_launch_buckets(_provider(request)))
            return LaunchFailure(
                kind=LaunchFailureKind.THROTTLED,
                failure_class=FailureClass.CAPACITY,
                message=str(error),
                retry_after_s=error.retry_after_s or 0.0,
            )
        if answer.get("tasks"):
            return Started(answer["tasks"][0]["taskArn"])
        if answer.get("failures"):
            return judge_failures(answer["failures"])
        raise Transient("RunTask answered neither a task nor a failure")

    async def describe(
        self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
    ) -> Described:
        """DescribeTasks, 100 a call. ARNs whose fate the answer does not tell are unreadable, not missing."""
        tasks: list[SeenTask] = []
        untold = _Untold()
        for asked, answer in await self._answers(_Question(cluster, priority, DESCRIBE_TASKS, tags=tags), arns):
            shown = seen_tasks(answer.get("tasks", ()))
            untold.sort_out(asked, {task.arn for task in shown}, answer)
            tasks += shown
        return Described(tasks, untold.missing, untold.unreadable)

    async def look(self, cluster: str, arns: Sequence[str], *, priority: ReadPriority) -> Looked:
        """The same, by a form of the answer that reads only ended tasks whole."""
        living: dict[str, str] = {}
        over: list[SeenTask] = []
        untold = _Untold()
        for asked, answer in await self._answers(_Question(cluster, priority, LOOK_AT_TASKS), arns):
            ended = seen_tasks(answer.get("over", ()))
            alive = {task.arn: task.desired_status for task in answer.get("living", ())}
            untold.sort_out(asked, alive.keys() | {task.arn for task in ended} if ended else alive, answer)
            living |= alive
            over += ended
        return Looked(living, over, untold.missing, untold.unreadable)

    async def list_running(self, cluster: str, *, started_by: str | None = None) -> AsyncIterator[Sequence[str]]:
        """ListTasks, whose default is desiredStatus RUNNING; `startedBy` must be the only filter, so nothing else is sent."""
        request: dict[str, Any] = {"cluster": cluster, "maxResults": DESCRIBE_MAX}
        if started_by is not None:
            request["startedBy"] = started_by
        priority = Priority.ORPHANS if started_by is None else Priority.RECONCILE
        while True:
            await self._limiter.acquire(_READ, priority)
            try:
                with self._call("ListTasks"), answered_as(LIST_TASKS):
                    answer: Any = await self._client.list_tasks(**request)
            except Transient as error:
                self._noted(error, _READ)
                raise
            if answer["taskArns"]:
                yield answer["taskArns"]
            if not answer.get("nextToken"):
                return
            request["nextToken"] = answer["nextToken"]

    async def stop(self, cluster: str, arn: str, *, reason: str) -> None:
        """StopTask. An unknown task is an InvalidParameterException, "The referenced task was not found"."""
        await self._limiter.acquire(_MODIFY, Priority.LAUNCH)
        try:
            with self._call("StopTask"):
                await self._client.stop_task(cluster=cluster, task=arn, reason=reason[:REASON_MAX_CHARACTERS])
        except Transient as error:
            self._noted(error, _MODIFY)
            raise
        except Permanent as error:
            if error.code == "InvalidParameterException" and "not found" in str(error).lower():
                raise Gone(f"ECS knows no task {arn}") from error
            raise

    async def _answers(self, question: "_Question", arns: Sequence[str]) -> list["_Answer"]:
        """What ECS says, with the ARNs that it says it of. Those that it will not look at have an empty answer."""
        distinct = list(dict.fromkeys(arns))
        if len(distinct) <= DESCRIBE_MAX:
            return await self._ask(question, distinct) if distinct else []
        groups = [distinct[start : start + DESCRIBE_MAX] for start in range(0, len(distinct), DESCRIBE_MAX)]

        async def ask(group: Sequence[str]) -> list[_Answer]:
            return await self._ask(question, group)

        outcomes = await run_bounded(groups, ask, limit=READS_AT_ONCE, name="describe tasks")
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return [answer for outcome in outcomes for answer in outcome.value or ()]

    async def _ask(self, question: "_Question", arns: Sequence[str]) -> list["_Answer"]:
        await self._limiter.acquire(_READ, _PRIORITIES[question.priority])
        request: dict[str, Any] = {"cluster": question.cluster, "tasks": arns}
        if question.tags:
            request["include"] = ["TAGS"]
        try:
            with self._call("DescribeTasks"), answered_as(question.form):
                answer: Any = await self._client.describe_tasks(**request)
        except Transient as error:
            self._noted(error, _READ)
            raise
        except Permanent as error:
            if error.code != "InvalidParameterException":
                raise
            return await self._ask_halves(question, arns)
        return [_Answer(arns, answer)]

    async def _ask_halves(self, question: "_Question", arns: Sequence[str]) -> list["_Answer"]:
        """One malformed ARN makes ECS refuse the whole call: halve until it stands alone."""
        if len(arns) == 1:
            return [_Answer(arns, {})]
        middle = len(arns) // 2
        return [*await self._ask(question, arns[:middle]), *await self._ask(question, arns[middle:])]

    def _noted(self, error: Transient, buckets: Sequence[Bucket]) -> None:
        if error.throttled:
            self._limiter.throttled(buckets)


def _launch_buckets(provider: str) -> tuple[Bucket, ...]:
    launches = Bucket.LAUNCH_SPOT if provider == CapacityProvider.FARGATE_SPOT else Bucket.LAUNCH_ON_DEMAND
    return Bucket.ECS_MODIFY, Bucket.RUN_TASK, launches


def _provider(request: Mapping[str, Any]) -> str:
    strategy = request.get("capacityProviderStrategy") or [{}]
    return str(strategy[0].get("capacityProvider", CapacityProvider.FARGATE))


def _adopted(error: Conflict) -> Started:
    """The token was used with other parameters: ECS names the task that it made then (ConflictException, resourceIds)."""
    arns: Any = error.current
    if not arns:
        raise Transient(f"the token was used before, and ECS names no task: {error}") from error
    return Started(arns[0], replayed=True)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of tasks: in which cluster, before whom, in which form the answer is wanted, with their tags or without."""

    cluster: str
    priority: ReadPriority
    form: AnswerForm
    tags: bool = False


class _Answer(NamedTuple):
    """The ARNs of one call, and what ECS said: `TasksShown` or `TasksGlanced`, by the form."""

    arns: Sequence[str]
    answer: Any


class _Untold:
    """The ARNs of which no task was shown."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.unreadable: list[str] = []

    def sort_out(self, asked: Sequence[str], shown: Container[str], answer: Mapping[str, Any]) -> None:
        """Those that ECS called MISSING, and those of which it said nothing."""
        failures: Sequence[ShownFailure] = answer.get("failures", ())
        missing = {each.arn: None for each in failures if each.arn and each.reason == "MISSING"}
        self.missing += missing
        self.unreadable += [arn for arn in asked if arn not in shown and arn not in missing]
