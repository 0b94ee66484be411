"""Suspicions and state tables in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagy_control.errors import Permanent
from dagy_control.model.suspicions import Suspicion
from tests.fakes.faults import Faulty, lost


class FakeSuspicions(Faulty):
    """`ports.Suspicions` in memory; `records` by task ARN."""

    def __init__(self, *suspicions: Suspicion) -> None:
        super().__init__()
        self.records: dict[str, Suspicion] = {each.task_arn: each for each in suspicions}

    async def get_many(self, task_arns: Sequence[str]) -> Mapping[str, Suspicion]:
        lost(await self._begin("get_many"))
        return {arn: self.records[arn] for arn in task_arns if arn in self.records}

    async def put_many(self, suspicions: Sequence[Suspicion]) -> None:
        after = await self._begin("put_many")
        self.records.update((each.task_arn, each) for each in suspicions)
        lost(after)


class FakeStateTables(Faulty):
    """`ports.StateTables` in memory: `tables[name]` is a list of items. A table that is not there is refused, as AWS does."""

    def __init__(self, tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> None:
        super().__init__()
        self.tables: dict[str, list[Mapping[str, Any]]] = {name: list(items) for name, items in (tables or {}).items()}

    async def read(
        self, table: str, key_attribute: str, keys: Sequence[str], attributes: Sequence[str]
    ) -> Mapping[str, Mapping[str, Any]]:
        lost(await self._begin("read"))
        if table not in self.tables:
            raise Permanent(f"table {table} does not exist", code="ResourceNotFoundException")
        by_key = {item[key_attribute]: item for item in self.tables[table]}
        return {
            key: {name: by_key[key][name] for name in attributes if name in by_key[key]}
            for key in keys
            if key in by_key
        }
