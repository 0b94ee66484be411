"""Leave to act that comes and goes, as a ticker sees it. `kernel/leases.py` has the one there is."""

from typing import Protocol


class Permit(Protocol):
    """Leave to act, which comes and goes: a lease, to a loop that shares its work with other replicas.

    It saves effort and gives no safety: what is under way when it ends goes on.
    """

    @property
    def held(self) -> bool:
        """Whether another effect may be started now."""
        ...

    async def wait_held(self) -> None:
        """Return when it is held; at once if it is. A cheap wait, without effects."""
        ...
