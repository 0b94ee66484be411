"""What the orphan scanner keeps and cross-checks: suspicions, and the state tables that others write."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dagy_control.model.suspicions import Suspicion


class Suspicions(Protocol):
    """The orphans table."""

    async def get_many(self, task_arns: Sequence[str]) -> Mapping[str, Suspicion]:
        """The suspicions on record among these tasks, by ARN (consistent reads, 100 keys a call)."""
        ...

    async def put_many(self, suspicions: Sequence[Suspicion]) -> None:
        """Write suspicions whole. Safe to repeat."""
        ...


class StateTables(Protocol):
    """Tables of other systems (and our own runs), keyed by one string attribute."""

    async def read(
        self, table: str, key_attribute: str, keys: Sequence[str], attributes: Sequence[str]
    ) -> Mapping[str, Mapping[str, Any]]:
        """The items that exist, by key, reduced to `attributes` (consistent reads, 100 keys a call, unprocessed keys retried).

        A key that is absent from the answer has no record: the call raises rather than answer in part.
        """
        ...
