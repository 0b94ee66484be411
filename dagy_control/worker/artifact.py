"""Fetches a flow's artifact and unpacks it: checked by size and sha256 before it is opened, and bounded while it is."""

import hashlib
import io
import stat
import zipfile
from pathlib import Path, PurePosixPath

from dagy_control.errors import DagyError, Gone
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.model.flow_templates import FlowSpecError
from dagy_control.model.flows import FlowRecord, FlowSpec
from dagy_control.model.runs import FailureClass
from dagy_control.ports.flows import Artifacts
from dagy_control.worker.failure import WorkerFailure

ENTRIES_MAX = 10_000
RATIO_MAX = 100
SPEC_ENTRY = "flow.json"


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
    try:
        return FlowSpec.from_json((folder / SPEC_ENTRY).read_bytes())
    except FileNotFoundError as error:
        raise _failure(f"the artifact {uri} has no {SPEC_ENTRY}; build it with dagy_control.sdk") from error
    except FlowSpecError as error:
        raise _failure(f"{SPEC_ENTRY} of the artifact {uri} cannot be used: {error}") from error


def unpack(data: bytes, folder: Path, *, max_bytes: int) -> None:
    """Unpack a ZIP into a folder. Refuses, with `WorkerFailure`, whatever a package of Python source has no need of."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check(entries, len(data), max_bytes)
            for entry in entries:
                target = folder / _safe_path(entry)
                if entry.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(archive, entry, target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise _failure(f"the artifact is not a ZIP that can be unpacked: {error}") from error


def _check(entries: list[zipfile.ZipInfo], packed_bytes: int, max_bytes: int) -> None:
    if len(entries) > ENTRIES_MAX:
        raise _failure(f"the artifact has {len(entries):,} entries, more than {ENTRIES_MAX:,}")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise _failure("the artifact names an entry twice")
    size = sum(entry.file_size for entry in entries)
    if size > max_bytes or size > RATIO_MAX * max(packed_bytes, 1):
        raise _failure(f"the artifact unpacks to {size:,} bytes from {packed_bytes:,}: more than allowed")


def _safe_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    """The entry's path, if it stays inside: no absolute or parent path, no NUL, backslash or drive, no link or device."""
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    unsafe = path.is_absolute() or ".." in path.parts or any(mark in entry.filename for mark in ("\0", "\\", ":"))
    if unsafe or not path.parts or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _failure(f"the artifact holds {entry.filename!r}, which is no plain file inside it")
    return path


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Write an entry; a header that lies about the size is caught by the count of what really comes out."""
    left = entry.file_size
    with archive.open(entry) as source, target.open("xb") as out:
        while chunk := source.read(1 << 16):
            left -= len(chunk)
            if left < 0:
                raise _failure(f"{entry.filename!r} in the artifact is larger than its header says")
            out.write(chunk)


def _failure(message: str) -> WorkerFailure:
    return WorkerFailure(FailureClass.ARTIFACT, message)
