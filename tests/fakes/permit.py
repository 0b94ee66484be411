"""Leave to act that a test gives and takes."""

import asyncio


class FakePermit:
    """`kernel.permit.Permit`, held or not as the test says."""

    def __init__(self, *, held: bool = True) -> None:
        self._granted = asyncio.Event()
        self.grant() if held else self.revoke()

    @property
    def held(self) -> bool:
        return self._granted.is_set()

    async def wait_held(self) -> None:
        await self._granted.wait()

    def grant(self) -> None:
        """Held from now on."""
        self._granted.set()

    def revoke(self) -> None:
        """Not held from now on."""
        self._granted.clear()
