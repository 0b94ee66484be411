"""`ports.Tasks`, held to its docstrings over the fake, over our ECS model in process, and over the same model through real HTTP."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from typing_extensions import override

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.ecs_admin import EcsAdmin
from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.errors import Gone, Permanent, Transient
from dagy_control.kernel.clock import Clock, SystemClock
from dagy_control.kernel.limiter import Bucket, Limiter, Priority
from dagy_control.local.ecs_faults import Fault, FaultKind
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes
from dagy_control.model.launch_failure import LaunchFailure, LaunchFailureKind
from dagy_control.model.runs import FailureClass
from dagy_control.ports.tasks import Described, Looked, ReadPriority, Started
from tests.contract.ecs_clients import ModelClient, ecs_client_at, served
from tests.fakes.ecs_world import DEFINITION, NETWORK
from tests.fakes.tasks import FakeTasks

pytestmark = pytest.mark.asyncio(loop_scope="session")

AnyTasks: TypeAlias = "FakeTasks | EcsTasks"
MALFORMED = "arn:aws:ecs:us-east-1:123456789012:task/not-an-id"
NEVER_STARTS = Lifetimes(provisioning_s=3600)  # the contract of the calls needs no process


UNKNOWN_OUTCOMES = {
    FaultKind.DROP_REPLY: True,
    FaultKind.ERROR_APPLIED: True,
    FaultKind.ERROR_NOT_APPLIED: False,
}
"""Whether ECS did it."""


class Bed:
    """A cluster of its own for each test, and the port to it."""

    def __init__(self, port: AnyTasks, cluster: str) -> None:
        self.port = port
        self.cluster = cluster

    def request(self, name: str, **values: Any) -> dict[str, Any]:
        """A RunTask request whose token, `startedBy` and tag come from the name."""
        return {
            "cluster": self.cluster,
            "taskDefinition": "dagy-worker",
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
            "networkConfiguration": NETWORK,
            "clientToken": name,
            "startedBy": f"dagy/{name}/1",
            "tags": [{"key": "run_id", "value": name}],
            "count": 1,
            **values,
        }

    async def run(self, name: str = "t1", **values: Any) -> Started | LaunchFailure:
        return await self.port.run_task(self.request(name, **values))

    async def started(self, name: str = "t1", **values: Any) -> str:
        answer = await self.run(name, **values)
        assert isinstance(answer, Started)
        return answer.task_arn

    async def described(self, *arns: str, tags: bool = False) -> Described:
        return await self.port.describe(self.cluster, arns, priority=ReadPriority.RECONCILE, tags=tags)

    async def looked(self, *arns: str) -> Looked:
        return await self.port.look(self.cluster, arns, priority=ReadPriority.RECONCILE)

    async def listed(self, **options: Any) -> list[str]:
        return [arn async for page in self.port.list_running(self.cluster, **options) for arn in page]

    async def stop(self, arn: str, reason: str = "enough") -> None:
        await self.port.stop(self.cluster, arn, reason=reason)

    def befall(self, kind: FaultKind, operation: str = "RunTask") -> None:
        """The next call of the operation suffers this."""
        raise NotImplementedError(kind, operation)

    def unknown(self, number: int = 0) -> str:
        """The ARN of a task that never was."""
        return f"arn:aws:ecs:us-east-1:123456789012:task/{self.cluster}/{number:032x}"


class FakeBed(Bed):
    """The fake, told its errors by the AWS call that its method stands for."""

    METHODS: Mapping[str, str] = {
        "RunTask": "run_task",
        "StopTask": "stop",
        "ListTasks": "list_running",
        "DescribeTasks": "describe",
    }

    def __init__(self) -> None:
        self.fake = FakeTasks(page_size=2)
        self.fake.unreadable.add(MALFORMED)
        super().__init__(self.fake, "main")

    @override
    def befall(self, kind: FaultKind, operation: str = "RunTask") -> None:
        self.fake.next_error(self.METHODS[operation], Transient(kind), applied=UNKNOWN_OUTCOMES[kind])


class RecordingLimiter(Limiter):
    """A limiter that remembers what was taken from it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, scale=100)
        self.acquired: list[tuple[Sequence[Bucket], Priority]] = []

    @override
    async def acquire(self, buckets: Sequence[Bucket], priority: Priority = Priority.RECONCILE) -> float:
        self.acquired.append((buckets, priority))
        return await super().acquire(buckets, priority)


