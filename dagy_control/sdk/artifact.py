"""A flow's artifact: one ZIP of its Python source and its FlowSpec, the same bytes for the same source on every machine."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dagy_control.errors import Permanent
from dagy_control.model.flows import SPEC_ENTRY, FlowSpec
from dagy_control.sdk.flow import Flow

ARTIFACT_BYTES_MAX = 50 * 1024 * 1024
ARTIFACT_ENTRIES_MAX = 5_000


class ArtifactError(Permanent):
    """An artifact cannot be made of this source. The message says what is in the way and what to do."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A built artifact. `data`: the ZIP; `sha256`: of it, in hex; `spec`: what its flow.json says."""

    data: bytes
    sha256: str
    spec: FlowSpec


def build_artifact(flow: Flow[..., object], source: Path, *, bytes_max: int = ARTIFACT_BYTES_MAX) -> Artifact:
    """Build the flow and pack its source: one module file, one package folder, or a folder of modules and packages.

    The archive's root is what the worker puts on `sys.path`, so entries are named by import path: a package's folder comes with
    the packages above it. Only .py files; hidden folders and __pycache__ are left out, links are refused. Entries are sorted, have
    one fixed time, and are stored: compressed bytes differ between zlib's versions.
    """
    spec = flow.build()
    entries = dict(_entries(source))
    module = spec.import_path.partition(":")[0].replace(".", "/")
    if f"{module}.py" not in entries and f"{module}/__init__.py" not in entries:
        raise ArtifactError(
            f"the flow's module {module.replace('/', '.')!r} is not in {source}: neither {module}.py nor {module}/__init__.py. "
            "Give the folder that holds its top-level package or module"
        )
    if len(entries) > ARTIFACT_ENTRIES_MAX:
        raise ArtifactError(
            f"{source} has {len(entries):,} .py files, more than {ARTIFACT_ENTRIES_MAX:,}; give the flow's own package"
        )
    size = sum(path.stat().st_size for path in entries.values())
    if size > bytes_max:
        raise ArtifactError(
            f"the .py files in {source} have {size:,} bytes, more than the {bytes_max:,} allowed; "
            "give the flow's own package, and put libraries into a dependency package"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        contents = {name: path.read_bytes() for name, path in entries.items()}
        contents[SPEC_ENTRY] = spec.to_json().encode()
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name)  # its default time is the fixed 1980-01-01
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, contents[name])
    data = buffer.getvalue()
    return Artifact(data, hashlib.sha256(data).hexdigest(), spec)


def _entries(source: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of everything that goes in."""
    if source.is_symlink() or not source.exists():
        raise ArtifactError(
            f"{source} {'is a link' if source.is_symlink() else 'does not exist'}; give a real file or folder"
        )
    source = source.resolve()
    package = source if source.is_dir() else source.parent
    if not (package / "__init__.py").is_file():
        yield from _walk(source, source) if source.is_dir() else [(source.name, source)]
        return
    while (package.parent / "__init__.py").is_file():
        package = package.parent
    yield from _walk(package, package.parent)


def _walk(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_symlink() and (path.is_dir() or path.suffix == ".py"):
            raise ArtifactError(f"{path} is a link; an artifact has none. Copy the file, or leave it out of the folder")
        if path.is_dir():
            yield from _walk(path, root)
        elif path.suffix == ".py" and path.is_file():
            yield path.relative_to(root).as_posix(), path
