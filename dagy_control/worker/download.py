"""Fetching a file that is trusted only with the sha256 on record, and unpacking it away from the event loop."""

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

from dagy_control.errors import DagyError, Gone
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.model.runs import FailureClass
from dagy_control.ports.flows import Artifacts
from dagy_control.worker.archive import ArchiveLimits, Entry, unpack
from dagy_control.worker.disk import NoRoom, require_room
from dagy_control.worker.failure import WorkerFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be fetched. `what` begins the sentences about it; `remedy` ends those that it can mend."""

    what: str
    uri: str
    sha256: str
    size: int
    failure_class: FailureClass
    remedy: str

    def failure(self, message: str) -> WorkerFailure:
        """A failure of its class."""
        return WorkerFailure(self.failure_class, message)


async def download(wanted: Wanted, artifacts: Artifacts, clock: Clock, target: Path, *, max_bytes: int) -> None:
    """Write the file, and check it before anybody opens it. Raises `WorkerFailure`: what was looked for, what was found."""
    what, uri = wanted.what, wanted.uri
    try:
        require_room(target.parent, min(wanted.size, max_bytes))
        digest = await retrying(lambda: artifacts.download(uri, target, max_bytes=max_bytes), clock, key=uri)
    except NoRoom as error:
        raise wanted.failure(f"there is no room for the {what} {uri}: {error}") from error
    except Gone as error:
        raise wanted.failure(f"there is no {what} at {uri} (NoSuchKey); {wanted.remedy}") from error
    except DagyError as error:
        raise wanted.failure(
            f"the {what} {uri} cannot be downloaded: {error}; check that the task role may read it (s3:GetObject, and "
            "kms:Decrypt for an encrypted bucket) and that the subnet reaches S3"
        ) from error
    if digest != wanted.sha256:
        raise wanted.failure(f"the {what} {uri} has sha256 {digest}, registered was {wanted.sha256}; {wanted.remedy}")


async def unpack_aside(archive: Path, folder: Path, limits: ArchiveLimits) -> list[Entry]:
    """`unpack` in a thread, so that signals are heard meanwhile; when this is cancelled the thread ends soon, too."""
    told_to_stop = threading.Event()
    try:
        return await asyncio.to_thread(unpack, archive, folder, limits, stopped=told_to_stop.is_set)
    finally:
        told_to_stop.set()
