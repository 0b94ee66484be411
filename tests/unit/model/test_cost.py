"""The estimate of an attempt's cost, against sums done by hand."""

from typing import Any

import pytest

from dagy_control.model.cost import PriceTable, attempt_cost_usd, billed_seconds
from dagy_control.model.tasks import SeenTask
from tests.builders import ago, running, stopped

PRICES = PriceTable()
HOUR: dict[str, Any] = {"cpu": 1024, "memory_mib": 2048, "pull_started_at": ago(3600), "stopped_at": ago(0)}


def a_task(**values: Any) -> SeenTask:
    return stopped(running(), **{**HOUR, **values})


COSTS = [
    ("an hour of 1 vCPU and 2 GB", {}, 0.04048 + 2 * 0.004445),
    ("on ARM", {"architecture": "arm64"}, 0.03238 + 2 * 0.00356),
    ("on Spot", {"capacity_provider": "FARGATE_SPOT"}, 0.3 * (0.04048 + 2 * 0.004445)),
    ("20 GiB of storage are included", {"ephemeral_storage_gib": 20}, 0.04937),
    ("50 GiB of storage", {"ephemeral_storage_gib": 50}, 0.04937 + 30 * 0.000111),
    (
        "storage has no Spot price",
        {"ephemeral_storage_gib": 50, "capacity_provider": "FARGATE_SPOT"},
        0.3 * 0.04937 + 30 * 0.000111,
    ),
    ("a quarter of a vCPU, half a GB", {"cpu": 256, "memory_mib": 512}, 0.01012 + 0.0022225),
    ("one second is billed as a minute", {"pull_started_at": ago(1)}, 0.04937 / 60),
    ("a second begun is a second", {"pull_started_at": ago(60.2)}, 0.04937 * 61 / 3600),
    (
        "it failed before its image was pulled",
        {"pull_started_at": None, "started_at": None, "stop_code": "TaskFailedToStart"},
        0.0,
    ),
]


@pytest.mark.parametrize(("values", "usd"), [pytest.param(*row[1:], id=row[0]) for row in COSTS])
def test_an_attempt_costs(values: dict[str, Any], usd: float) -> None:
    assert attempt_cost_usd(a_task(**values), PRICES) == pytest.approx(usd, abs=1e-8)


UNKNOWN = [
    ("no CPU", {"cpu": None}),
    ("no memory", {"memory_mib": None}),
    ("no pull, though it ran", {"pull_started_at": None}),
    ("not stopped yet", {"stopped_at": None}),
    ("it stopped before its pull began", {"pull_started_at": ago(0), "stopped_at": ago(5)}),
    ("an architecture without a price", {"architecture": "riscv"}),
    ("another provider", {"capacity_provider": "my-instances"}),
    ("instances of one's own", {"launch_type": "EC2"}),
    ("Windows", {"platform_family": "WINDOWS_SERVER_2022_CORE"}),
]


@pytest.mark.parametrize("values", [pytest.param(row[1], id=row[0]) for row in UNKNOWN])
def test_no_number_rather_than_a_wrong_one(values: dict[str, Any]) -> None:
    assert attempt_cost_usd(a_task(**values), PRICES) is None


def test_billed_is_from_the_start_of_the_pull() -> None:
    task = a_task(created_at=ago(9000), pull_started_at=ago(3700), started_at=ago(3600))
    assert billed_seconds(task) == 3700
