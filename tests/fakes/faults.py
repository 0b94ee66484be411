"""What every fake can be told: the error that its next call ends in, and whether the call takes effect before that."""

import asyncio
from collections import defaultdict, deque


class Faulty:
    """Base of the fakes: errors in waiting, by method name, first come first served."""

    def __init__(self) -> None:
        self._errors: defaultdict[str, deque[tuple[Exception, bool]]] = defaultdict(deque)
        self.calls: list[str] = []
        """Names of the methods called, in order."""

    def next_error(self, method: str, error: Exception, *, applied: bool = False, times: int = 1) -> None:
        """The next calls of `method` raise `error`: before any effect, or (`applied`) after it, like a lost reply."""
        self._errors[method].extend([(error, applied)] * times)

    async def _begin(self, method: str) -> Exception | None:
        """Start a call: lets others run, as a real call does; gives the error to raise once the effect is there."""
        self.calls.append(method)
        await asyncio.sleep(0)  # noqa: TID251 - a yield, not a wait
        if not self._errors[method]:
            return None
        error, applied = self._errors[method].popleft()
        if applied:
            return error
        raise error


def lost(error: Exception | None) -> None:
    """End a call whose effect is there: its reply may get lost."""
    if error is not None:
        raise error
