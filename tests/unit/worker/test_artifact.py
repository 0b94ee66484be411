"""Fetching an artifact: what is refused and in which words, and that a good one gives its FlowSpec."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from dagy_control.errors import Permanent, Transient
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus
from dagy_control.model.runs import FailureClass
from dagy_control.worker.artifact import fetch
from dagy_control.worker.failure import WorkerFailure
from tests.builders import NOW
from tests.fakes.clock import HurriedClock
from tests.fakes.flows import FakeArtifacts
from tests.hostile_archives import HOSTILE, MAX_BYTES, a_targz, a_zip

SPEC = FlowSpec(name="etl", version="1", import_path="etl:etl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, inside another one in which nothing else may appear."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    return inner


class Shelf:
    """One artifact in the store, and the record that names it."""

    def __init__(self, data: bytes, **values: Any) -> None:
        self.artifacts = FakeArtifacts()
        self.clock = HurriedClock()
        record: dict[str, Any] = {
            "org_id": "acme",
            "flow_name": "etl",
            "flow_version": "1",
            "spec": SPEC,
            "import_path": SPEC.import_path,
            "artifact_s3_uri": "s3://dagy-artifacts/etl.zip",
            "artifact_sha256": hashlib.sha256(data).hexdigest(),
            "artifact_size_bytes": len(data),
            "status": FlowStatus.ACTIVE,
            "registered_at": NOW,
        }
        self.record = FlowRecord(**{**record, **values})
        self.artifacts.objects["s3://dagy-artifacts/etl.zip"] = data

    async def fetch(self, folder: Path) -> FlowSpec:
        return await fetch(self.record, self.artifacts, self.clock, folder, max_bytes=MAX_BYTES)


async def refusal(shelf: Shelf, folder: Path) -> str:
    """Why the artifact is refused."""
    with pytest.raises(WorkerFailure) as refused:
        await shelf.fetch(folder)
    assert refused.value.failure_class is FailureClass.ARTIFACT
    return str(refused.value)


@pytest.mark.parametrize("packed", [a_zip, a_targz], ids=["zip", "tar.gz"])
async def test_a_good_artifact_gives_its_spec_and_nothing_else_is_left(packed: Any, folder: Path) -> None:
    shelf = Shelf(packed(("flow.json", SPEC.to_json().encode()), ("etl.py", b"")))
    assert await shelf.fetch(folder) == SPEC
    assert (folder / "etl.py").is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["inner"]


async def test_an_artifact_that_is_a_trick_is_refused_with_the_reason(folder: Path) -> None:
    message = await refusal(Shelf(HOSTILE["zip: parent"]), folder)
    assert message == (
        "the artifact s3://dagy-artifacts/etl.zip cannot be unpacked: it holds '../evil.py', whose path may lead outside"
    )
    assert [path.name for path in folder.parent.iterdir()] == ["inner"]


async def test_a_role_that_may_not_read_the_artifact_is_told_what_it_needs(folder: Path) -> None:
    shelf = Shelf(b"")
    shelf.artifacts.next_error("download", Permanent("Access Denied (GetObject: AccessDenied)", code="AccessDenied"))
    message = await refusal(shelf, folder)
    assert message.startswith(
        "the artifact s3://dagy-artifacts/etl.zip cannot be downloaded: Access Denied (GetObject: AccessDenied);"
    )
    assert "s3:GetObject" in message


async def test_a_wrong_sha256_is_refused_before_the_archive_is_opened(folder: Path) -> None:
    message = await refusal(Shelf(b"not even a ZIP", artifact_sha256="0" * 64), folder)
    assert "sha256" in message
    assert "0" * 64 in message
    assert hashlib.sha256(b"not even a ZIP").hexdigest() in message
    assert list(folder.iterdir()) == []


async def test_a_missing_artifact_says_where_it_was_looked_for(folder: Path) -> None:
    message = await refusal(Shelf(b"", artifact_s3_uri="s3://dagy-artifacts/gone.zip"), folder)
    assert message == "there is no artifact at s3://dagy-artifacts/gone.zip (NoSuchKey); register the flow again"


async def test_a_passing_trouble_of_the_store_is_waited_for(folder: Path) -> None:
    shelf = Shelf(a_zip(("flow.json", SPEC.to_json().encode())))
    shelf.artifacts.next_error("download", Transient("slow down"), times=3)
    assert await shelf.fetch(folder) == SPEC


@pytest.mark.parametrize(
    "error", [Transient("S3 is down"), Permanent("access denied")], ids=["it stays down", "it refuses"]
)
async def test_an_artifact_that_cannot_be_read_is_refused_with_the_reason(error: Exception, folder: Path) -> None:
    shelf = Shelf(b"")
    shelf.artifacts.next_error("download", error, times=99)
    assert str(error) in await refusal(shelf, folder)


async def test_a_packed_artifact_over_the_limit_is_refused(folder: Path) -> None:
    assert str(MAX_BYTES) in await refusal(Shelf(bytes(MAX_BYTES + 1)), folder)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        pytest.param([("etl.py", b"")], "has no flow.json", id="none"),
        pytest.param([("flow.json", b"{")], "not JSON", id="not JSON"),
        pytest.param([("flow.json", b"\xff\xfe\x00")], "not JSON", id="not text"),
        pytest.param([("flow.json", b"[]")], "object", id="no object"),
        pytest.param([("flow.json", b'{"format": "dagy.flow/99"}')], "dagy.flow/99", id="a newer format"),
        pytest.param([("flow.json/a.py", b"")], "flow.json", id="a folder of that name"),
    ],
)
async def test_a_flow_json_that_is_missing_or_bad_is_refused_by_name(
    entries: list[tuple[str, bytes]], told: str, folder: Path
) -> None:
    assert told in await refusal(Shelf(a_zip(*entries)), folder)