class EcsBed(Bed):
    """The shipped adapter over the model, whose switches and the adapter's limiter are at hand."""

    def __init__(self, model: EcsModel, client: Any) -> None:
        clock = SystemClock()
        self.model = model
        self.limiter = RecordingLimiter(clock)
        self.admin = EcsAdmin(client, AwsCalls(clock))
        super().__init__(EcsTasks(client, AwsCalls(clock), self.limiter), f"c-{uuid.uuid4().hex}")
        model.registry.create_cluster(self.cluster)

    @override
    def befall(self, kind: FaultKind, operation: str = "RunTask") -> None:
        self.model.faults.add(Fault(kind, operation))


def a_model() -> EcsModel:
    model = EcsModel(lifetimes=NEVER_STARTS, throttle_scale=1000)
    model.registry.register(DEFINITION, datetime(2026, 1, 1, tzinfo=UTC))
    return model


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def in_process() -> tuple[EcsModel, ModelClient]:
    """One model for the module, called directly."""
    model = a_model()
    return model, await ModelClient.of(model, SystemClock())


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def over_http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[EcsModel, Any]]:
    """One emulator behind HTTP for the module."""
    model = a_model()
    async with served(model, tmp_path_factory.mktemp("ecs")) as url, ecs_client_at(url) as client:
        yield model, client


FACES = {"model": "in_process", "http": "over_http"}


def ecs_bed(request: pytest.FixtureRequest) -> EcsBed:
    model, client = request.getfixturevalue(FACES[request.param])
    model.faults.clear()
    return EcsBed(model, client)


@pytest.fixture(params=FACES)
def ecs(request: pytest.FixtureRequest) -> EcsBed:
    return ecs_bed(request)


@pytest.fixture(params=["fake", *FACES])
def bed(request: pytest.FixtureRequest) -> Bed:
    return FakeBed() if request.param == "fake" else ecs_bed(request)


async def test_a_task_is_started_and_described(bed: Bed) -> None:
    await bed.port.reserve_run_task("FARGATE_SPOT")
    arn = await bed.started()
    (task,) = (await bed.described(arn)).tasks
    assert (task.arn, task.started_by, task.capacity_provider) == (arn, "dagy/t1/1", "FARGATE_SPOT")
    assert (task.last_status, task.desired_status, task.has_ended) == ("PROVISIONING", "RUNNING", False)
    assert task.tags == {}
    assert task.created_at is not None
    assert task.created_at.tzinfo is UTC


async def test_tags_come_when_asked_for(bed: Bed) -> None:
    arn = await bed.started()
    (task,) = (await bed.described(arn, tags=True)).tasks
    assert task.tags == {"run_id": "t1"}


async def test_a_token_sent_again_returns_the_first_task(bed: Bed) -> None:
    assert await bed.started() == await bed.started()
    assert await bed.started("t2") != await bed.started()
    assert len(await bed.listed()) == 2


async def test_a_token_sent_again_with_other_parameters_adopts_the_first_task(bed: Bed) -> None:
    arn = await bed.started()
    answer = await bed.run(startedBy="dagy/other/1")
    assert answer == Started(arn, replayed=True)


async def test_of_many_tasks_each_is_in_one_part_of_the_answer(bed: Bed) -> None:
    arns = [await bed.started(f"t{number}") for number in range(3)]
    unknown = [bed.unknown(number) for number in range(1000, 1120)]
    found = await bed.described(*unknown[:50], MALFORMED, *arns, arns[0], *unknown[50:])
    assert sorted(task.arn for task in found.tasks) == sorted(arns)
    assert sorted(found.missing) == sorted(unknown)
    assert list(found.unreadable) == [MALFORMED]


async def test_describing_nothing_asks_nothing(bed: Bed) -> None:
    found = await bed.described()
    assert (list(found.tasks), list(found.missing), list(found.unreadable)) == ([], [], [])
    looked = await bed.looked()
    assert (dict(looked.living), list(looked.over), list(looked.missing), list(looked.unreadable)) == ({}, [], [], [])


async def test_a_look_tells_ended_tasks_whole_and_living_ones_by_what_they_shall_be(bed: Bed) -> None:
    arns = [await bed.started(f"t{number}") for number in range(3)]
    unknown = [bed.unknown(number) for number in range(1000, 1120)]
    await bed.stop(arns[1])
    (stopped,) = (await bed.described(arns[1])).tasks
    looked = await bed.looked(*unknown[:50], MALFORMED, *arns, arns[0], *unknown[50:])
    if stopped.has_ended:
        assert dict(looked.living) == {arns[0]: "RUNNING", arns[2]: "RUNNING"}
        assert list(looked.over) == [stopped]
    else:
        assert dict(looked.living) == {arns[0]: "RUNNING", arns[1]: "STOPPED", arns[2]: "RUNNING"}
        assert not looked.over
    assert sorted(looked.missing) == sorted(unknown)
    assert list(looked.unreadable) == [MALFORMED]


