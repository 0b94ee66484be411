"""The table of leases."""

from typing import Protocol

from dagy_control.model.leases import Lease


class Leases(Protocol):
    """Records that divide the loops among replicas. They save effort; nothing may rely on them for safety."""

    async def get(self, lease_name: str) -> Lease | None:
        """The record as it is now (a consistent read); None when there is none. Safe to repeat."""
        ...

    async def put_if(self, lease: Lease, *, seen_nonce: str | None) -> None:
        """Write the record whole if the stored one still has the nonce `seen_nonce` (None: if there is none).

        Raises `Conflict(current=Lease | None)`, the record as it is, when the condition fails. Every write needs a nonce of its
        own; safe to repeat with the same one: if an earlier try had won, that is a success.
        """
        ...
