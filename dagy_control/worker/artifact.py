"""Fetches a flow's artifact and unpacks it: checked by size and sha256 before it is opened, and bounded while it is."""

import hashlib
import io
import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from dagy_control.errors import DagyError, Gone
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.model.flow_templates import FlowSpecError
from dagy_control.model.flows import SPEC_ENTRY, FlowRecord, FlowSpec
from dagy_control.model.runs import FailureClass
from dagy_control.ports.flows import Artifacts
from dagy_control.worker.failure import WorkerFailure

ENTRIES_MAX = 10_000
RATIO_MAX = 100

_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,  # an unknown compression method
    RuntimeError,  # an encrypted entry
    ValueError,  # a name in no known encoding, an offset before the file's begin
)
"""What `zipfile` raises for an archive that is none, beside OSError."""


async def fetch(record: FlowRecord, artifacts: Artifacts, clock: Clock, folder: Path, *, max_bytes: int) -> FlowSpec:
    """Download, check and unpack the artifact into `folder` (which must be empty); gives the FlowSpec that it holds.

    Raises `WorkerFailure` of class ARTIFACT, saying what was looked for and what was found instead.
    """
    uri = record.artifact_s3_uri
    try:
        data = await retrying(lambda: artifacts.download(uri, max_bytes=max_bytes), clock, key=uri)
    except Gone as error:
        raise _failure(f"there is no artifact at {uri}; register the flow again") from error
    except DagyError as error:
        raise _failure(f"the artifact {uri} cannot be downloaded: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.artifact_sha256:
        raise _failure(
            f"the artifact {uri} has sha256 {digest}, registered was {record.artifact_sha256}; register the flow again"
        )
    unpack(data, folder, max_bytes=max_bytes)
    spec_file = folder / SPEC_ENTRY
    if not spec_file.is_file():
        raise _failure(f"the artifact {uri} has no {SPEC_ENTRY}; build it with dagy_control.sdk")
    try:
        return FlowSpec.from_json(spec_file.read_bytes())
    except FlowSpecError as error:
        raise _failure(f"{SPEC_ENTRY} of the artifact {uri} cannot be used: {error}") from error


def unpack(data: bytes, folder: Path, *, max_bytes: int) -> None:
    """Unpack a ZIP into a folder. Refuses, with `WorkerFailure`, whatever a package of Python source has no need of.

    Names, count and sizes are judged before the first byte is written.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_bounds(entries, len(data), max_bytes)
            for path, entry in _paths(entries).items():
                target = folder / path
                (target if entry.is_dir() else target.parent).mkdir(parents=True, exist_ok=True)
                if not entry.is_dir():
                    _write(archive, entry, target)
    except OSError as error:
        raise _failure(f"the artifact cannot be unpacked: {error.strerror or error}") from error
    except _BROKEN as error:
        raise _failure(f"the artifact is not a ZIP that can be unpacked: {error}") from error


def _check_bounds(entries: list[zipfile.ZipInfo], packed_bytes: int, max_bytes: int) -> None:
    if len(entries) > ENTRIES_MAX:
        raise _failure(f"the artifact has {len(entries):,} entries, more than {ENTRIES_MAX:,}")
    size = sum(entry.file_size for entry in entries)
    if size > max_bytes or size > RATIO_MAX * max(packed_bytes, 1):
        raise _failure(f"the artifact unpacks to {size:,} bytes from {packed_bytes:,}: more than allowed")


def _paths(entries: list[zipfile.ZipInfo]) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The entries by the path that each really writes: `a.py`, `./a.py` and `.//a.py` are one file, and `a` no folder too."""
    paths: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in entries:
        path = _safe_path(entry)
        other = paths.setdefault(path, entry)
        if other is not entry and not (entry.is_dir() and other.is_dir()):
            raise _failure(f"the artifact names {path} twice")
    for path in paths:
        for parent in path.parents:
            if parent in paths and not paths[parent].is_dir():
                raise _failure(f"the artifact names {parent} as a file, and as the folder of {path}")
    return paths


def _safe_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    """The entry's path, if it stays inside: no absolute or parent path, no NUL, backslash or drive, no link or device.

    Judged by `orig_filename` too: `zipfile` cuts `filename` at a NUL.
    """
    name = entry.orig_filename
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    unsafe = path.is_absolute() or ".." in path.parts or any(mark in name for mark in ("\0", "\\", ":"))
    if unsafe or not path.parts or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _failure(f"the artifact holds {name!r}, which is no plain file inside it")
    return path


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Write an entry; a header that lies about the size is caught by the count of what really comes out."""
    left = entry.file_size
    with archive.open(entry) as source, target.open("xb") as out:
        while chunk := source.read(1 << 16):
            left -= len(chunk)
            if left < 0:
                break
            out.write(chunk)
    if left != 0:
        raise _failure(f"{entry.filename!r} in the artifact has not the size that its header says")


def _failure(message: str) -> WorkerFailure:
    return WorkerFailure(FailureClass.ARTIFACT, message)
