"""Unpacking: every trick is refused with a reason, nothing gets outside, and what is good comes out whole."""

import hashlib
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from dagy_control.worker import disk
from dagy_control.worker.archive import ArchiveLimits, ArchiveRefused, Stopped, inspect, unpack
from dagy_control.worker.disk import NoRoom
from tests.hostile_archives import ENTRIES_MAX, HOSTILE, MAX_BYTES, a_targz, a_zip, entry, member, packed

LIMITS = ArchiveLimits(unpacked_bytes_max=MAX_BYTES, entries_max=ENTRIES_MAX)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, deep inside another one in which nothing else may appear."""
    inner = tmp_path / "outer" / "middle" / "inner"
    inner.mkdir(parents=True)
    return inner


def archived(folder: Path, data: bytes) -> Path:
    archive = folder.parent / "archive"
    archive.write_bytes(data)
    return archive


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Everything below a folder, links not followed: kind and content."""
    seen: dict[str, tuple[int, str]] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            kind = stat.S_IFMT(path.lstat().st_mode)
            content = hashlib.sha256(path.read_bytes()).hexdigest() if kind == stat.S_IFREG else ""
            seen[str(path.relative_to(folder))] = (kind, content)
    return seen


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_with_a_reason_and_nothing_is_written_outside(
    data: bytes, folder: Path, tmp_path: Path
) -> None:
    archive = archived(folder, data)
    before = tree(tmp_path)
    with pytest.raises(ArchiveRefused) as refused:
        unpack(archive, folder, LIMITS)
    inside = str(folder.relative_to(tmp_path)) + os.sep
    after = {name: each for name, each in tree(tmp_path).items() if not name.startswith(inside)}
    assert after == before
    assert all(kind in (stat.S_IFREG, stat.S_IFDIR) for kind, _ in tree(folder).values())
    reason = str(refused.value)
    assert 15 < len(reason) < 500
    assert reason.isprintable()
    assert str(tmp_path) not in reason, "the worker's own temporary folder helps nobody"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("zip: parent", "may lead outside"),
        ("zip: symlink", "a link, a device"),
        ("zip: bomb by ratio", "100 for each packed one"),
        ("zip: bomb by count", "entries, more than"),
        ("zip: bomb of overlapping entries", "overlap"),
        ("zip: a path twice", "twice"),
        ("zip: file, then folder of one name", "as a file, and as the folder"),
        ("zip: NUL", "a control character"),
        ("zip: a path too deep", "61 folders"),
        ("zip: truncated", "damaged"),
        ("tar.gz: hard link", "a link, a device"),
        ("tar.gz: sparse file", "a link, a device"),
        ("tar.gz: bomb inside the gzip's own tail", "more bytes than allowed"),
        ("tar.gz: long name of 200 KiB", "extended header"),
        ("tar.gz: nonsense after the first entry", "no entry"),
        ("tar.gz: truncated", "damaged"),
        ("shell script", "neither a ZIP nor a tar.gz"),
    ],
)
def test_the_reason_names_the_trick(name: str, told: str, folder: Path) -> None:
    with pytest.raises(ArchiveRefused, match=told):
        unpack(archived(folder, HOSTILE[name]), folder, LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        a_zip(("good.py", b"1"), ("../evil.py", b"2")),
        a_zip(("good.py", b"1"), ("./good.py", b"2")),
        a_targz(("good.py", b"1"), ("../evil.py", b"2")),
        a_targz(("good.py", b"1"), (member("link", tarfile.SYMTYPE, link="good.py"), b"")),
    ],
    ids=["zip: a bad path", "zip: a path twice", "tar.gz: a bad path", "tar.gz: a link"],
)
def test_names_are_judged_before_the_first_byte_is_written(data: bytes, folder: Path) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(archived(folder, data), folder, LIMITS)
    assert list(folder.iterdir()) == []


def test_one_entry_that_is_a_bomb_is_refused_among_others_that_hide_its_ratio(folder: Path) -> None:
    limits = ArchiveLimits(unpacked_bytes_max=64 * MAX_BYTES)
    noise = hashlib.shake_256(b"noise").digest(200_000)
    data = a_zip(("noise.bin", noise), (entry("zeros.py", compress=zipfile.ZIP_DEFLATED), bytes(4 * MAX_BYTES)))
    assert len(data) * 100 > 4 * MAX_BYTES
    with pytest.raises(ArchiveRefused, match=r"'zeros.py' in it unpacks to"):
        unpack(archived(folder, data), folder, limits)