async def test_a_listing_has_only_tasks_that_shall_run(bed: Bed) -> None:
    arns = [await bed.started(f"t{number}") for number in range(5)]
    await bed.stop(arns[0])
    assert sorted(await bed.listed()) == sorted(arns[1:])
    assert await bed.listed(started_by="dagy/t3/1") == [arns[3]]
    assert await bed.listed(started_by="dagy/nobody/1") == []


async def test_a_listing_has_every_page(ecs: EcsBed) -> None:
    for number in range(21):
        await ecs.started(f"t{number}", count=10)
    assert [len(page) async for page in ecs.port.list_running(ecs.cluster)] == [100, 100, 10]


async def test_a_stop_says_why_deletes_the_tags_and_is_repeatable(bed: Bed) -> None:
    arn = await bed.started()
    await bed.stop(arn, reason="x" * 2000)
    await bed.stop(arn, reason="again")
    (task,) = (await bed.described(arn, tags=True)).tasks
    assert (task.desired_status, task.stop_code, task.tags) == ("STOPPED", "UserInitiated", {})
    assert task.stopped_reason.startswith("xxx")


async def test_stopping_what_ecs_does_not_know_is_gone(bed: Bed) -> None:
    with pytest.raises(Gone):
        await bed.stop(bed.unknown())


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
async def test_run_task_of_unknown_outcome_is_transient_and_the_same_token_makes_one_task(
    bed: Bed, kind: FaultKind
) -> None:
    bed.befall(kind)
    with pytest.raises(Transient) as unknown:
        await bed.run()
    assert not unknown.value.throttled
    listed = await bed.listed()
    assert len(listed) == UNKNOWN_OUTCOMES[kind]
    arn = await bed.started()
    assert await bed.listed() == [arn]
    assert listed in ([], [arn])


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
async def test_a_stop_of_unknown_outcome_is_transient_and_repeated_it_succeeds(bed: Bed, kind: FaultKind) -> None:
    arn, other = await bed.started(), await bed.started("t2")
    bed.befall(kind, "StopTask")
    with pytest.raises(Transient) as unknown:
        await bed.stop(arn)
    assert not unknown.value.throttled
    assert (arn in await bed.listed()) is not UNKNOWN_OUTCOMES[kind]
    await bed.stop(arn)
    assert await bed.listed() == [other]


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
async def test_a_listing_a_description_or_a_look_that_fails_is_transient_never_partial(
    bed: Bed, kind: FaultKind
) -> None:
    for number in range(11):
        await bed.started(f"t{number}", count=10)
    arns = await bed.listed()
    assert len(arns) > 10
    bed.befall(kind, "ListTasks")
    with pytest.raises(Transient):
        await bed.listed()
    pages = bed.port.list_running(bed.cluster)
    await anext(pages)
    bed.befall(kind, "ListTasks")
    with pytest.raises(Transient):
        await anext(pages)
    for read in (bed.described, bed.looked):
        bed.befall(kind, "DescribeTasks")
        with pytest.raises(Transient) as failed:
            await read(*arns)
        assert not failed.value.throttled
    assert sorted(task.arn for task in (await bed.described(*arns)).tasks) == sorted(arns)
    assert sorted((await bed.looked(*arns)).living) == sorted(arns)


async def test_a_failure_in_the_body_is_a_capacity_failure(ecs: EcsBed) -> None:
    ecs.befall(FaultKind.LAUNCH_FAILURE)
    answer = await ecs.run()
    assert isinstance(answer, LaunchFailure)
    assert (answer.kind, answer.failure_class) == (LaunchFailureKind.RETRYABLE, FailureClass.CAPACITY)
    assert answer.message.startswith("Capacity is unavailable at this time")


async def test_a_failure_in_the_body_whose_reply_was_lost_is_what_the_token_answers_again(ecs: EcsBed) -> None:
    ecs.befall(FaultKind.LAUNCH_FAILURE)
    ecs.befall(FaultKind.DROP_REPLY)
    with pytest.raises(Transient):
        await ecs.run()
    answer = await ecs.run()
    assert isinstance(answer, LaunchFailure)
    assert (answer.failure_class, answer.settles_token) == (FailureClass.CAPACITY, True)
    assert await ecs.listed() == []
    await ecs.started("t2")  # the next try


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"taskDefinition": "nobody"}, "TaskDefinition not found"),
        ({"cluster": "nobody"}, "Cluster not found"),
        ({"startedBy": "no spaces, please"}, "startedBy"),
        ({"networkConfiguration": {}}, "Network Configuration must be provided"),
        ({"no_such_parameter": 1}, "no_such_parameter"),
    ],
    ids=["task definition", "cluster", "started by", "network", "refused by botocore"],
)
async def test_a_request_that_ecs_refuses_is_a_configuration_failure(
    ecs: EcsBed, values: dict[str, Any], text: str
) -> None:
    answer = await ecs.run(**values)
    assert isinstance(answer, LaunchFailure)
    assert (answer.kind, answer.failure_class) == (LaunchFailureKind.PERMANENT, FailureClass.LAUNCH_CONFIGURATION)
    assert text in answer.message
    assert not answer.settles_token


