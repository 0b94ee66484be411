"""Fetching and unpacking an artifact: what is refused, that nothing gets outside, and that a good one is unpacked."""

import hashlib
import io
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dagy_control.errors import Permanent, Transient
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus
from dagy_control.model.runs import FailureClass
from dagy_control.worker.artifact import ENTRIES_MAX, fetch, unpack
from dagy_control.worker.failure import WorkerFailure
from tests.builders import NOW
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeArtifacts

MAX_BYTES = 1024 * 1024
SPEC = FlowSpec(name="etl", version="1", import_path="etl:etl")
UNIX = 3


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644, compress: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """An entry's header. The name is put in past the constructor, which would tidy it."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.create_system = UNIX
    info.external_attr = mode << 16
    info.compress_type = compress
    return info


def a_zip(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """An archive of these entries, however bad."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for header, content in entries:
            archive.writestr(entry(header) if isinstance(header, str) else header, content)
    return buffer.getvalue()


def a_bomb(size: int) -> bytes:
    return a_zip((entry("zeros.py", compress=zipfile.ZIP_DEFLATED), bytes(size)))


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with some bytes overwritten everywhere, its length unchanged."""
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new)


def with_directory_field(data: bytes, offset: int, value: bytes) -> bytes:
    """The archive with a field of its first central directory header overwritten ("APPNOTE.TXT", 4.3.12)."""
    start = data.index(b"PK\x01\x02") + offset
    return data[:start] + value + data[start + len(value) :]


def encrypted() -> bytes:
    return with_directory_field(a_zip(("a.py", b"x = 1")), 8, struct.pack("<H", 1))


def larger_than_its_header_says() -> bytes:
    data = a_zip((entry("a.py", compress=zipfile.ZIP_DEFLATED), b"x = 1\n" * 1000))
    return with_directory_field(data, 24, struct.pack("<I", 10))


def smaller_than_its_header_says() -> bytes:
    data = a_zip((entry("a.py", compress=zipfile.ZIP_DEFLATED), b"x = 1\n" * 100))
    return with_directory_field(data, 24, struct.pack("<I", 10_000))


def with_a_spoiled_body() -> bytes:
    """A deflate stream that begins with a block type which does not exist."""
    header = entry("a.py", compress=zipfile.ZIP_DEFLATED)
    data = a_zip((header, bytes(range(256)) * 4))
    start = 30 + len("a.py")
    return data[:start] + b"\xff" * 16 + data[start + 16 :]


def with_a_spoiled_lzma_body() -> bytes:
    header = entry("a.py", compress=zipfile.ZIP_LZMA)
    data = a_zip((header, bytes(range(256)) * 4))
    start = 30 + len("a.py") + 9
    return data[:start] + b"\xff" * 16 + data[start + 16 :]


def with_a_name_that_is_no_utf8() -> bytes:
    return patched(a_zip(("é.py", b"")), "é".encode(), b"\xff\xfe")


def with_a_nul_in_a_name() -> bytes:
    return patched(a_zip(("a.pyX.sh", b"")), b"a.pyX.sh", b"a.py\0.sh")


HOSTILE: dict[str, bytes] = {
    "absolute": a_zip(("/srv/evil.py", b"x")),
    "two slashes first": a_zip(("//srv/evil.py", b"x")),
    "parent": a_zip(("../evil.py", b"x")),
    "parent in the middle": a_zip(("a/../../evil.py", b"x")),
    "parent that stays inside": a_zip(("a/../evil.py", b"x")),
    "parent folder": a_zip((entry("../evil/", mode=stat.S_IFDIR | 0o755), b"")),
    "NUL": with_a_nul_in_a_name(),
    "backslash": a_zip(("..\\evil.py", b"x")),
    "drive": a_zip(("C:evil.py", b"x")),
    "the folder itself": a_zip(("./", b"")),
    "no name": a_zip(("", b"x")),
    "a name too long": a_zip(("a" * 300 + ".py", b"x")),
    "symlink": a_zip((entry("link", mode=stat.S_IFLNK | 0o777), b"/etc/passwd")),
    "symlink as a folder": a_zip((entry("link/", mode=stat.S_IFLNK | 0o777), b"/etc")),
    "character device": a_zip((entry("dev", mode=stat.S_IFCHR | 0o666), b"")),
    "block device": a_zip((entry("dev", mode=stat.S_IFBLK | 0o666), b"")),
    "pipe": a_zip((entry("pipe", mode=stat.S_IFIFO | 0o666), b"")),
    "socket": a_zip((entry("socket", mode=stat.S_IFSOCK | 0o666), b"")),
    "same path written differently": a_zip(("a.py", b"1"), ("./a.py", b"2")),
    "same path with two slashes": a_zip(("p/a.py", b"1"), ("p//a.py", b"2")),
    "file, then folder of one name": a_zip(("a", b"1"), ("a/b.py", b"2")),
    "folder, then file of one name": a_zip(("a/b.py", b"1"), ("a", b"2")),
    "file and folder entry of one name": a_zip(("a", b"1"), (entry("a/", mode=stat.S_IFDIR | 0o755), b"")),
    "bomb by ratio": a_bomb(MAX_BYTES - 1),
    "bomb by size": a_zip(("large.py", bytes(MAX_BYTES + 1))),
    "bomb by count": a_zip(*((f"{number}", b"") for number in range(ENTRIES_MAX + 1))),
    "more than the header says": larger_than_its_header_says(),
    "less than the header says": smaller_than_its_header_says(),
    "encrypted": encrypted(),
    "spoiled deflate": with_a_spoiled_body(),
    "spoiled lzma": with_a_spoiled_lzma_body(),
    "wrong checksum": with_directory_field(a_zip(("a.py", b"x = 1")), 16, b"\0\0\0\0"),
    "unknown method": with_directory_field(a_zip(("a.py", b"x = 1")), 10, struct.pack("<H", 99)),
    "name that is no UTF-8": with_a_name_that_is_no_utf8(),
    "truncated": a_zip(("a.py", b"x = 1" * 100))[:-30],
    "head cut off": a_zip(("a.py", b"x = 1" * 100))[60:],
    "empty file": b"",
    "not a ZIP": b"#!/bin/sh\necho gotcha\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, inside another one in which nothing else may appear."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    return inner


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_nothing_is_written_outside(data: bytes, folder: Path) -> None:
    with pytest.raises(WorkerFailure, match="artifact") as refused:
        unpack(data, folder, max_bytes=MAX_BYTES)
    assert refused.value.failure_class is FailureClass.ARTIFACT
    assert str(folder) not in str(refused.value), "the worker's own temporary folder helps nobody"
    assert [path.name for path in folder.parent.iterdir()] == ["inner"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile's own, while the test makes the archive
def test_an_archive_that_names_an_entry_twice_is_refused(folder: Path) -> None:
    with pytest.raises(WorkerFailure, match="twice"):
        unpack(a_zip(("a.py", b"1"), ("a.py", b"2")), folder, max_bytes=MAX_BYTES)


@pytest.mark.parametrize(
    "data",
    [a_zip(("good.py", b"1"), ("../evil.py", b"2")), a_zip(("good.py", b"1"), ("./good.py", b"2"))],
    ids=["a bad path", "a path twice"],
)
def test_names_are_judged_before_the_first_byte_is_written(data: bytes, folder: Path) -> None:
    with pytest.raises(WorkerFailure):
        unpack(data, folder, max_bytes=MAX_BYTES)
    assert list(folder.iterdir()) == []


def test_a_good_archive_is_unpacked_with_its_folders(folder: Path) -> None:
    data = a_zip(
        (entry("pkg/", mode=stat.S_IFDIR | 0o755), b""),
        ("pkg/__init__.py", b""),
        ("pkg/deep/er/module.py", b"x = 1\n"),
        (entry("compressed.py", compress=zipfile.ZIP_DEFLATED), b"y = 2\n" * 50),
        (entry("no_mode.py", mode=0), b"z = 3\n"),
        ("A.py", b"upper"),
        ("a.py", b"lower"),
    )
    unpack(data, folder, max_bytes=MAX_BYTES)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "pkg/__init__.py": b"",
        "pkg/deep/er/module.py": b"x = 1\n",
        "compressed.py": b"y = 2\n" * 50,
        "no_mode.py": b"z = 3\n",
        "A.py": b"upper",
        "a.py": b"lower",
    }


def test_an_archive_inside_the_archive_is_a_file_like_any_other(folder: Path) -> None:
    inner = a_zip(("../evil.py", b"x"))
    unpack(a_zip(("inner.zip", inner)), folder, max_bytes=MAX_BYTES)
    assert (folder / "inner.zip").read_bytes() == inner
    assert [path.name for path in folder.parent.iterdir()] == ["inner"]


def test_a_setuid_bit_is_not_taken_over(folder: Path) -> None:
    unpack(a_zip((entry("tool", mode=stat.S_IFREG | 0o6755), b"x")), folder, max_bytes=MAX_BYTES)
    assert stat.S_IMODE((folder / "tool").stat().st_mode) & 0o6111 == 0


class Shelf:
    """One artifact in the store, and the record that names it."""

    def __init__(self, data: bytes, **values: Any) -> None:
        self.artifacts = FakeArtifacts()
        self.clock = VirtualClock()
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
        return await self.clock.run(
            fetch(self.record, self.artifacts, self.clock, folder, max_bytes=MAX_BYTES), limit_s=60
        )


async def refusal(shelf: Shelf, folder: Path) -> str:
    """Why the artifact is refused."""
    with pytest.raises(WorkerFailure) as refused:
        await shelf.fetch(folder)
    assert refused.value.failure_class is FailureClass.ARTIFACT
    return str(refused.value)


async def test_a_good_artifact_gives_its_spec(folder: Path) -> None:
    shelf = Shelf(a_zip(("flow.json", SPEC.to_json().encode()), ("etl.py", b"")))
    assert await shelf.fetch(folder) == SPEC
    assert (folder / "etl.py").is_file()


async def test_a_wrong_sha256_is_refused_before_the_archive_is_opened(folder: Path) -> None:
    message = await refusal(Shelf(b"not even a ZIP", artifact_sha256="0" * 64), folder)
    assert "sha256" in message
    assert "0" * 64 in message
    assert hashlib.sha256(b"not even a ZIP").hexdigest() in message
    assert list(folder.iterdir()) == []


async def test_a_missing_artifact_says_where_it_was_looked_for(folder: Path) -> None:
    message = await refusal(Shelf(b"", artifact_s3_uri="s3://dagy-artifacts/gone.zip"), folder)
    assert message == "there is no artifact at s3://dagy-artifacts/gone.zip; register the flow again"


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
