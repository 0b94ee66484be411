"""Unpacking an archive that nobody vouches for: a ZIP or a gzipped tar, judged whole before its first byte is written.

Both kinds are read into one list of entries and judged by the same rules; what is written is counted, so that a header which
lies about a size is caught. Nothing but plain files and folders comes out, with no mode bits of the archive's. Archives inside
are files like any other. Names that differ in case only are two files, as they are on the worker's disk; where a disk takes
them for one, the second is refused when it is written.
"""

import gzip
import lzma
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from typing_extensions import override

from dagy_control.worker.disk import require_room

RATIO_MAX = 100
"""Unpacked bytes for each packed one. Source code comes to 10, deflate's bombs to 1,000."""
ENTRY_RATIO_FROM_BYTES = 1024 * 1024
"""An entry below this size is no bomb, whatever its own ratio."""
NAME_BYTES_MAX = 255
"""Of one part of a path: what Linux's file systems take."""
PATH_CHARACTERS_MAX = 1024
DEPTH_MAX = 32
TAR_HEADER_BYTES_MAX = 64 * 1024
"""Of a tar's extended header, which is read into memory: a real one holds a long name."""
CHUNK_BYTES = 1 << 16
_ZIP_MAGIC = b"PK"
_GZIP_MAGIC = b"\x1f\x8b"

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,  # an unknown compression method
    RuntimeError,  # an encrypted entry
    ValueError,  # a name in no known encoding, a number that is none, an offset before the file's begin
)
"""What `zipfile`, `tarfile` and `gzip` raise for an archive that is none, beside OSError."""


class ArchiveRefused(Exception):
    """The archive is not unpacked. The message says why, beginning with "it"."""


class Stopped(Exception):
    """Unpacking was told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What an archive may come to: its entries, and the bytes that they unpack to."""

    unpacked_bytes_max: int
    entries_max: int = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as its header tells it. `packed_bytes` None: the format does not say. `kind`: stat's S_IFMT, 0 if it is not said."""

    name: str
    path: PurePosixPath
    size: int
    packed_bytes: int | None
    is_dir: bool
    kind: int


def never() -> bool:
    """Nobody tells it to stop."""
    return False


def unpack(archive: Path, folder: Path, limits: ArchiveLimits, *, stopped: Callable[[], bool] = never) -> list[Entry]:
    """Unpack into an empty folder; gives the entries. Blocks: meant for a thread; `stopped` is asked between two pieces.

    Raises `ArchiveRefused`, `NoRoom` and `Stopped`. Names, count and sizes are judged before the first byte is written.
    """
    with _refusals(), _opened(archive, folder.parent, limits, stopped) as opened:
        paths = judge(opened.entries, archive.stat().st_size, limits)
        require_room(folder, sum(entry.size for entry in opened.entries))
        for index, (path, entry) in enumerate(zip(paths, opened.entries, strict=True)):
            target = folder / path
            (target if entry.is_dir else target.parent).mkdir(parents=True, exist_ok=True)
            if not entry.is_dir:
                _write(opened.open(index), entry, target, stopped)
        return list(opened.entries)


def inspect(archive: Path, scratch: Path, limits: ArchiveLimits) -> list[Entry]:
    """The entries of an archive that `unpack` would take by its headers; `scratch`: a folder for a gzipped tar's plain form.

    Raises as `unpack` does.
    """
    with _refusals(), _opened(archive, scratch, limits, never) as opened:
        judge(opened.entries, archive.stat().st_size, limits)
        return list(opened.entries)


