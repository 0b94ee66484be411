"""Sizes and capacity providers."""

from collections import Counter

import pytest

from dagy_control.model.resources import (
    FARGATE_MEMORY_MIB,
    TaskSize,
    choose_provider,
    larger_size,
    nearest_sizes,
    smallest_cpu_for,
    validate_ephemeral_storage,
    validate_size,
)

SPOT_AND_ON_DEMAND = {"FARGATE_SPOT": 70, "FARGATE": 30}


@pytest.mark.parametrize(
    ("cpu", "memory_mib"),
    [
        pytest.param(256, 512, id="the smallest"),
        pytest.param(512, 3072, id="512 takes steps of 1 GB to 4"),
        pytest.param(4096, 30720, id="4096 ends at 30 GB"),
        pytest.param(8192, 20480, id="8192 takes steps of 4 GB"),
        pytest.param(16384, 122880, id="16384 ends at 120 GB"),
        pytest.param(32768, 249856, id="the largest: 244 GB"),
    ],
)
def test_fargate_sizes_are_accepted(cpu: int, memory_mib: int) -> None:
    assert validate_size(cpu, memory_mib) is None


@pytest.mark.parametrize(
    ("cpu", "memory_mib", "nearest"),
    [
        pytest.param(256, 4096, "512 CPU / 4096 MiB", id="more memory than the CPU allows"),
        pytest.param(1024, 1024, "512 CPU / 1024 MiB", id="less memory than the CPU needs"),
        pytest.param(8192, 17408, "8192 CPU / 16384 MiB", id="between two steps"),
        pytest.param(300, 512, "256 CPU / 512 MiB", id="no such CPU"),
    ],
)
def test_another_size_is_refused_with_the_nearest_ones_named(cpu: int, memory_mib: int, nearest: str) -> None:
    problem = validate_size(cpu, memory_mib)
    assert problem is not None
    assert f"{cpu} CPU units with {memory_mib} MiB" in problem
    assert nearest in problem


@pytest.mark.parametrize(
    ("cpu", "memory_mib"), [(256, 512), (300, 512), (1, 1), (10**6, 10**6), (0, 0)], ids=lambda value: str(value)
)
def test_the_nearest_sizes_are_valid_distinct_and_the_wish_itself_when_it_is_valid(cpu: int, memory_mib: int) -> None:
    nearest = nearest_sizes(cpu, memory_mib)
    assert len(set(nearest)) == 3
    assert all(size.memory_mib in FARGATE_MEMORY_MIB[size.cpu] for size in nearest)
    assert (validate_size(cpu, memory_mib) is None) == (nearest[0] == TaskSize(cpu, memory_mib))


@pytest.mark.parametrize(
    ("memory_mib", "cpu"),
    [pytest.param(2048, 256, id="2 GB"), pytest.param(8192, 1024, id="8 GB"), pytest.param(1, None, id="no such size")],
)
def test_a_memory_has_a_smallest_cpu(memory_mib: int, cpu: int | None) -> None:
    assert smallest_cpu_for(memory_mib) == cpu


@pytest.mark.parametrize(("gib", "valid"), [(20, False), (21, True), (200, True), (201, False)])
def test_ephemeral_storage_is_21_to_200_gib(gib: int, valid: bool) -> None:
    assert (validate_ephemeral_storage(gib) is None) == valid


PROFILES = {
    "small": TaskSize(256, 512),
    "medium": TaskSize(1024, 2048),
    "lean": TaskSize(512, 3072),
    "xlarge": TaskSize(4096, 12288),
}


@pytest.mark.parametrize(
    ("profile", "size", "larger"),
    [
        pytest.param("small", TaskSize(256, 512), ("medium", TaskSize(1024, 2048)), id="the next profile by memory"),
        pytest.param("medium", TaskSize(1024, 2048), ("xlarge", TaskSize(4096, 12288)), id="never with less CPU"),
        pytest.param("xlarge", TaskSize(4096, 12288), None, id="the largest profile is the end"),
        pytest.param(None, TaskSize(256, 512), (None, TaskSize(256, 1024)), id="sized by itself: more for the same CPU"),
        pytest.param(None, TaskSize(256, 2048), None, id="the most for its CPU is the end"),
        pytest.param(None, TaskSize(4096, 8192), (None, TaskSize(4096, 12288)), id="by half at least"),
        pytest.param(None, TaskSize(4096, 24576), (None, TaskSize(4096, 30720)), id="or the most there is"),
        pytest.param("small", TaskSize(256, 1024), ("small", TaskSize(256, 2048)), id="a profile with memory of its own"),
        pytest.param("gone", TaskSize(256, 512), ("gone", TaskSize(256, 1024)), id="a profile that is no more"),
        pytest.param("small", TaskSize(256, 512, 50), ("medium", TaskSize(1024, 2048, 50)), id="the storage stays"),
    ],
)  # fmt: skip
def test_more_memory(profile: str | None, size: TaskSize, larger: tuple[str | None, TaskSize] | None) -> None:
    assert larger_size(size, profile, PROFILES) == larger
    if larger is not None:
        assert validate_size(larger[1].cpu, larger[1].memory_mib) is None


def test_the_choice_honours_70_to_30_over_many_runs() -> None:
    chosen = Counter(choose_provider(SPOT_AND_ON_DEMAND, f"run-{number}", 1) for number in range(10_000))
    assert 6_800 < chosen["FARGATE_SPOT"] < 7_200
    assert chosen.total() == 10_000


def test_the_choice_honours_the_weights_over_the_attempts_of_one_run_too() -> None:
    chosen = Counter(choose_provider(SPOT_AND_ON_DEMAND, "run-1", attempt) for attempt in range(10_000))
    assert 6_800 < chosen["FARGATE_SPOT"] < 7_200


def test_the_choice_is_the_same_on_every_replica_whatever_the_order_of_the_weights() -> None:
    turned = dict(reversed(SPOT_AND_ON_DEMAND.items()))
    for number in range(200):
        first = choose_provider(SPOT_AND_ON_DEMAND, f"run-{number}", 1)
        assert (
            first
            == choose_provider(SPOT_AND_ON_DEMAND, f"run-{number}", 1)
            == choose_provider(turned, f"run-{number}", 1)
        )


def test_a_provider_without_weight_is_never_chosen() -> None:
    weights = {"FARGATE": 0, "FARGATE_SPOT": 1}
    assert {choose_provider(weights, f"run-{number}", 1) for number in range(500)} == {"FARGATE_SPOT"}


def test_weights_that_sum_to_nothing_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        choose_provider({"FARGATE": 0}, "run-1", 1)
