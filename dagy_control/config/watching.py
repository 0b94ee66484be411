"""Hints that a configuration file may have changed. Only hints: whoever listens looks at the file itself, and polls it too."""

from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import Change, awatch

GATHER_MS = 50
"""Changes so close to each other are one hint."""


async def watch(path: Path) -> AsyncIterator[None]:
    """One hint for each burst of changes of the file, or of what stands in its place after an editor has replaced it.

    The folder is watched, not the file: an editor that renames another file over it leaves a watch of the file itself on the
    old one. Raises OSError (or watchfiles' own error) where the system gives no notifications; then only polling remains.
    """
    name = path.name

    def concerns(_: Change, changed: str) -> bool:
        return Path(changed).name == name

    folder = path.absolute().parent
    async for _changes in awatch(folder, watch_filter=concerns, debounce=GATHER_MS, step=GATHER_MS, recursive=False):
        yield None
