"""Hints that a configuration file may have changed. Only hints: whoever listens looks at the file itself, and polls it too."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

GATHER_MS = 50
"""Changes so close to each other are one hint."""


async def watch(path: Path) -> AsyncIterator[None]:
    """One hint for each burst of changes of the file, or of what stands in its place after an editor has replaced it.

    Its folder is watched, not the file: an editor that renames another file over it leaves a watch of the file itself on the
    old one. Where links lead to it, so is the folder that they lead to; a Kubernetes ConfigMap swaps a link to a folder beside
    them. Raises OSError (or watchfiles' own error) where the system gives no notifications; then only polling remains.
    """
    seen = _stamp(path)
    while True:
        folders = _folders(path)
        async with aclosing(
            awatch(*folders, watch_filter=None, debounce=GATHER_MS, step=GATHER_MS, recursive=False)
        ) as bursts:
            async for _ in bursts:
                now = _stamp(path)
                if now != seen:
                    seen = now
                    yield None
                if _folders(path) != folders:
                    break


def _folders(path: Path) -> set[Path]:
    found = {path.absolute().parent, path.resolve().parent}
    return {folder for folder in found if folder.is_dir()}


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What differs once the file, or a link on the way to it, has changed; None while there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
