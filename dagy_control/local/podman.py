"""podman, asked by its command: whoever wants other storage or settings says so by podman's own variables (CONTAINERS_CONF, …)."""

import shutil
import subprocess
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from dataclasses import dataclass

from dagy_control.errors import Permanent

PODMAN = "podman"
WORKER_IMAGE = "localhost/dagy-worker:local"
"""What `make images` calls the worker's image."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended: its exit code, what it printed, and the last line that it complained with."""

    code: int
    out: str
    complaint: str


async def podman(*arguments: str) -> Answer:
    """Run one command of podman to its end. If there is no podman the answer says so, with code 127 as in a shell."""
    try:
        process = await create_subprocess_exec(
            PODMAN,
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # Ctrl-C is for us: we end the containers in order
        )
    except OSError as error:
        return Answer(127, "", str(error))
    out, err = await process.communicate()
    return Answer(
        process.returncode or 0, out.decode(errors="replace").strip(), last_line(err.decode(errors="replace"))
    )


async def require_image(image: str) -> None:
    """Raise `Permanent`, with what to do, unless podman is there, works, and has the image: nothing is pulled."""
    if shutil.which(PODMAN) is None:
        raise Permanent(
            "--containers needs podman, and there is none on the PATH. Install it (Debian's package `podman`), "
            "or leave the option out: then each worker is a process"
        )
    answer = await podman("image", "exists", image)
    if answer.code == 1:
        raise Permanent(
            f"podman has no image {image!r} here, and nothing is pulled. Build it with `make images` and let podman look where "
            "that puts it (`source .dagy/images/env`), or name another with --image"
        )
    if answer.code:
        raise Permanent(f"podman does not work here: {answer.complaint or f'exit code {answer.code}'}")


def last_line(text: str) -> str:
    """The last line that says something; empty if none does."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
