"""Archives that no worker may unpack, one for every trick that we know, as ZIP and as tar.gz; built here, byte by byte.

`HOSTILE` is the corpus: name to bytes. Nothing in it is large: a bomb's size stands in its headers, or in its ratio.
"""

import gzip
import hashlib
import io
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable

MAX_BYTES = 1024 * 1024
"""What the tests allow an archive to unpack to."""
ENTRIES_MAX = 200
UNIX = 3


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644, compress: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """An entry's header. The name is put in past the constructor, which would tidy it."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.create_system = UNIX
    info.external_attr = mode << 16
    info.compress_type = compress
    return info


def a_zip(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """An archive of these entries, however bad."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile's own, of duplicate names
        for header, content in entries:
            archive.writestr(entry(header) if isinstance(header, str) else header, content)
    return buffer.getvalue()


def packed(name: str, content: bytes) -> bytes:
    """A ZIP of one entry that is deflated."""
    return a_zip((entry(name, compress=zipfile.ZIP_DEFLATED), content))


def member(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, link: str = "") -> tarfile.TarInfo:
    """A tar's header."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def plain_tar(*entries: tuple[str | tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of these entries, however bad."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for header, content in entries:
            info = member(header) if isinstance(header, str) else header
            if isinstance(header, str):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def a_targz(*entries: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    """The same, gzipped."""
    return gzip.compress(plain_tar(*entries), mtime=0)


def with_directory_field(data: bytes, offset: int, value: bytes) -> bytes:
    """The ZIP with a field of its first central directory header overwritten ("APPNOTE.TXT", 4.3.12)."""
    start = data.index(b"PK\x01\x02") + offset
    return data[:start] + value + data[start + len(value) :]


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with some bytes overwritten everywhere, its length unchanged."""
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new)


def _spoiled(compress: int, skip: int) -> bytes:
    """A compressed stream that begins with nonsense."""
    data = a_zip((entry("a.py", compress=compress), bytes(range(256)) * 4))
    start = 30 + len("a.py") + skip
    return data[:start] + b"\xff" * 16 + data[start + 16 :]


