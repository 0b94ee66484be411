"""Installing wheels and requirements into a folder, by `uv pip install --target` in a process of its own.

uv resolves and installs without changing this interpreter; `--target` keeps what it installs apart. Its options are given by
command and environment only: no configuration file, no cache that fills the disk. ("uv pip install", uv's reference.)
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import within

LAST_LINES = 12
LAST_CHARACTERS = 1500
OUTPUT_KEPT_BYTES = 64 * 1024
HASH_OPTION = re.compile(rb"--hash[=\s]")


class InstallFailed(Exception):
    """The installation failed. The message begins with "pip install failed" and ends with the tool's own last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPolicy:
    """How to install. `allow_network`: whether an index may be asked; else only what lies in the package itself is taken."""

    allow_network: bool = False
    timeout_s: float = 600.0
    tool: str | None = None


def find_tool(policy: InstallPolicy) -> str:
    """The path of uv: beside this interpreter, or on PATH. Raises `InstallFailed` when it is not there."""
    beside = Path(sys.executable).parent / "uv"
    found = policy.tool or (str(beside) if beside.is_file() else shutil.which("uv"))
    if found is None:
        raise InstallFailed(
            "pip install failed: there is no `uv` in the worker image; add it, or give a package of folders only"
        )
    return found


def install_arguments(
    policy: InstallPolicy, target: Path, *, wheels: Sequence[Path] = (), requirements: Path | None = None
) -> list[str]:
    """The arguments after `uv`. A requirements file with any hash must have one for everything (`--require-hashes`)."""
    arguments = ["pip", "install", "--target", str(target), "--python", sys.executable, "--no-cache", "--no-config"]
    arguments += ["--no-progress", "--color", "never", "--link-mode", "copy"]
    if not policy.allow_network:
        arguments += ["--no-index", "--offline"]
    if requirements is None:
        return [*arguments, "--no-deps", *map(str, wheels)]  # a wheel alone: what it needs comes with other packages
    arguments += ["--find-links", str(requirements.parent), "--requirements", str(requirements)]
    if HASH_OPTION.search(requirements.read_bytes()):
        arguments.append("--require-hashes")
    return arguments


async def install(policy: InstallPolicy, arguments: Sequence[str], clock: Clock, scratch: Path) -> None:
    """Run uv; `scratch` takes its temporary files. Raises `InstallFailed`. Its processes end with this call, however it ends."""
    process = await asyncio.create_subprocess_exec(
        find_tool(policy),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=scratch,
        env=_environment(os.environ, scratch),
        start_new_session=True,
    )
    try:
        output = await within(clock, policy.timeout_s, _last_output(process), name="uv pip install")
    except TimeoutError as error:
        raise InstallFailed(
            f"pip install failed: it did not end within {policy.timeout_s:g} s (worker.install_timeout_s)"
        ) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode != 0:
        hint = "" if policy.allow_network else _OFFLINE_HINT
        raise InstallFailed(f"pip install failed (exit code {process.returncode}): {last_lines(output)}{hint}")


_OFFLINE_HINT = (
    " (worker.allow_network_installs is off: whatever requirements.txt names must lie beside it as wheels; "
    "add them with `pip wheel -r requirements.txt`, or switch it on)"
)


def last_lines(output: bytes) -> str:
    """What a tool said last, on one line of its own."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-LAST_LINES:])[-LAST_CHARACTERS:] or "it said nothing"


async def _last_output(process: Process) -> bytes:
    """The end of what the process writes, until it ends."""
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    kept = bytearray()
    while chunk := await process.stdout.read(8192):
        kept += chunk
        del kept[:-OUTPUT_KEPT_BYTES]
    await process.wait()
    return bytes(kept)


def _environment(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The worker's own, without our variables and the role's credentials: a build runs a stranger's code."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("DAGY_", "AWS_", "ECS_"))}
    return {**kept, "TMPDIR": str(scratch), "HOME": str(scratch), "VIRTUAL_ENV": ""}
