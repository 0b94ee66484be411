"""Room on the disk, asked for before it is taken: a full disk in the middle of a write says far less."""

import shutil
from pathlib import Path

RESERVE_BYTES = 32 * 1024 * 1024
"""Kept free for the flow's own first steps."""
MEBIBYTE = 1024 * 1024


class NoRoom(Exception):
    """The disk has not the room. The message says what is needed, what is free, and where."""


def require_room(folder: Path, bytes_needed: int) -> None:
    """Raise `NoRoom` unless the disk of `folder` has room for so much and the reserve."""
    free = shutil.disk_usage(folder).free
    if free < bytes_needed + RESERVE_BYTES:
        raise NoRoom(
            f"not enough disk space: {_mib(bytes_needed + RESERVE_BYTES)} MiB needed, {_mib(free)} MiB free in {folder}; "
            "launch with a larger ephemeral_storage_gib"
        )


def _mib(size: int) -> str:
    return f"{-(-size // MEBIBYTE):,}"