GOOD_ZIP = a_zip(
    (entry("pkg/", mode=stat.S_IFDIR | 0o755), b""),
    ("pkg/__init__.py", b""),
    ("pkg/deep/er/module.py", b"x = 1\n"),
    (entry("compressed.py", compress=zipfile.ZIP_DEFLATED), b"y = 2\n" * 50),
    (entry("no_mode.py", mode=0), b"z = 3\n"),
    ("A.py", b"upper"),
    ("a.py", b"lower"),
    ("naïve données.txt", b"text"),
)
GOOD_TAR = a_targz(
    (member("pkg", tarfile.DIRTYPE), b""),
    ("pkg/__init__.py", b""),
    ("./pkg/deep/er/module.py", b"x = 1\n"),
    ("compressed.py", b"y = 2\n" * 50),
    ("no_mode.py", b"z = 3\n"),
    ("A.py", b"upper"),
    ("a.py", b"lower"),
    ("naïve données.txt", b"text"),
)
COMES_OUT = {
    "pkg/__init__.py": b"",
    "pkg/deep/er/module.py": b"x = 1\n",
    "compressed.py": b"y = 2\n" * 50,
    "no_mode.py": b"z = 3\n",
    "A.py": b"upper",
    "a.py": b"lower",
    "naïve données.txt": b"text",
}


@pytest.mark.parametrize("data", [GOOD_ZIP, GOOD_TAR], ids=["zip", "tar.gz"])
def test_a_good_archive_is_unpacked_with_its_folders(data: bytes, folder: Path) -> None:
    archive = archived(folder, data)
    unpack(archive, folder, LIMITS)
    assert files(folder) == COMES_OUT
    assert sorted(path.name for path in folder.parent.iterdir()) == ["archive", "inner"]


@pytest.mark.parametrize("data", [GOOD_ZIP, GOOD_TAR], ids=["zip", "tar.gz"])
def test_an_archive_can_be_judged_without_unpacking_it(data: bytes, folder: Path) -> None:
    entries = inspect(archived(folder, data), folder, LIMITS)
    assert {str(each.path) for each in entries if not each.is_dir} == set(COMES_OUT)
    assert list(folder.iterdir()) == []


def test_an_archive_inside_the_archive_is_a_file_like_any_other(folder: Path) -> None:
    inner = HOSTILE["zip: bomb by ratio"]
    unpack(archived(folder, a_zip(("inner.zip", inner))), folder, LIMITS)
    assert files(folder) == {"inner.zip": inner}


def test_an_archive_within_archives_is_opened_once_only(folder: Path) -> None:
    data = b"x = 1\n"
    for _ in range(9):
        data = packed("inner.zip", data)
    unpack(archived(folder, data), folder, LIMITS)
    assert list(files(folder)) == ["inner.zip"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_mode_bits_of_the_archive_are_not_taken_over(kind: str, folder: Path) -> None:
    tool = member("tool", size=1)
    tool.mode = 0o6755
    data = a_zip((entry("tool", mode=stat.S_IFREG | 0o6755), b"x")) if kind == "zip" else a_targz((tool, b"x"))
    unpack(archived(folder, data), folder, LIMITS)
    assert stat.S_IMODE((folder / "tool").stat().st_mode) & 0o6111 == 0


def test_a_full_disk_is_told_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "RESERVE_BYTES", 1 << 62)
    with pytest.raises(NoRoom, match=r"needed, .* free in .*ephemeral_storage_gib"):
        unpack(archived(folder, GOOD_ZIP), folder, LIMITS)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("data", [GOOD_ZIP, GOOD_TAR], ids=["zip", "tar.gz"])
def test_unpacking_ends_soon_after_it_is_told_to_stop(data: bytes, folder: Path) -> None:
    with pytest.raises(Stopped):
        unpack(archived(folder, data), folder, LIMITS, stopped=lambda: True)
    assert set(files(folder)) <= {"pkg/__init__.py", "pkg/deep/er/module.py"}
