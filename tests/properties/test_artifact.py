"""Unpacking an artifact, whatever its entries are called: inside the folder, or refused."""

import io
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dagy_control.worker.archive import ArchiveLimits, ArchiveRefused, unpack

PARTS = st.one_of(
    st.sampled_from(["", ".", "..", "...", "~", "a", "b", "A", "C:", "a.py", "\\", "..\\x", "\0", "a\0", "flow.json"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), max_size=4),
)
NAMES = st.builds(
    lambda first, parts, last: first + "/".join(parts) + last,
    st.sampled_from(["", "/", "//", "./", "../"]),
    st.lists(PARTS, min_size=1, max_size=4),
    st.sampled_from(["", "/"]),
)
KINDS = st.sampled_from([0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
ENTRIES = st.lists(st.tuples(NAMES, KINDS), min_size=1, max_size=5, unique_by=lambda each: each[0])


def zip_of(entries: list[tuple[str, int]]) -> bytes:
    """A ZIP with these names as they are, each entry with its own content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (name, kind) in enumerate(entries):
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.create_system = 3
            info.external_attr = (kind | 0o644) << 16
            archive.writestr(info, f"/etc/passwd {number}".encode())
    return buffer.getvalue()


TAR_KINDS = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
}


def targz_of(entries: list[tuple[str, int]]) -> bytes:
    """The same as a tar.gz; links lead to where a content of an entry would."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for number, (name, kind) in enumerate(entries):
            content = f"/etc/passwd {number}".encode()
            info = tarfile.TarInfo(name)
            info.type = TAR_KINDS.get(kind, tarfile.REGTYPE)
            info.linkname = "../outside" if kind == stat.S_IFLNK else ""
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def is_refused(archive: bytes, outer: Path, folder: Path) -> bool:
    """Whether the archive is refused, rather than unpacked."""
    (outer / "archive").write_bytes(archive)
    try:
        unpack(outer / "archive", folder, ArchiveLimits(unpacked_bytes_max=10_000))
    except ArchiveRefused:
        return True
    return False


@settings(deadline=None)
@given(ENTRIES, st.booleans())
def test_nothing_is_ever_written_outside_the_folder(entries: list[tuple[str, int]], as_tar: bool) -> None:
    archive = targz_of(entries) if as_tar else zip_of(entries)
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        around, folder = outer / "around", outer / "around" / "folder"
        folder.mkdir(parents=True)
        if not is_refused(archive, outer, folder) and not as_tar:
            written = sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())
            given_files = [number for number, (name, _) in enumerate(entries) if not name.endswith("/")]
            assert written == sorted(f"/etc/passwd {number}".encode() for number in given_files)
        assert sorted(path.name for path in outer.iterdir()) == ["archive", "around"]
        assert [path.name for path in around.iterdir()] == ["folder"]
        assert not any(path.is_symlink() for path in folder.rglob("*"))
