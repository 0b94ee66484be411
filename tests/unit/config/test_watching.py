"""Hints of edits come from the file system itself: there is no poll here that would hide a lost one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dagy_control.config.watching import watch
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.tasks import background, within

SOON_S = 20.0


class Hints:
    """How many there have been."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._more = asyncio.Event()

    async def listen(self) -> None:
        async for _ in watch(self.path):
            self.count += 1
            self._more.set()

    async def next(self, *, within_s: float = SOON_S) -> None:
        """Wait for one that has not been waited for."""
        await within(SystemClock(), within_s, self._more.wait(), name="a hint")
        self._more.clear()


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Hints]:
    """Hints, once edits of the file are known to be seen, and none is on its way."""
    hints = Hints(path)
    async with background(hints.listen(), name="hints"):
        for number in range(100):
            path.write_text(f"# edit {number}\n")
            try:
                await hints.next(within_s=0.2)
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("the watch has not begun")
        while True:
            try:
                await hints.next(within_s=0.3)
            except TimeoutError:
                break
        yield hints


def plain(folder: Path) -> Path:
    return folder / "dagy.toml"


def behind_a_link(folder: Path) -> Path:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "real.toml").write_text("")
    link = folder / "dagy.toml"
    link.symlink_to(folder / "elsewhere" / "real.toml")
    return link


def config_map(folder: Path) -> Path:
    """As the kubelet lays one out."""
    (folder / "..2026_1").mkdir()
    (folder / "..2026_1" / "dagy.toml").write_text("")
    (folder / "..data").symlink_to("..2026_1")
    (folder / "dagy.toml").symlink_to("..data/dagy.toml")
    return folder / "dagy.toml"


def rewrite(path: Path) -> None:
    path.write_text("# written in place\n")


def replace(path: Path) -> None:
    other = path.with_suffix(".tmp")
    other.write_text("# renamed over it\n")
    other.replace(path)


def swap(path: Path) -> None:
    """What the kubelet does with a new version of a ConfigMap."""
    folder = path.parent
    (folder / "..2026_2").mkdir()
    (folder / "..2026_2" / "dagy.toml").write_text("# swapped\n")
    (folder / "..data_tmp").symlink_to("..2026_2")
    (folder / "..data_tmp").rename(folder / "..data")


@pytest.mark.parametrize(
    ("layout", "edit"),
    [(plain, rewrite), (plain, replace), (behind_a_link, rewrite), (behind_a_link, replace), (config_map, swap)],
    ids=["in place", "renamed over it", "behind a link", "the link replaced", "a ConfigMap's swap"],
)
async def test_an_edit_gives_a_hint(
    tmp_path: Path, layout: Callable[[Path], Path], edit: Callable[[Path], None]
) -> None:
    async with listening(layout(tmp_path)) as hints:
        edit(hints.path)
        await hints.next()


async def test_after_a_swap_the_new_folder_is_watched(tmp_path: Path) -> None:
    async with listening(config_map(tmp_path)) as hints:
        swap(hints.path)
        await hints.next()
        for number in range(100):  # until the watch has moved
            (tmp_path / "..2026_2" / "dagy.toml").write_text(f"# edited there, {number}\n")
            try:
                return await hints.next(within_s=0.3)
            except TimeoutError:
                continue
        pytest.fail("nobody watches the new folder")


async def test_what_happens_to_other_files_of_the_folder_is_no_hint(tmp_path: Path) -> None:
    async with listening(plain(tmp_path)) as hints:
        before = hints.count
        (tmp_path / "daemon.log").write_text("a line\n")
        replace(hints.path)
        await hints.next()
        assert hints.count == before + 1
