"""The leases table in memory."""

from dagy_control.errors import Conflict
from dagy_control.model.leases import Lease
from tests.fakes.faults import Faulty, lost


class FakeLeases(Faulty):
    """`ports.Leases` in memory; `records` by lease name, `writes` are those that took effect, in order."""

    def __init__(self, *leases: Lease) -> None:
        super().__init__()
        self.records: dict[str, Lease] = {lease.lease_name: lease for lease in leases}
        self.writes: list[Lease] = []

    async def get(self, lease_name: str) -> Lease | None:
        lost(await self._begin("get"))
        return self.records.get(lease_name)

    async def put_if(self, lease: Lease, *, seen_nonce: str | None) -> None:
        after = await self._begin("put_if")
        current = self.records.get(lease.lease_name)
        if (current.nonce if current else None) == seen_nonce:
            self.records[lease.lease_name] = lease
            self.writes.append(lease)
        elif current is None or current.nonce != lease.nonce:
            raise Conflict(f"lease {lease.lease_name} has changed hands or nonce", current=current)
        lost(after)