async def test_a_throttled_launch_says_so_and_slows_its_three_buckets(ecs: EcsBed) -> None:
    ecs.befall(FaultKind.THROTTLE)
    before = {bucket: ecs.limiter.rate(bucket) for bucket in Bucket}
    answer = await ecs.run()
    assert isinstance(answer, LaunchFailure)
    assert (answer.kind, answer.settles_token) == (LaunchFailureKind.THROTTLED, False)
    slowed = {bucket for bucket in Bucket if ecs.limiter.rate(bucket) < before[bucket]}
    assert slowed == {Bucket.ECS_MODIFY, Bucket.RUN_TASK, Bucket.LAUNCH_SPOT}


CALLS: dict[str, tuple[str, Callable[[EcsBed], Awaitable[object]], Bucket]] = {
    "describe": ("DescribeTasks", lambda ecs: ecs.described(ecs.unknown()), Bucket.ECS_READ),
    "look": ("DescribeTasks", lambda ecs: ecs.looked(ecs.unknown()), Bucket.ECS_READ),
    "list_running": ("ListTasks", lambda ecs: ecs.listed(), Bucket.ECS_READ),
    "stop": ("StopTask", lambda ecs: ecs.stop(ecs.unknown()), Bucket.ECS_MODIFY),
}


@pytest.mark.parametrize("method", CALLS)
async def test_a_throttled_call_raises_and_slows_its_bucket(ecs: EcsBed, method: str) -> None:
    operation, call, bucket = CALLS[method]
    ecs.befall(FaultKind.THROTTLE, operation)
    before = {each: ecs.limiter.rate(each) for each in Bucket}
    with pytest.raises(Transient) as throttled:
        await call(ecs)
    assert throttled.value.throttled
    assert {each for each in Bucket if ecs.limiter.rate(each) < before[each]} == {bucket}


async def test_reading_a_cluster_that_is_not_there_is_permanent_not_empty(ecs: EcsBed) -> None:
    with pytest.raises(Permanent) as refused:
        await ecs.port.describe("nobody", [ecs.unknown()], priority=ReadPriority.RECONCILE)
    assert refused.value.code == "ClusterNotFoundException"
    with pytest.raises(Permanent):
        [page async for page in ecs.port.list_running("nobody")]


async def test_calls_take_their_places_in_the_budget(ecs: EcsBed) -> None:
    await ecs.port.reserve_run_task("FARGATE_SPOT")
    await ecs.port.reserve_run_task("FARGATE")
    arn = await ecs.started()
    await ecs.described(*(ecs.unknown(number) for number in range(250)))
    await ecs.listed()
    await ecs.stop(arn)
    assert ecs.limiter.acquired == [
        ((Bucket.ECS_MODIFY, Bucket.RUN_TASK, Bucket.LAUNCH_SPOT), Priority.LAUNCH),
        ((Bucket.ECS_MODIFY, Bucket.RUN_TASK, Bucket.LAUNCH_ON_DEMAND), Priority.LAUNCH),
        *[((Bucket.ECS_READ,), Priority.RECONCILE)] * 3,
        ((Bucket.ECS_READ,), Priority.ORPHANS),
        ((Bucket.ECS_MODIFY,), Priority.LAUNCH),
    ]


async def test_the_cluster_and_the_task_definition_can_be_asked_for(ecs: EcsBed) -> None:
    assert await ecs.admin.cluster_problem(ecs.cluster, providers=["FARGATE", "FARGATE_SPOT"]) is None
    assert await ecs.admin.cluster_problem("nobody") == "ECS has no active cluster 'nobody'"
    lacking = await ecs.admin.cluster_problem(ecs.cluster, providers=["FARGATE", "MINE"])
    assert lacking is not None
    assert "MINE" in lacking
    assert "PutClusterCapacityProviders" in lacking
    arn = await ecs.admin.register_task_definition({**DEFINITION, "family": "other"})
    assert arn.endswith("task-definition/other:1")
    assert (await ecs.admin.create_cluster("second")).endswith("cluster/second")
