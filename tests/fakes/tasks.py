"""An ECS cluster in memory: tasks are what the test says they are, and change only when it says so."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dagy_control.errors import Gone
from dagy_control.model.launch_failure import LaunchFailure
from dagy_control.model.tasks import SeenContainer, SeenTask
from dagy_control.ports.tasks import Described, Looked, ReadPriority, Started
from tests.fakes.faults import Faulty, lost

WORKER = "dagy-worker"


class FakeTasks(Faulty):
    """`ports.Tasks` in memory. RunTask keeps its promise of one task a token; everything else is moved by the test.

    AWS may replay a token's failures, or try again: `remembers_failures` says which.

    A task of another cluster than the one asked for is unknown, as in ECS.
    `requests`, `reserved` and `stops` record the calls that had an effect, in order.
    """

    def __init__(
        self,
        *tasks: SeenTask,
        page_size: int = 100,
        stops_at_once: bool = True,
        remembers_failures: bool = True,
    ) -> None:
        super().__init__()
        self.tasks: dict[str, SeenTask] = {task.arn: task for task in tasks}
        self.requests: list[Mapping[str, Any]] = []
        self.reserved: Counter[str] = Counter()
        self.stops: list[tuple[str, str]] = []
        self.described: list[tuple[ReadPriority, Sequence[str]]] = []
        self.unreadable: set[str] = set()
        self.page_size = page_size
        self.stops_at_once = stops_at_once
        self.remembers_failures = remembers_failures
        self._answers: deque[LaunchFailure] = deque()
        self._tokens: dict[str, str] = {}
        self._failed: dict[str, LaunchFailure] = {}

    def add(self, *tasks: SeenTask) -> None:
        """Put tasks into the cluster, or replace those of the same ARN."""
        self.tasks.update((task.arn, task) for task in tasks)

    def next_failure(self, failure: LaunchFailure) -> None:
        """The next RunTask makes no task and answers this."""
        self._answers.append(failure)

    def start(self, arn: str, *, at: datetime | None = None) -> SeenTask:
        """The task is RUNNING."""
        containers = (SeenContainer(name=WORKER, last_status="RUNNING"),)
        return self._replace(arn, last_status="RUNNING", started_at=at, containers=containers)

    def finish(self, arn: str, *, exit_code: int | None = 0, reason: str = "", **values: Any) -> SeenTask:
        """The task is STOPPED; its worker's container ended with this exit code. `values` are further fields of `SeenTask`."""
        containers = (SeenContainer(name=WORKER, last_status="STOPPED", exit_code=exit_code, reason=reason),)
        stopped: dict[str, Any] = {"stop_code": "EssentialContainerExited", "containers": containers, **values}
        return self._replace(arn, last_status="STOPPED", desired_status="STOPPED", **stopped)

    def forget(self, arn: str) -> None:
        """ECS does not know the task any more: MISSING from now on."""
        del self.tasks[arn]

    async def reserve_run_task(self, provider: str) -> None:
        after = await self._begin("reserve_run_task")
        self.reserved[provider] += 1
        lost(after)

    async def run_task(self, request: Mapping[str, Any]) -> Started | LaunchFailure:
        after = await self._begin("run_task")
        self.requests.append(request)
        token = str(request["clientToken"])
        if token in self._tokens:
            lost(after)
            return Started(self._tokens[token], replayed=True)
        if token in self._failed:
            lost(after)
            return self._failed[token]
        if self._answers:
            failure = self._answers.popleft()
            if failure.settles_token and self.remembers_failures:
                self._failed[token] = failure
            lost(after)
            return failure
        task = self._started(request, len(self._tokens) + 1)
        self.add(task)
        self._tokens[token] = task.arn
        lost(after)
        return Started(task.arn)

    async def describe(
        self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
    ) -> Described:
        lost(await self._begin("describe"))
        self.described.append((priority, tuple(arns)))
        arns = list(dict.fromkeys(arns))
        unreadable = [arn for arn in arns if arn in self.unreadable]
        known = self._in(cluster)
        found = [known[arn] for arn in arns if arn in known and arn not in self.unreadable]
        missing = [arn for arn in arns if arn not in known and arn not in self.unreadable]
        tasks = found if tags else [replace(task, tags={}) for task in found]
        return Described(tasks=tasks, missing=missing, unreadable=unreadable)

    async def look(self, cluster: str, arns: Sequence[str], *, priority: ReadPriority) -> Looked:
        found = await self.describe(cluster, arns, priority=priority)
        return Looked(
            living={task.arn: task.desired_status for task in found.tasks if not task.has_ended},
            over=[task for task in found.tasks if task.has_ended],
            missing=found.missing,
            unreadable=found.unreadable,
        )

    async def list_running(self, cluster: str, *, started_by: str | None = None) -> AsyncIterator[Sequence[str]]:
        wanted = [
            task.arn
            for task in self._in(cluster).values()
            if task.desired_status != "STOPPED" and started_by in (None, task.started_by)
        ]
        for start in range(0, max(1, len(wanted)), self.page_size):
            lost(await self._begin("list_running"))
            if page := wanted[start : start + self.page_size]:
                yield page

    async def stop(self, cluster: str, arn: str, *, reason: str) -> None:
        after = await self._begin("stop")
        if arn not in self._in(cluster):
            raise Gone(f"no task {arn} in {cluster}")
        self.stops.append((arn, reason))
        task = self._replace(arn, desired_status="STOPPED", tags={})  # StopTask deletes the tags
        if self.stops_at_once and not task.has_ended:
            self.finish(arn, exit_code=143, stop_code="UserInitiated", stopped_reason=reason)
        lost(after)

    def _in(self, cluster: str) -> Mapping[str, SeenTask]:
        """The tasks of a cluster, which is told by name or by ARN."""
        name = cluster.rsplit("/", 1)[-1]
        return {arn: task for arn, task in self.tasks.items() if task.cluster.rsplit("/", 1)[-1] == name}

    def _replace(self, arn: str, **values: Any) -> SeenTask:
        self.tasks[arn] = replace(self.tasks[arn], **values)
        return self.tasks[arn]

    def _started(self, request: Mapping[str, Any], number: int) -> SeenTask:
        cluster = str(request["cluster"])
        strategy = request.get("capacityProviderStrategy") or [{"capacityProvider": ""}]
        return SeenTask(
            arn=f"arn:aws:ecs:us-east-1:123456789012:task/{cluster.rsplit('/', 1)[-1]}/{number:032x}",
            cluster=cluster,
            last_status="PROVISIONING",
            desired_status="RUNNING",
            started_by=request.get("startedBy", ""),
            capacity_provider=strategy[0]["capacityProvider"],
            task_definition=str(request.get("taskDefinition", "")),
            version=1,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            tags={tag["key"]: tag["value"] for tag in request.get("tags", ())},
        )
