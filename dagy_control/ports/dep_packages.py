"""Where dependency packages are recorded."""

from collections.abc import Sequence
from typing import Protocol

from dagy_control.model.dep_packages import DepPackage


class DepPackages(Protocol):
    """The table of the dependency packages."""

    async def get(self, slug: str) -> DepPackage | None:
        """The package as it is now (a consistent read); None when there is none. `Permanent` for a record that cannot be used."""
        ...

    async def put(self, package: DepPackage, *, replace: bool = False) -> None:
        """Write a package; the same content again is a success. Safe to repeat.

        Raises `Conflict(current=DepPackage)` when the slug has another content, unless it is to be replaced.
        """
        ...

    async def all(self) -> Sequence[DepPackage]:
        """Every package, by slug. Eventually consistent."""
        ...
