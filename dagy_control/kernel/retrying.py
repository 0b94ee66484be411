"""Repeat a single call that may work later. Loops do not need this: their ticker repeats the whole tick."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from dagy_control.errors import Transient
from dagy_control.kernel.backoff import backoff_s
from dagy_control.kernel.clock import Clock

T = TypeVar("T")


async def retrying(
    call: Callable[[], Awaitable[T]],
    clock: Clock,
    *,
    tries: int = 4,
    base_s: float = 0.2,
    max_s: float = 5.0,
    key: str = "",
) -> T:
    """The call's result; on `Transient` it is made again, up to `tries` times in all, and then the last `Transient` raised.

    Waits double from `base_s` to `max_s`, spread by a hash of `key`, and are never shorter than the other side asked for
    (`retry_after_s`, even beyond `max_s`). Every other error passes at once. The call must be safe to repeat: a `Transient`
    may have been applied.
    """
    for failures in range(1, tries):
        try:
            return await call()
        except Transient as error:
            wait_s = max(backoff_s(failures, min_s=base_s, max_s=max_s, key=key), error.retry_after_s or 0.0)
        await clock.sleep(wait_s)
    return await call()
