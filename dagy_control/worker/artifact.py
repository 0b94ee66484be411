"""Fetches a flow's artifact and unpacks it: checked by sha256 before it is opened, and bounded while it is."""

from pathlib import Path

from dagy_control.kernel.clock import Clock
from dagy_control.model.flow_templates import FlowSpecError
from dagy_control.model.flows import SPEC_ENTRY, FlowRecord, FlowSpec
from dagy_control.model.runs import FailureClass
from dagy_control.ports.flows import Artifacts
from dagy_control.worker.archive import ArchiveLimits, ArchiveRefused
from dagy_control.worker.disk import NoRoom
from dagy_control.worker.download import Wanted, download, unpack_aside


async def fetch(record: FlowRecord, artifacts: Artifacts, clock: Clock, folder: Path, *, max_bytes: int) -> FlowSpec:
    """Download, check and unpack the artifact into `folder` (empty, and the only entry of its parent); gives its FlowSpec.

    `max_bytes` bounds it packed, and unpacked. Raises `WorkerFailure` of class ARTIFACT, saying what was looked for and what
    was found instead.
    """
    uri = record.artifact_s3_uri
    wanted = Wanted(
        what="artifact",
        uri=uri,
        sha256=record.artifact_sha256,
        size=record.artifact_size_bytes,
        failure_class=FailureClass.ARTIFACT,
        remedy="register the flow again",
    )
    packed = folder.with_name(f"{folder.name}.packed")
    try:
        await download(wanted, artifacts, clock, packed, max_bytes=max_bytes)
        await unpack_aside(packed, folder, ArchiveLimits(unpacked_bytes_max=max_bytes))
    except (ArchiveRefused, NoRoom) as error:
        raise wanted.failure(f"the artifact {uri} cannot be unpacked: {error}") from error
    finally:
        packed.unlink(missing_ok=True)
    spec_file = folder / SPEC_ENTRY
    if not spec_file.is_file():
        raise wanted.failure(f"the artifact {uri} has no {SPEC_ENTRY}; build it with dagy_control.sdk")
    try:
        return FlowSpec.from_json(spec_file.read_bytes())
    except FlowSpecError as error:
        raise wanted.failure(f"{SPEC_ENTRY} of the artifact {uri} cannot be used: {error}") from error
