"""Which executor, and which size: the answers, and the words of each refusal."""

import pytest

from dagy_control.model.resources import FARGATE_MEMORY_MIB, TaskSize
from dagy_control.requests.executors import Executor, check_executor
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.sizes import choose_size

PROFILES = {
    "small": TaskSize(256, 512),
    "medium": TaskSize(1024, 2048),
    "large": TaskSize(2048, 4096),
    "xlarge": TaskSize(4096, 12288),
}


def choose(
    profile: str | None = None, cpu: int | None = None, memory: int | None = None, storage: int | None = None
) -> TaskSize:
    return choose_size(PROFILES, "medium", profile=profile, cpu=cpu, memory=memory, ephemeral_storage_gib=storage)


# Executors.


def test_an_executor_without_its_settings_is_refused_in_the_runbooks_words() -> None:
    executors = {"ecs": Executor("ecs", ("DAGY_ECS_CLUSTER_ARN", "DAGY_ECS_SUBNETS"))}
    with pytest.raises(RequestRefused) as refused:
        check_executor(executors, "ecs")
    sentence, _, rest = str(refused.value).partition(" Missing settings: ")
    assert sentence == "Requested backend 'ecs' is not available. Ensure DAGY_ECS_CLUSTER_ARN is set."
    assert rest == "DAGY_ECS_CLUSTER_ARN, DAGY_ECS_SUBNETS."
    assert refused.value.field == "executor"


@pytest.mark.parametrize(
    ("known", "listed"),
    [({"ecs": Executor("ecs"), "box": Executor("box")}, "box, ecs"), ({}, "none")],
    ids=["others", "none"],
)
def test_an_unknown_executor_is_refused_and_the_known_ones_named(known: dict[str, Executor], listed: str) -> None:
    with pytest.raises(RequestRefused, match=r"^Requested backend 'local' is not available\.") as refused:
        check_executor(known, "local")
    assert str(refused.value).endswith(f"Known backends: {listed}.")


def test_an_available_executor_is_no_matter() -> None:
    check_executor({"ecs": Executor("ecs")}, "ecs")


# Sizes.


@pytest.mark.parametrize(
    ("wish", "size"),
    [
        pytest.param({}, TaskSize(1024, 2048), id="nothing: the default profile"),
        pytest.param({"profile": "small"}, TaskSize(256, 512), id="small"),
        pytest.param({"profile": "large"}, TaskSize(2048, 4096), id="large"),
        pytest.param({"profile": "xlarge"}, TaskSize(4096, 12288), id="xlarge"),
        pytest.param({"profile": "large", "memory": 16384}, TaskSize(2048, 16384), id="profile and memory"),
        pytest.param({"profile": "small", "cpu": 512, "memory": 1024}, TaskSize(512, 1024), id="both override"),
        pytest.param({"cpu": 1024, "memory": 8192}, TaskSize(1024, 8192), id="both"),
        pytest.param({"cpu": 512}, TaskSize(512, 2048), id="cpu with the default memory"),
        pytest.param({"memory": 512}, TaskSize(256, 512), id="memory: the smallest cpu"),
        pytest.param({"memory": 5120}, TaskSize(1024, 5120), id="more memory: the smallest cpu that has it"),
        pytest.param({"memory": 249856}, TaskSize(32768, 249856), id="the largest memory"),
        pytest.param({"storage": 21}, TaskSize(1024, 2048, 21), id="least storage"),
        pytest.param({"storage": 200}, TaskSize(1024, 2048, 200), id="most storage"),
    ],
)
def test_a_wish_becomes_a_size_that_fargate_runs(wish: dict[str, int | str], size: TaskSize) -> None:
    assert choose(**wish) == size  # type: ignore[arg-type]  # the table's wishes are keyword arguments
    assert size.memory_mib in FARGATE_MEMORY_MIB[size.cpu]


@pytest.mark.parametrize(
    ("wish", "field", "told"),
    [
        pytest.param({"profile": "huge"}, "workload_profile", "large, medium, small, xlarge", id="unknown profile"),
        pytest.param({"profile": ""}, "workload_profile", "''", id="empty profile"),
        pytest.param({"cpu": 1000}, "cpu", "1024 CPU / 2048 MiB", id="no such cpu"),
        pytest.param(
            {"cpu": 4096}, "cpu", "give memory too; nearest: 4096 CPU / 8192 MiB", id="cpu that needs more memory"
        ),
        pytest.param(
            {"cpu": 16384},
            "cpu",
            "16384 CPU units do not go with the 2048 MiB of profile 'medium'",
            id="cpu that needs far more",
        ),
        pytest.param(
            {"cpu": 256, "profile": "xlarge"}, "cpu", "nearest: 256 CPU / 2048 MiB", id="cpu below the profile's memory"
        ),
        pytest.param(
            {"profile": "small", "memory": 4096}, "memory", "512 CPU / 4096 MiB", id="memory over the profile's"
        ),
        pytest.param({"cpu": 256, "memory": 100}, "cpu", "256 CPU / 512 MiB", id="too little memory"),
        pytest.param({"cpu": 0}, "cpu", "256 CPU / 2048 MiB", id="zero"),
        pytest.param({"cpu": -1, "memory": -1}, "cpu", "256 CPU / 512 MiB", id="negative"),
        pytest.param({"storage": 20}, "ephemeral_storage_gib", "21 to 200", id="storage that every task has"),
        pytest.param({"storage": 201}, "ephemeral_storage_gib", "21 to 200", id="too much storage"),
    ],
)
def test_a_wish_that_fargate_cannot_fulfil_is_refused_with_the_nearest(
    wish: dict[str, int | str], field: str, told: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        choose(**wish)  # type: ignore[arg-type]  # the table's wishes are keyword arguments
    assert refused.value.field == field
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("memory", "nearest"),
    [
        pytest.param(1, ("256 CPU / 512 MiB",), id="far too little"),
        pytest.param(3000, ("512 CPU / 3072 MiB",), id="between two"),
        pytest.param(100_000, ("16384 CPU / 98304 MiB", "16384 CPU / 106496 MiB"), id="between two large ones"),
        pytest.param(10**6, ("32768 CPU / 249856 MiB",), id="far too much"),
    ],
)
def test_memory_alone_that_no_size_has_is_refused_with_the_nearest_pairs(memory: int, nearest: tuple[str, ...]) -> None:
    with pytest.raises(RequestRefused) as refused:
        choose(memory=memory)
    assert refused.value.field == "memory"
    for pair in nearest:
        assert pair in str(refused.value)