def judge(entries: Sequence[Entry], packed_bytes: int, limits: ArchiveLimits) -> list[PurePosixPath]:
    """The path of each entry inside the folder. Raises `ArchiveRefused` for whatever a package of Python source has no need of."""
    if len(entries) > limits.entries_max:
        raise ArchiveRefused(f"it has {len(entries):,} entries, more than {limits.entries_max:,}")
    size = sum(entry.size for entry in entries)
    if min((entry.size for entry in entries), default=0) < 0:
        raise ArchiveRefused("it has an entry of a negative size")
    if size > limits.unpacked_bytes_max or size > RATIO_MAX * max(packed_bytes, 1):
        raise ArchiveRefused(
            f"it unpacks to {size:,} bytes from {packed_bytes:,}: more than allowed "
            f"({limits.unpacked_bytes_max:,} bytes, {RATIO_MAX} for each packed one)"
        )
    if sum(entry.packed_bytes or 0 for entry in entries) > packed_bytes:
        raise ArchiveRefused("its entries overlap: together they have more packed bytes than the whole archive")
    for entry in entries:
        if entry.packed_bytes is not None and entry.size > max(ENTRY_RATIO_FROM_BYTES, RATIO_MAX * entry.packed_bytes):
            raise ArchiveRefused(f"{_shown(entry)} in it unpacks to {entry.size:,} bytes from {entry.packed_bytes:,}")
    return _paths(entries)


def _paths(entries: Sequence[Entry]) -> list[PurePosixPath]:
    """The paths that entries really write: `a.py`, `./a.py` and `.//a.py` are one file, and `a` no folder too."""
    known: dict[PurePosixPath, Entry] = {}
    for entry in entries:
        _check_path(entry)
        other = known.setdefault(entry.path, entry)
        if other is not entry and not (entry.is_dir and other.is_dir):
            raise ArchiveRefused(f"it names {str(entry.path)!r} twice")
    for path in known:
        for parent in path.parents:
            if parent in known and not known[parent].is_dir:
                raise ArchiveRefused(f"it names {str(parent)!r} as a file, and as the folder of {str(path)!r}")
    return [entry.path for entry in entries]


def _check_path(entry: Entry) -> None:
    """Refuse a path that leads outside, or that a disk, a log or a terminal would take for something else."""
    name, path = entry.name, entry.path
    if entry.kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (entry.kind == stat.S_IFDIR and not entry.is_dir):
        raise ArchiveRefused(f"it holds {_shown(entry)}, which is a link, a device or no plain file of another kind")
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise ArchiveRefused(f"it holds {_shown(entry)}, whose path may lead outside")
    if not path.parts:
        raise ArchiveRefused(f"it holds {_shown(entry)}, which names no file")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        raise ArchiveRefused(f"it holds {_shown(entry)}: a control character, or a name in no known encoding")
    if len(str(path)) > PATH_CHARACTERS_MAX or len(path.parts) > DEPTH_MAX:
        raise ArchiveRefused(
            f"it holds {_shown(entry)}, a path of {len(str(path)):,} characters in {len(path.parts)} folders: "
            f"more than {PATH_CHARACTERS_MAX:,} in {DEPTH_MAX}"
        )
    if max(len(part.encode()) for part in path.parts) > NAME_BYTES_MAX:
        raise ArchiveRefused(f"it holds {_shown(entry)}, a name of over {NAME_BYTES_MAX} bytes")


def _write(source: IO[bytes], entry: Entry, target: Path, stopped: Callable[[], bool]) -> None:
    """Write an entry; a header that lies about the size is caught by the count of what really comes out."""
    left = entry.size
    with source, target.open("xb") as out:
        while chunk := source.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                break
            out.write(chunk)
            if stopped():
                raise Stopped
    if left != 0:
        raise ArchiveRefused(f"{_shown(entry)} in it has not the size that its header says")


def _shown(entry: Entry) -> str:
    return f"{entry.name[:120]!r}"