def _overlapping() -> bytes:
    """Fifty directory entries that all name the same packed bytes (D. Fifield, "A better zip bomb", 2019)."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = hashlib.shake_256(b"noise").digest(2000)
    body = kernel.compress(content) + kernel.flush()
    crc = zlib.crc32(content)
    sizes = struct.pack("<III", crc, len(body), len(content))
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes + struct.pack("<HH", 4, 0) + b"a.py" + body
    directory = b""
    for number in range(50):
        name = f"a{number:02}.py".encode()
        directory += b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes
        directory += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 50, 50, len(directory), len(local), 0)
    return local + directory + end


def _renamed_in_the_local_header() -> bytes:
    """The directory says a.py, the entry itself another name: two programs would unpack two things."""
    data = a_zip(("good.py", b"x = 1"))
    at = data.index(b"good.py")
    return data[:at] + b"evil.py" + data[at + 7 :]


def _tar_of_raw_header(change: Callable[[bytearray], None]) -> bytes:
    """A tar.gz of one entry whose header was changed by hand, with a checksum that is right again."""
    data = bytearray(plain_tar(("a.py", b"x = 1\n"), form=tarfile.USTAR_FORMAT))
    change(data)
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}".encode() + b"\0 "
    return gzip.compress(bytes(data), mtime=0)


def _tar_that_says(size: int) -> bytes:
    def change(data: bytearray) -> None:
        data[124:136] = f"{size:011o}".encode() + b"\0"

    return _tar_of_raw_header(change)


def _tar_of_negative_size() -> bytes:
    """A size in base 256, which may be negative (GNU tar, "Basic Tar Format")."""

    def change(data: bytearray) -> None:
        data[124:136] = b"\xff" * 11 + b"\x00"

    return _tar_of_raw_header(change)


def _tar_with_a_long_header(kind: bytes) -> bytes:
    """An extended header of a size that would be read into memory."""
    body = b"A" * (200 * 1024)
    header = member("././@LongLink" if kind == tarfile.GNUTYPE_LONGNAME else "pax", kind, size=len(body))
    raw = header.tobuf(tarfile.GNU_FORMAT) + body + b"\0" * (-len(body) % 512)
    return gzip.compress(raw + plain_tar(("a.py", b"")), mtime=0)


def _tar_then_nonsense() -> bytes:
    """`tarfile` takes a header that it cannot read for the end, in silence."""
    first = plain_tar(("a.py", b"x = 1"))[:1024]
    return gzip.compress(first + b"nonsense" * 64 + plain_tar(("b.py", b"x = 2")), mtime=0)


def _sparse_tar() -> bytes:
    info = member("sparse.py", size=512)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000"}
    return a_targz((info, b"1\n0\n512\n".ljust(512, b"\0")))


_LONG = "a" * 300 + ".py"
_DEEP = "d/" * 60 + "a.py"

ZIPS: dict[str, bytes] = {
    "absolute": a_zip(("/srv/evil.py", b"x")),
    "two slashes first": a_zip(("//srv/evil.py", b"x")),
    "parent": a_zip(("../evil.py", b"x")),
    "parent in the middle": a_zip(("a/../../evil.py", b"x")),
    "parent that stays inside": a_zip(("a/../evil.py", b"x")),
    "parent folder": a_zip((entry("../evil/", mode=stat.S_IFDIR | 0o755), b"")),
    "NUL": patched(a_zip(("a.pyX.sh", b"")), b"a.pyX.sh", b"a.py\0.sh"),
    "line end in a name": a_zip(("a\nb.py", b"x")),
    "escape sequence in a name": a_zip(("\x1b[2Ja.py", b"x")),
    "right-to-left override in a name": a_zip(("a\u202eyp.exe", b"x")),
    "backslash": a_zip(("..\\evil.py", b"x")),
    "drive": a_zip(("C:evil.py", b"x")),
    "the folder itself": a_zip(("./", b"")),
    "no name": a_zip(("", b"x")),
    "a name too long": a_zip((_LONG, b"x")),
    "a path too long": a_zip(("/".join(["a" * 200] * 8), b"x")),
    "a path too deep": a_zip((_DEEP, b"x")),
    "symlink": a_zip((entry("link", mode=stat.S_IFLNK | 0o777), b"/etc/passwd")),
    "symlink as a folder": a_zip((entry("link/", mode=stat.S_IFLNK | 0o777), b"/etc")),
    "file through a symlink": a_zip((entry("out", mode=stat.S_IFLNK | 0o777), b".."), ("out/evil.py", b"x")),
    "character device": a_zip((entry("dev", mode=stat.S_IFCHR | 0o666), b"")),
    "block device": a_zip((entry("dev", mode=stat.S_IFBLK | 0o666), b"")),
    "pipe": a_zip((entry("pipe", mode=stat.S_IFIFO | 0o666), b"")),
    "socket": a_zip((entry("socket", mode=stat.S_IFSOCK | 0o666), b"")),
    "a path twice": a_zip(("a.py", b"1"), ("a.py", b"2")),
    "same path written differently": a_zip(("a.py", b"1"), ("./a.py", b"2")),
    "same path with two slashes": a_zip(("p/a.py", b"1"), ("p//a.py", b"2")),
    "file, then folder of one name": a_zip(("a", b"1"), ("a/b.py", b"2")),
    "folder, then file of one name": a_zip(("a/b.py", b"1"), ("a", b"2")),
    "file and folder entry of one name": a_zip(("a", b"1"), (entry("a/", mode=stat.S_IFDIR | 0o755), b"")),
    "bomb by ratio": packed("zeros.py", bytes(MAX_BYTES - 1)),
    "bomb by size": a_zip(("large.py", bytes(MAX_BYTES + 1))),
    "bomb by count": a_zip(*((f"{number}", b"") for number in range(ENTRIES_MAX + 1))),
    "bomb of overlapping entries": _overlapping(),
    "more than the header says": with_directory_field(packed("a.py", b"x = 1\n" * 1000), 24, struct.pack("<I", 10)),
    "less than the header says": with_directory_field(packed("a.py", b"x = 1\n" * 100), 24, struct.pack("<I", 6000)),
    "another name in the entry itself": _renamed_in_the_local_header(),
    "encrypted": with_directory_field(a_zip(("a.py", b"x = 1")), 8, struct.pack("<H", 1)),
    "spoiled deflate": _spoiled(zipfile.ZIP_DEFLATED, 0),
    "spoiled lzma": _spoiled(zipfile.ZIP_LZMA, 9),
    "wrong checksum": with_directory_field(a_zip(("a.py", b"x = 1")), 16, b"\0\0\0\0"),
    "unknown method": with_directory_field(a_zip(("a.py", b"x = 1")), 10, struct.pack("<H", 99)),
    "name that is no UTF-8": patched(a_zip(("é.py", b"")), "é".encode(), b"\xff\xfe"),
    "truncated": a_zip(("a.py", b"x = 1" * 100))[:-30],
    "head cut off": a_zip(("a.py", b"x = 1" * 100))[60:],
}

TARS: dict[str, bytes] = {
    "absolute": a_targz(("/srv/evil.py", b"x")),
    "parent": a_targz(("../evil.py", b"x")),
    "parent in the middle": a_targz(("a/../../evil.py", b"x")),
    "parent folder": a_targz((member("../evil", tarfile.DIRTYPE), b"")),
    "line end in a name": a_targz(("a\nb.py", b"x")),
    "backslash": a_targz(("..\\evil.py", b"x")),
    "drive": a_targz(("C:evil.py", b"x")),
    "a name too long": a_targz((_LONG, b"x")),
    "a path too deep": a_targz((_DEEP, b"x")),
    "name that is no UTF-8": _tar_of_raw_header(lambda data: data.__setitem__(slice(0, 4), b"\xff\xfea\0")),
    "symlink": a_targz((member("link", tarfile.SYMTYPE, link="/etc/passwd"), b"")),
    "symlink inside": a_targz(("a.py", b"x"), (member("link", tarfile.SYMTYPE, link="a.py"), b"")),
    "file through a symlink": a_targz((member("out", tarfile.SYMTYPE, link=".."), b""), ("out/evil.py", b"x")),
    "hard link": a_targz(("a.py", b"x"), (member("link", tarfile.LNKTYPE, link="a.py"), b"")),
    "hard link outside": a_targz((member("link", tarfile.LNKTYPE, link="../../../etc/passwd"), b"")),
    "character device": a_targz((member("dev", tarfile.CHRTYPE), b"")),
    "block device": a_targz((member("dev", tarfile.BLKTYPE), b"")),
    "pipe": a_targz((member("pipe", tarfile.FIFOTYPE), b"")),
    "contiguous file": a_targz((member("a.py", tarfile.CONTTYPE), b"")),
    "sparse file": _sparse_tar(),
    "a path twice": a_targz(("a.py", b"1"), ("a.py", b"2")),
    "same path written differently": a_targz(("a.py", b"1"), ("./a.py", b"2")),
    "file, then folder of one name": a_targz(("a", b"1"), ("a/b.py", b"2")),
    "bomb by ratio": a_targz(("zeros.py", bytes(MAX_BYTES - 4096))),
    "bomb by size": a_targz(("large.py", bytes(3 * MAX_BYTES))),
    "bomb by count": a_targz(*((f"{number}", b"") for number in range(ENTRIES_MAX + 1))),
    "bomb inside the gzip's own tail": gzip.compress(plain_tar(("a.py", b"")) + bytes(8 * MAX_BYTES), mtime=0),
    "size beyond the archive": _tar_that_says(500_000),
    "size of gigabytes": _tar_that_says(8 * 1024**3 - 1),
    "negative size": _tar_of_negative_size(),
    "long name of 200 KiB": _tar_with_a_long_header(tarfile.GNUTYPE_LONGNAME),
    "extended header of 200 KiB": _tar_with_a_long_header(tarfile.XHDTYPE),
    "nonsense after the first entry": _tar_then_nonsense(),
    "truncated": a_targz(("a.py", bytes(range(256)) * 40))[:-30],
    "truncated tar in a whole gzip": gzip.compress(plain_tar(("a.py", bytes(range(256)) * 40))[:3000], mtime=0),
    "wrong gzip checksum": a_targz(("a.py", b"x"))[:-8] + b"\0" * 8,
    "gzip of something else": gzip.compress(b"#!/bin/sh\necho gotcha\n" * 100, mtime=0),
    "gzip of nothing": gzip.compress(b"", mtime=0),
}

NEITHER: dict[str, bytes] = {
    "empty file": b"",
    "one byte": b"P",
    "shell script": b"#!/bin/sh\necho gotcha\n",
    "plain tar": plain_tar(("a.py", b"x")),
    "xz": bytes.fromhex("fd377a585a000004e6d6b446"),
    "ELF": b"\x7fELF" + bytes(60),
}

HOSTILE: dict[str, bytes] = {
    **{f"zip: {name}": data for name, data in ZIPS.items()},
    **{f"tar.gz: {name}": data for name, data in TARS.items()},
    **NEITHER,
}
