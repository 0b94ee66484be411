"""An old and a new version side by side: the daemon as it was before, on the same tables and the same cluster as the daemon as it is.

`earlier_version.zip` holds the rooms of an earlier commit under another package name. A deployment replaces one by the other, and
a rollback the other way round. Between the two stand ports that hand over what each version knows, as a table's items do: an
attribute that a version does not know is not seen, and stays.

`python -m tests.simulation.versions REF` makes the archive anew: at each release, from the release before.
"""

import argparse
import dataclasses
import importlib
import inspect
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

NOW = "dagy_control"
BEFORE = "dagy_control_before"
ARCHIVE = Path(__file__).with_name("earlier_version.zip")
PLAIN = frozenset({str, int, float, bool, bytes, type(None), datetime})
MODULES = (
    "adapters.ecs_tasks",
    "events.loop",
    "kernel.leases",
    "kernel.ticker",
    "launching.loop",
    "orphans.loop",
    "reconciling.loop",
)
ROOMS = ("errors", "model", "ports", "kernel", "launching", "reconciling", "events", "orphans", "adapters")


class Product:
    """One version of the product: its names by their modules."""

    def __init__(self, package: str) -> None:
        self.package = package
        if package == BEFORE and str(ARCHIVE) not in sys.path:
            sys.path.append(str(ARCHIVE))
        for module in MODULES:
            importlib.import_module(f"{package}.{module}")

    def get(self, module: str, name: str) -> Any:
        """`name` of the module, in this version."""
        return getattr(sys.modules[f"{self.package}.{module}"], name)

    def own(self, value: object) -> Any:
        """What the value is in this version: classes of the other one become the class of the same name."""
        return _handed(value, NOW if self.package == BEFORE else BEFORE, self.package)

    def port(self, port: object) -> Any:
        """The port for this version's loops."""
        return port if self.package == NOW else _Across(port)


@cache
def product(package: str) -> Product:
    """A version, its modules imported."""
    return Product(package)


@cache
def _class_in(kind: type, source: str, target: str) -> tuple[type | None, tuple[str, ...]]:
    """The class of the same name in the other version, and of a dataclass the fields that both know; None for any other class."""
    enum = issubclass(kind, Enum)
    if not _is_of(kind, source) or not (enum or dataclasses.is_dataclass(kind)):
        return None, ()
    wanted = getattr(importlib.import_module(target + kind.__module__.removeprefix(source)), kind.__name__)
    if enum:
        return wanted, ()
    known = {each.name for each in dataclasses.fields(wanted) if each.init}
    return wanted, tuple(each.name for each in dataclasses.fields(kind) if each.name in known)


def _handed(value: Any, source: str, target: str) -> Any:
    """A value of one version in the other. Fields that the target does not know are left out."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Mapping):
        return {_handed(key, source, target): _handed(each, source, target) for key, each in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return kind(_handed(each, source, target) for each in value)
    if isinstance(value, msgspec.Struct):  # an answer of AWS, decoded: the other version reads it as botocore gives it
        return msgspec.to_builtins(value, builtin_types=(datetime,))
    wanted, names = _class_in(kind, source, target)  # type: ignore[arg-type] # a class can be hashed; mypy sees its objects' __hash__
    if wanted is None:
        return value
    if isinstance(value, Enum):
        return wanted(value.value)
    return wanted(**{name: _handed(getattr(value, name), source, target) for name in names})


def _is_of(kind: type, package: str) -> bool:
    return kind.__module__.split(".", 1)[0] == package


def _error(error: Exception) -> Exception:
    """The earlier version's error for one of the present version's."""
    kind = getattr(importlib.import_module(f"{BEFORE}.errors"), type(error).__name__)
    handed: Exception = kind.__new__(kind)
    handed.args = error.args
    handed.__dict__.update({name: _handed(value, NOW, BEFORE) for name, value in error.__dict__.items()})
    return handed


class _Across:
    """A present port as the earlier version calls it."""

    def __init__(self, port: object) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._port, name)
        return _paged(method) if inspect.isasyncgenfunction(method) else _asked(method)


def _asked(method: Callable[..., Any]) -> Callable[..., Any]:
    async def ask(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = await method(*_handed(args, BEFORE, NOW), **_handed(kwargs, BEFORE, NOW))
        except Exception as error:
            if _is_of(type(error), NOW):
                raise _error(error) from error
            raise
        return _handed(answer, NOW, BEFORE)

    return ask


def _paged(method: Callable[..., Any]) -> Callable[..., Any]:
    async def pages(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        try:
            async for page in method(*_handed(args, BEFORE, NOW), **_handed(kwargs, BEFORE, NOW)):
                yield _handed(page, NOW, BEFORE)
        except Exception as error:
            if _is_of(type(error), NOW):
                raise _error(error) from error
            raise

    return pages


def main() -> int:
    """Make the archive from a commit."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.versions", description=__doc__)
    parser.add_argument("ref", help="the commit or tag of the earlier version")
    options = parser.parse_args()
    paths = [f"{NOW}/__init__.py", f"{NOW}/errors.py", *(f"{NOW}/{room}" for room in ROOMS if room != "errors")]
    git = shutil.which("git") or "git"
    archived = subprocess.run([git, "archive", options.ref, *paths], check=False, capture_output=True)
    if archived.returncode:
        print(f"nothing was written: {archived.stderr.decode().strip()}")
        return 1
    tar = archived.stdout
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as source,
        zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for member in sorted(source.getmembers(), key=lambda each: each.name):
            content = source.extractfile(member) if member.isfile() and member.name.endswith(".py") else None
            if content is not None:
                text = content.read().decode().replace(NOW, BEFORE)
                entry = zipfile.ZipInfo(member.name.replace(NOW, BEFORE, 1), (2026, 1, 1, 0, 0, 0))
                archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    print(f"{ARCHIVE.name}: {ARCHIVE.stat().st_size} bytes, from {options.ref}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
