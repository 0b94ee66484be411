"""Repeating one call."""

import pytest

from dagy_control.errors import Conflict, DagyError, Gone, Permanent, Transient
from dagy_control.kernel.retrying import retrying
from tests.fakes.clock import VirtualClock


class Call:
    """Raises its errors one after the other, then answers; keeps the times at which it was made."""

    def __init__(self, clock: VirtualClock, *errors: Exception) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.at: list[float] = []

    async def __call__(self) -> str:
        self.at.append(self.clock.monotonic() - 1000)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


async def test_a_call_that_works_is_made_once() -> None:
    clock = VirtualClock()
    call = Call(clock)
    assert await clock.run(retrying(call, clock)) == "answer"
    assert call.at == [0]


async def test_transient_errors_are_repeated_with_doubling_waits_up_to_the_longest() -> None:
    clock = VirtualClock()
    call = Call(clock, *[Transient("no")] * 5)
    assert await clock.run(retrying(call, clock, tries=6, base_s=1, max_s=4)) == "answer"
    waits = [later - earlier for earlier, later in zip(call.at, call.at[1:], strict=False)]
    for wait, ceiling in zip(waits, [1, 2, 4, 4, 4], strict=True):
        assert ceiling / 2 <= wait <= ceiling


async def test_the_last_transient_error_is_raised() -> None:
    clock = VirtualClock()
    call = Call(clock, *[Transient(f"try {number}") for number in range(1, 10)])
    with pytest.raises(Transient, match="try 4"):
        await clock.run(retrying(call, clock))
    assert len(call.at) == 4


async def test_the_other_side_may_ask_for_a_longer_wait() -> None:
    clock = VirtualClock()
    call = Call(clock, Transient("later", retry_after_s=30))
    await clock.run(retrying(call, clock))
    assert call.at == [0, 30]


@pytest.mark.parametrize(
    "error", [Permanent("p"), Conflict("c"), Gone("g"), ValueError("v")], ids=lambda e: type(e).__name__
)
async def test_every_other_error_passes_at_once(error: DagyError) -> None:
    clock = VirtualClock()
    call = Call(clock, error)
    with pytest.raises(type(error)):
        await clock.run(retrying(call, clock))
    assert call.at == [0]


async def _times(key: str) -> list[float]:
    clock = VirtualClock()
    call = Call(clock, Transient("no"), Transient("no"))
    await clock.run(retrying(call, clock, key=key))
    return call.at


async def test_waits_are_the_same_for_the_same_key_and_spread_over_different_keys() -> None:
    assert await _times("run-1") == await _times("run-1")
    assert await _times("run-1") != await _times("run-2")
