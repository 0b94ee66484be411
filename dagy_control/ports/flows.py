"""Registered flows, their artifacts, and result objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from dagy_control.model.flows import FlowRecord
from dagy_control.model.runs import WorkerResult


class Flows(Protocol):
    """The flows table."""

    async def get(self, org_id: str, flow_name: str, flow_version: str | None = None) -> FlowRecord | None:
        """One version of a flow, or the newest registered active one when no version is given; None when there is none."""
        ...

    async def put(self, record: FlowRecord) -> None:
        """Register a version; the same one again is a success.

        Raises `Conflict(current=FlowRecord)` when the version exists with another artifact: a version never changes.
        """
        ...

    async def of_org(self, org_id: str) -> Sequence[FlowRecord]:
        """Every registered version of an organisation's flows, by name and version."""
        ...


class Artifacts(Protocol):
    """Artifacts of flows, dependency packages and traces, addressed by `s3://bucket/key` URIs."""

    async def upload(self, key: str, content: bytes) -> str:
        """Store the content under the key and return its URI. Safe to repeat."""
        ...

    async def download(self, uri: str, target: Path, *, max_bytes: int) -> str:
        """Write the content to the file `target`, in the place of what it held; gives its sha256 in hex. Safe to repeat.

        Raises `Gone` when there is none, `Permanent` when it is larger than `max_bytes`, may not be read, or cannot be written
        here. What `target` then holds means nothing.
        """
        ...


class Results(Protocol):
    """Result objects that a worker leaves when it cannot write its table, keyed by run, attempt and task."""

    async def put(self, run_id: str, task_arn: str, result: WorkerResult) -> None:
        """Keep the result. Safe to repeat."""
        ...

    async def get(self, run_id: str, attempt: int, task_arn: str) -> WorkerResult | None:
        """The result that this task left; None when it left none. Any other failure raises: unreadable means undecided, not lost."""
        ...
