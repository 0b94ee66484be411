"""Unpacking an artifact, whatever its entries are called: inside the folder, or refused."""

import io
import stat
import tempfile
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dagy_control.model.runs import FailureClass
from dagy_control.worker.artifact import unpack
from dagy_control.worker.failure import WorkerFailure

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


def archive_of(entries: list[tuple[str, int]]) -> bytes:
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


def refusal_of(archive: bytes, folder: Path) -> WorkerFailure | None:
    """Why the archive is refused; None when it was unpacked."""
    try:
        unpack(archive, folder, max_bytes=10_000)
    except WorkerFailure as refused:
        return refused
    return None


@settings(deadline=None)
@given(ENTRIES)
def test_nothing_is_ever_written_outside_the_folder(entries: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as outer:
        around, folder = Path(outer) / "around", Path(outer) / "around" / "folder"
        folder.mkdir(parents=True)
        refused = refusal_of(archive_of(entries), folder)
        if refused is None:
            written = sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())
            given_files = [number for number, (name, _) in enumerate(entries) if not name.endswith("/")]
            assert written == sorted(f"/etc/passwd {number}".encode() for number in given_files)
        else:
            assert refused.failure_class is FailureClass.ARTIFACT
        assert [path.name for path in Path(outer).iterdir()] == ["around"]
        assert [path.name for path in around.iterdir()] == ["folder"]
        assert not any(path.is_symlink() for path in folder.rglob("*"))
