"""The flows table, artifacts and result objects in memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dagy_control.errors import Conflict, Gone, Permanent
from dagy_control.model.flows import FlowRecord, FlowStatus
from dagy_control.model.runs import WorkerResult
from tests.fakes.faults import Faulty, lost


class FakeFlows(Faulty):
    """`ports.Flows` in memory; `records` by (org_id, flow_name, flow_version)."""

    def __init__(self, *records: FlowRecord) -> None:
        super().__init__()
        self.records = {_key(record): record for record in records}

    async def get(self, org_id: str, flow_name: str, flow_version: str | None = None) -> FlowRecord | None:
        lost(await self._begin("get"))
        if flow_version is not None:
            return self.records.get((org_id, flow_name, flow_version))
        versions = [
            record
            for key, record in self.records.items()
            if key[:2] == (org_id, flow_name) and record.status is FlowStatus.ACTIVE
        ]
        return max(versions, key=lambda record: (record.registered_at, record.flow_version), default=None)

    async def put(self, record: FlowRecord) -> None:
        after = await self._begin("put")
        current = self.records.get(_key(record))
        if current is not None and current.artifact_sha256 != record.artifact_sha256:
            raise Conflict(f"version {record.flow_version} of {record.flow_name} exists", current=current)
        registered_at = current.registered_at if current else record.registered_at
        self.records[_key(record)] = replace(record, registered_at=registered_at)
        lost(after)

    async def of_org(self, org_id: str) -> Sequence[FlowRecord]:
        lost(await self._begin("of_org"))
        return [record for key, record in sorted(self.records.items(), key=lambda item: item[0]) if key[0] == org_id]


class FakeArtifacts(Faulty):
    """`ports.Artifacts` in memory; `objects` by URI."""

    def __init__(self, bucket: str = "dagy-artifacts") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}

    async def upload(self, key: str, content: bytes) -> str:
        after = await self._begin("upload")
        uri = f"s3://{self.bucket}/{key}"
        self.objects[uri] = content
        lost(after)
        return uri

    async def download(self, uri: str, target: Path, *, max_bytes: int) -> str:
        lost(await self._begin("download"))
        if not uri.startswith("s3://"):
            raise Permanent(f"{uri} is no s3:// URI")
        if uri not in self.objects:
            raise Gone(f"{uri} does not exist (NoSuchKey)")
        content = self.objects[uri]
        if len(content) > max_bytes:
            raise Permanent(f"{uri} has {len(content)} bytes, more than the {max_bytes} allowed")
        target.write_bytes(content)
        return hashlib.sha256(content).hexdigest()


class FakeResults(Faulty):
    """`ports.Results` in memory; `records` by (run_id, attempt, task ARN)."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[tuple[str, int, str], WorkerResult] = {}

    async def put(self, run_id: str, task_arn: str, result: WorkerResult) -> None:
        after = await self._begin("put")
        self.records[run_id, result.attempt, task_arn] = result
        lost(after)

    async def get(self, run_id: str, attempt: int, task_arn: str) -> WorkerResult | None:
        lost(await self._begin("get"))
        return self.records.get((run_id, attempt, task_arn))


def _key(record: FlowRecord) -> tuple[str, str, str]:
    return record.org_id, record.flow_name, record.flow_version
