"""Dependency packages: fetched by slug, checked, unpacked and installed into folders that go onto `sys.path`.

A package is a ZIP or tar.gz with package folders and modules at its top, and there beside them wheels or a requirements.txt
for uv to install; or it is one bare wheel. What came of it is kept by its digest in the work folder, for the next run there.
"""

import contextlib
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from dagy_control.errors import DagyError
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.telemetry import log
from dagy_control.model.dep_packages import DepPackage, may_use, owner_of
from dagy_control.model.runs import FailureClass
from dagy_control.ports.dep_packages import DepPackages
from dagy_control.ports.flows import Artifacts
from dagy_control.worker.archive import ArchiveLimits, ArchiveRefused, inspect
from dagy_control.worker.disk import MEBIBYTE, NoRoom, require_room
from dagy_control.worker.download import Wanted, download, unpack_aside
from dagy_control.worker.failure import WorkerFailure
from dagy_control.worker.installer import InstallFailed, InstallPolicy, install, install_arguments

REQUIREMENTS = "requirements.txt"
ENTRIES_MAX = 50_000
"""Scientific libraries have tens of thousands of files."""
_log = log("dagy.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagePolicy:
    """Bounds of dependency packages, packed and unpacked, in bytes, and how they are installed."""

    packed_bytes_max: int = 1024 * MEBIBYTE
    unpacked_bytes_max: int = 4096 * MEBIBYTE
    install: InstallPolicy = field(default_factory=InstallPolicy)

    @property
    def limits(self) -> ArchiveLimits:
        """For one archive."""
        return ArchiveLimits(unpacked_bytes_max=self.unpacked_bytes_max, entries_max=ENTRIES_MAX)


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package that is ready: the folders that go onto `sys.path`, in order."""

    slug: str
    paths: tuple[Path, ...]


class PackageShelf:
    """Makes packages ready in a folder of the worker's; `shelf` is where those of other runs may lie already."""

    def __init__(
        self, packages: DepPackages, artifacts: Artifacts, clock: Clock, shelf: Path, policy: PackagePolicy
    ) -> None:
        self._packages = packages
        self._artifacts = artifacts
        self._clock = clock
        self._shelf = shelf
        self._policy = policy

    async def make_ready(self, org_id: str, slugs: Sequence[str]) -> list[InstalledPackage]:
        """The packages, in the order of their slugs. Raises `WorkerFailure` of class DEPENDENCY."""
        ready: list[InstalledPackage] = []
        for slug in slugs:
            package = await self._record(org_id, slug)
            _log.info(
                "Installing dependency package",
                event_type="dependency_install",
                slug=slug,
                uri=package.package_s3_uri,
                sha256=package.sha256,
            )
            started_s = self._clock.monotonic()
            folder, was_there = await self._folder(package)
            paths = tuple(path for path in (folder / "top", folder / "site") if path.is_dir())
            ready.append(InstalledPackage(slug, paths))
            _log.info(
                "dependency package ready",
                event_type="dependency_ready",
                slug=slug,
                cached=was_there,
                install_seconds=round(self._clock.monotonic() - started_s, 3),
            )
        return ready

    async def _record(self, org_id: str, slug: str) -> DepPackage:
        if not may_use(org_id, slug):
            raise _failure(
                slug, f"belongs to organisation {owner_of(slug)!r}, not to {org_id!r}; set the deployment again"
            )
        try:
            package = await retrying(lambda: self._packages.get(slug), self._clock, key=slug)
        except DagyError as error:
            raise _failure(slug, f"cannot be looked up: {error}") from error
        if package is None:
            raise _failure(slug, f"is not registered; add it with `dagy-control packages add {slug} FILE`")
        return package

    async def _folder(self, package: DepPackage) -> tuple[Path, bool]:
        """The folder of the unpacked package, and whether it was there. It is made aside and renamed: it is whole or not there."""
        final = self._shelf / self._key(package)
        if final.is_dir():
            return final, True
        wanted = Wanted(
            what=f"dependency package {package.slug!r}",
            uri=package.package_s3_uri,
            sha256=package.sha256,
            size=package.size,
            failure_class=FailureClass.DEPENDENCY,
            remedy="add the package again",
        )
        self._shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="making-", dir=self._shelf, ignore_cleanup_errors=True) as name:
            making = Path(name) / "package"
            making.mkdir()
            try:
                await self._make(wanted, package, making)
            except ArchiveRefused as error:
                raise wanted.failure(f"Extract failed: {wanted.what} {wanted.uri}: {error}") from error
            except (InstallFailed, NoRoom) as error:
                raise wanted.failure(f"{wanted.what} {wanted.uri}: {error}") from error
            except OSError as error:
                raise wanted.failure(f"{wanted.what} {wanted.uri}: {error.strerror or error}") from error
            with contextlib.suppress(OSError):  # another worker has made the same meanwhile
                making.rename(final)
        return final, False

    def _key(self, package: DepPackage) -> str:
        """The same package for another interpreter, or installed otherwise, is another folder."""
        network = "-network" if self._policy.install.allow_network else ""
        version = f"{sys.implementation.cache_tag}-{platform.machine()}"
        return f"{package.sha256}-{version}{network}"

    async def _make(self, wanted: Wanted, package: DepPackage, folder: Path) -> None:
        scratch, top, site = folder.parent, folder / "top", folder / "site"
        packed = scratch / _file_name(package.package_s3_uri)
        await download(wanted, self._artifacts, self._clock, packed, max_bytes=self._policy.packed_bytes_max)
        if packed.suffix == ".whl":
            await self._install(scratch, site, wheels=[packed])
            return
        top.mkdir()
        entries = await unpack_aside(packed, top, self._policy.limits)
        packed.unlink()
        require_python({entry.path for entry in entries if not entry.is_dir})
        requirements = top / REQUIREMENTS
        wheels = sorted(top.glob("*.whl"))
        if requirements.is_file():
            await self._install(scratch, site, wheels=wheels, requirements=requirements)
        elif wheels:
            await self._install(scratch, site, wheels=wheels)
        for wheel in wheels:
            wheel.unlink()

    async def _install(
        self, scratch: Path, site: Path, *, wheels: Sequence[Path], requirements: Path | None = None
    ) -> None:
        """Wheels are archives too: judged by our own rules before another program opens them."""
        size = sum(entry.size for wheel in wheels for entry in inspect(wheel, scratch, self._policy.limits))
        require_room(scratch, 2 * size)  # uv unpacks, then copies
        policy = self._policy.install
        arguments = install_arguments(policy, site, wheels=wheels, requirements=requirements)
        await install(policy, arguments, self._clock, scratch)


def require_python(files: set[PurePosixPath]) -> None:
    """Refuse a package that would add nothing: no module, package folder, wheel or requirements.txt at its top."""
    tops = {path.parts[0] for path in files}
    if any(
        path.suffix in (".py", ".whl", ".so") or path.name == REQUIREMENTS for path in files if len(path.parts) == 1
    ):
        return
    if any(len(path.parts) > 1 and path.suffix in (".py", ".so") for path in files):
        return
    raise ArchiveRefused(
        f"it has no Python package or module, no wheel and no {REQUIREMENTS} at its top, only: "
        f"{', '.join(sorted(tops)[:8]) or 'nothing'}"
    )


def _file_name(uri: str) -> str:
    return PurePosixPath(urlsplit(uri).path).name or "package"


def _failure(slug: str, problem: str) -> WorkerFailure:
    return WorkerFailure(FailureClass.DEPENDENCY, f"dependency package {slug!r} {problem}")