@contextmanager
def _refusals() -> Iterator[None]:
    """Whatever the libraries say of a bad archive, as `ArchiveRefused`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, _BROKEN):  # gzip.BadGzipFile is both
            raise ArchiveRefused(f"it is damaged: {error}") from error
        raise ArchiveRefused(f"it cannot be written: {error.strerror or error}") from error
    except _BROKEN as error:
        raise ArchiveRefused(f"it is damaged, or no archive that can be read: {error}") from error


@contextmanager
def _opened(
    archive: Path, scratch: Path, limits: ArchiveLimits, stopped: Callable[[], bool]
) -> Iterator["_Zip | _Tar"]:
    with archive.open("rb") as file:
        magic = file.read(2)
    if magic == _ZIP_MAGIC:
        with zipfile.ZipFile(archive) as opened:
            yield _Zip(opened)
    elif magic == _GZIP_MAGIC:
        plain = scratch / f"{archive.name}.tar"
        try:
            _gunzip(archive, plain, limits, stopped)
            with plain.open("rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=_BoundedTarInfo) as tar:
                yield _Tar(tar, file, scratch, limits)
        finally:
            plain.unlink(missing_ok=True)
    else:
        raise ArchiveRefused("it is neither a ZIP nor a tar.gz")


class _Zip:
    """A ZIP. `entries` and `open` go together by index."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._infos = archive.infolist()
        # `orig_filename`: zipfile cuts `filename` at a NUL.
        self.entries: Sequence[Entry] = [
            Entry(
                info.orig_filename,
                PurePosixPath(info.filename),
                info.file_size,
                info.compress_size,
                info.filename.endswith("/"),  # as is_dir(), which fails for an empty name
                stat.S_IFMT(info.external_attr >> 16),
            )
            for info in self._infos
        ]

    def open(self, index: int) -> IO[bytes]:
        return self._archive.open(self._infos[index])


class _Tar:
    """A plain tar, as `_Zip`. `tarfile` ends in silence at a header that it cannot read, so what follows the last one must be zeros."""

    def __init__(self, archive: tarfile.TarFile, file: IO[bytes], folder: Path, limits: ArchiveLimits) -> None:
        self._archive = archive
        self._members: list[tarfile.TarInfo] = []
        for member in archive:
            self._members.append(member)
            if len(self._members) > limits.entries_max:
                raise ArchiveRefused(f"it has more than {limits.entries_max:,} entries")
        self.entries: Sequence[Entry] = [
            Entry(member.name, PurePosixPath(member.name), member.size, None, member.isdir(), _tar_kind(member))
            for member in self._members
        ]
        judge(self.entries, limits.unpacked_bytes_max, limits)  # ours first: its words are for people
        if hasattr(tarfile, "data_filter"):  # since 3.11.4
            for member in self._members:
                tarfile.data_filter(member, str(folder))  # the library's own rules, for what we have not thought of
        file.seek(archive.offset)
        while chunk := file.read(CHUNK_BYTES):
            if chunk.strip(b"\0"):
                raise ArchiveRefused("it is damaged: after its last entry comes something that is no entry")

    def open(self, index: int) -> IO[bytes]:
        content = self._archive.extractfile(self._members[index])
        if content is None:
            raise ArchiveRefused(f"{_shown(self.entries[index])} in it is no plain file")
        return content


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses an extended header of a size that no name needs, before it is read into memory."""

    @classmethod
    @override
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_BoundedTarInfo":
        info = super().frombuf(buf, encoding, errors)
        if info.type not in tarfile.REGULAR_TYPES and info.size > TAR_HEADER_BYTES_MAX:
            raise ArchiveRefused(f"it has an extended header of {info.size:,} bytes")
        return info


def _tar_kind(member: tarfile.TarInfo) -> int:
    """A sparse file is none of ours: its size in the header is not what lies in the archive."""
    if member.isdir():
        return stat.S_IFDIR
    return (
        stat.S_IFREG if member.isreg() and not member.issparse() and member.type != tarfile.CONTTYPE else stat.S_IFLNK
    )


def _gunzip(archive: Path, plain: Path, limits: ArchiveLimits, stopped: Callable[[], bool]) -> None:
    """The tar without its compression, never more than entries and their headers may come to."""
    packed = archive.stat().st_size
    require_room(plain.parent, packed)
    left = min(limits.unpacked_bytes_max, RATIO_MAX * packed) + limits.entries_max * 3 * tarfile.BLOCKSIZE
    with gzip.open(archive) as source, plain.open("xb") as out:
        while chunk := source.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise ArchiveRefused(f"it unpacks to more bytes than allowed from {packed:,}")
            out.write(chunk)
            if stopped():
                raise Stopped
