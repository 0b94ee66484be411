"""Laws of the estimate: never negative, never less for more, and never less than a minute's."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dagy_control.model.cost import MINIMUM_BILLED_S, PriceTable, attempt_cost_usd, billed_seconds
from tests.builders import NOW, running, stopped

prices = st.builds(
    PriceTable,
    x86_vcpu_hour_usd=st.floats(0, 10),
    x86_memory_gb_hour_usd=st.floats(0, 10),
    arm_vcpu_hour_usd=st.floats(0, 10),
    arm_memory_gb_hour_usd=st.floats(0, 10),
    storage_gb_hour_usd=st.floats(0, 10),
    spot_discount=st.floats(0, 1),
)
seconds = st.floats(0, 1e6)
sizes = st.fixed_dictionaries(
    {
        "cpu": st.integers(256, 32768),
        "memory_mib": st.integers(512, 250_000),
        "ephemeral_storage_gib": st.integers(20, 200),
    }
)
kinds = st.fixed_dictionaries(
    {
        "architecture": st.sampled_from(["", "x86_64", "arm64"]),
        "capacity_provider": st.sampled_from(["", "FARGATE", "FARGATE_SPOT"]),
    }
)


def cost(of: PriceTable, lasting_s: float, **values: Any) -> float:
    task = stopped(running(), pull_started_at=NOW, stopped_at=NOW + timedelta(seconds=lasting_s), **values)
    usd = attempt_cost_usd(task, of)
    assert usd is not None
    return usd


@given(prices, seconds, sizes, kinds)
def test_a_cost_is_never_negative(of: PriceTable, lasting_s: float, size: dict[str, int], kind: dict[str, str]) -> None:
    assert cost(of, lasting_s, **size, **kind) >= 0


@given(prices, seconds, seconds, sizes, kinds)
def test_longer_is_never_cheaper(
    of: PriceTable, one: float, other: float, size: dict[str, int], kind: dict[str, str]
) -> None:
    assert cost(of, min(one, other), **size, **kind) <= cost(of, max(one, other), **size, **kind)


@given(prices, seconds, sizes, sizes, kinds)
def test_larger_is_never_cheaper(
    of: PriceTable, lasting_s: float, one: dict[str, int], other: dict[str, int], kind: dict[str, str]
) -> None:
    small = {name: min(one[name], other[name]) for name in one}
    large = {name: max(one[name], other[name]) for name in one}
    assert cost(of, lasting_s, **small, **kind) <= cost(of, lasting_s, **large, **kind)


@given(prices, seconds, sizes)
def test_spot_is_never_dearer_than_on_demand(of: PriceTable, lasting_s: float, size: dict[str, int]) -> None:
    spot = cost(of, lasting_s, capacity_provider="FARGATE_SPOT", **size)
    assert spot <= cost(of, lasting_s, capacity_provider="FARGATE", **size)


@given(seconds)
def test_a_minute_at_least_is_billed_and_never_a_second_less_than_it_ran(lasting_s: float) -> None:
    billed = billed_seconds(stopped(running(), pull_started_at=NOW, stopped_at=NOW + timedelta(seconds=lasting_s)))
    assert billed is not None
    assert billed >= MINIMUM_BILLED_S
    assert lasting_s <= billed + 1e-6
    assert billed < max(MINIMUM_BILLED_S, lasting_s) + 1
