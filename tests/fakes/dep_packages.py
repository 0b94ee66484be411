"""The table of the dependency packages in memory."""

from collections.abc import Sequence

from dagy_control.errors import Conflict
from dagy_control.model.dep_packages import DepPackage
from tests.fakes.faults import Faulty, lost


class FakeDepPackages(Faulty):
    """`ports.DepPackages` in memory; `records` by slug."""

    def __init__(self, *packages: DepPackage) -> None:
        super().__init__()
        self.records = {package.slug: package for package in packages}

    async def get(self, slug: str) -> DepPackage | None:
        lost(await self._begin("get"))
        return self.records.get(slug)

    async def put(self, package: DepPackage, *, replace: bool = False) -> None:
        after = await self._begin("put")
        current = self.records.get(package.slug)
        if current is not None and current.sha256 != package.sha256 and not replace:
            raise Conflict(f"dependency package {package.slug!r} exists with another content", current=current)
        self.records[package.slug] = package
        lost(after)

    async def all(self) -> Sequence[DepPackage]:
        lost(await self._begin("all"))
        return [package for _, package in sorted(self.records.items())]
