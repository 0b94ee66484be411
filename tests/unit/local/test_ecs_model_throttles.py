"""Request buckets: bursts, refills, what shares a bucket."""

import pytest

from dagy_control.local.ecs_errors import EcsError
from tests.fakes.ecs_world import EcsWorld

SPOT = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]


def _admitted(world: EcsWorld, operation: str, calls: int) -> int:
    """How many of so many calls at one instant are not throttled (other errors count as admitted)."""
    admitted = 0
    for _ in range(calls):
        try:
            world.call(operation, cluster="nope")
        except EcsError as error:
            admitted += error.code != "ThrottlingException"
        else:
            admitted += 1
    return admitted


@pytest.mark.parametrize(
    ("operation", "burst", "per_s"),
    [
        ("StopTask", 100, 40),
        ("DescribeTasks", 100, 20),
        ("ListTasks", 100, 20),
        ("RunTask", 20, 20),
        ("DeregisterTaskDefinition", 20, 1),
        ("TagResource", 20, 10),
    ],
)
def test_a_bucket_admits_its_burst_and_then_its_rate(operation: str, burst: int, per_s: int) -> None:
    world = EcsWorld()
    assert _admitted(world, operation, burst + 5) == burst
    world.later(1)
    assert _admitted(world, operation, burst + 5) == per_s
    world.later(3600)
    assert _admitted(world, operation, burst + 5) == burst


@pytest.mark.parametrize(
    ("one", "other"),
    [("DescribeTasks", "ListTasks"), ("DeregisterTaskDefinition", "RegisterTaskDefinition"), ("StopTask", "RunTask")],
)
def test_two_operations_share_a_bucket(one: str, other: str) -> None:
    world = EcsWorld()
    _admitted(world, one, 200)
    assert _admitted(world, other, 1) == 0


def test_reads_and_writes_have_buckets_of_their_own() -> None:
    world = EcsWorld()
    _admitted(world, "ListTasks", 200)
    assert _admitted(world, "StopTask", 1) == 1


def test_a_throttle_is_http_400_and_does_nothing() -> None:
    world = EcsWorld()
    _admitted(world, "RunTask", 20)
    with pytest.raises(EcsError) as refused:
        world.run()
    assert (refused.value.code, refused.value.http_status) == ("ThrottlingException", 400)
    assert not world.model.tasks


def test_launches_burst_to_a_hundred_and_then_go_by_twenty_a_second() -> None:
    world = EcsWorld()
    for _ in range(10):
        world.run(count=10)
    with pytest.raises(EcsError, match="Rate exceeded"):
        world.run()
    world.later(1)
    world.run(count=10)
    world.run(count=10)
    with pytest.raises(EcsError, match="Rate exceeded"):
        world.run()


def test_on_demand_and_spot_launches_are_counted_apart() -> None:
    world = EcsWorld()
    for _ in range(10):
        world.run(count=10)
    assert len(world.run(count=10, capacityProviderStrategy=SPOT)["tasks"]) == 10


def test_a_replayed_token_draws_no_launch() -> None:
    world = EcsWorld()
    for _ in range(10):
        world.run(count=10)
    world.later(0.1)
    first = world.run_one(clientToken="t")
    assert world.run_one(clientToken="t") == first
    assert world.run_one(clientToken="u") != first
    with pytest.raises(EcsError, match="Rate exceeded"):
        world.run_one(clientToken="v")


def test_a_scale_multiplies_burst_and_rate() -> None:
    world = EcsWorld(throttle_scale=10)
    assert _admitted(world, "RunTask", 300) == 200
    world.later(0.1)
    assert _admitted(world, "RunTask", 300) == 20


def test_a_clock_that_steps_back_neither_adds_to_a_bucket_nor_takes_from_it() -> None:
    world = EcsWorld()
    assert _admitted(world, "RunTask", 15) == 15
    world.later(-10)
    assert _admitted(world, "RunTask", 20) == 5
