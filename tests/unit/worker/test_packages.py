"""Dependency packages: what is put on `sys.path`, what is kept for the next run, and what is refused with which words.

uv itself is started for what only uv can tell; everything else is told by a stand-in that writes down what it was asked.
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dagy_control.errors import Permanent
from dagy_control.kernel.clock import SystemClock
from dagy_control.model.runs import FailureClass
from dagy_control.worker import disk
from dagy_control.worker.failure import WorkerFailure
from dagy_control.worker.installer import InstallPolicy, find_tool, install_arguments, last_lines
from dagy_control.worker.packages import InstalledPackage, PackagePolicy, PackageShelf
from tests.fakes.dep_packages import FakeDepPackages
from tests.fakes.flows import FakeArtifacts
from tests.hostile_archives import HOSTILE, a_targz, a_zip, entry
from tests.working import a_package

MIB = 1024 * 1024
WHEEL = "greeting-1.0-py3-none-any.whl"


def a_wheel(code: bytes = b"WORD = 'bonjour'\n", *, requires: str = "") -> bytes:
    """A wheel of one module, as the binary distribution format has it."""
    metadata = f"Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n{requires}".encode()
    tags = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = b"greeting.py,,\ngreeting-1.0.dist-info/METADATA,,\ngreeting-1.0.dist-info/WHEEL,,\n"
    return a_zip(
        ("greeting.py", code),
        ("greeting-1.0.dist-info/METADATA", metadata),
        ("greeting-1.0.dist-info/WHEEL", tags),
        ("greeting-1.0.dist-info/RECORD", record + b"greeting-1.0.dist-info/RECORD,,\n"),
    )


class World:
    """A shelf in a folder, the table and the store behind it."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.shelf = folder / "packages"
        self.packages = FakeDepPackages()
        self.artifacts = FakeArtifacts()
        self.policy = PackagePolicy(packed_bytes_max=MIB, unpacked_bytes_max=MIB, **policy)

    def add(self, slug: str, content: bytes, *, name: str = "package.zip") -> None:
        package = a_package(slug, content, name=name)
        self.packages.records[slug] = package
        self.artifacts.objects[package.package_s3_uri] = content

    async def ready(self, *slugs: str, org_id: str = "acme") -> list[InstalledPackage]:
        shelf = PackageShelf(self.packages, self.artifacts, SystemClock(), self.shelf, self.policy)
        return await shelf.make_ready(org_id, slugs)

    async def refusal(self, *slugs: str) -> str:
        with pytest.raises(WorkerFailure) as refused:
            await self.ready(*slugs)
        assert refused.value.failure_class is FailureClass.DEPENDENCY
        assert not self.shelf.is_dir() or list(self.shelf.iterdir()) == [], "nothing half made is left"
        return str(refused.value)


def stand_in(folder: Path, body: str) -> InstallPolicy:
    """A policy whose tool is this Python program."""
    tool = folder / "tool"
    tool.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys, time\n{body}\n")
    tool.chmod(0o755)
    return InstallPolicy(tool=str(tool), timeout_s=60)


# Folders.


@pytest.mark.parametrize("packed", [a_zip, a_targz], ids=["zip", "tar.gz"])
async def test_package_folders_at_the_top_are_put_on_the_path(packed: Any, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("own", packed(("own/__init__.py", b""), ("own/deep.py", b"X = 1"), ("single.py", b"")))
    (package,) = await world.ready("own")
    (folder,) = package.paths
    assert sorted(path.name for path in folder.iterdir()) == ["own", "single.py"]
    assert (folder / "own" / "deep.py").read_bytes() == b"X = 1"


async def test_packages_come_in_the_order_of_their_slugs(tmp_path: Path) -> None:
    world = World(tmp_path)
    for slug in ("b", "a", "acme/c"):
        world.add(slug, a_zip((f"{slug[-1]}.py", b"")))
    assert [each.slug for each in await world.ready("b", "acme/c", "a")] == ["b", "acme/c", "a"]


async def test_a_package_that_lies_there_is_not_fetched_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("own", a_zip(("own.py", b"X = 1")))
    first = await world.ready("own")
    assert world.artifacts.calls == ["download"]
    assert await world.ready("own") == first
    assert world.artifacts.calls == ["download"]
    world.add("own", a_zip(("own.py", b"X = 2")))
    (replaced,) = await world.ready("own")
    assert (replaced.paths[0] / "own.py").read_bytes() == b"X = 2"


# What is refused.


async def test_a_slug_that_nobody_registered_is_refused_with_the_command_that_adds_it(tmp_path: Path) -> None:
    message = await World(tmp_path).refusal("pandas-2")
    assert (
        message
        == "dependency package 'pandas-2' is not registered; add it with `dagy-control packages add pandas-2 FILE`"
    )


async def test_another_organisations_package_is_not_even_looked_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("globex/own", a_zip(("own.py", b"")))
    assert "belongs to organisation 'globex', not to 'acme'" in await world.refusal("globex/own")
    assert world.packages.calls == world.artifacts.calls == []


async def test_a_missing_object_and_a_wrong_digest_are_told_as_such(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("own", a_zip(("own.py", b"")))
    uri = world.packages.records["own"].package_s3_uri
    world.artifacts.objects[uri] = b"other"
    assert "has sha256" in await world.refusal("own")
    del world.artifacts.objects[uri]
    assert await world.refusal("own") == (
        f"there is no dependency package 'own' at {uri} (NoSuchKey); add the package again"
    )


async def test_a_record_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.packages.next_error("get", Permanent("record own: it has no sha256; add the package again"))
    assert "it has no sha256" in await world.refusal("own")


@pytest.mark.parametrize("name", ["zip: parent", "zip: symlink", "tar.gz: hard link", "tar.gz: bomb by ratio"])
async def test_a_hostile_package_is_refused_as_an_extraction_that_failed(name: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("own", HOSTILE[name])
    message = await world.refusal("own")
    assert message.startswith("Extract failed: dependency package 'own' s3://")
    assert not (tmp_path / "evil.py").exists()


async def test_a_hostile_wheel_is_refused_before_uv_opens_it(tmp_path: Path) -> None:
    world = World(tmp_path, install=InstallPolicy(tool="/nowhere/uv"))
    world.add("bare", HOSTILE["zip: parent"], name=WHEEL)
    assert "may lead outside" in await world.refusal("bare")
    world.add("inside", a_zip((WHEEL, HOSTILE["zip: bomb by ratio"])))
    assert "unpacks to" in await world.refusal("inside")
    world.add("pinned", a_zip((WHEEL, HOSTILE["zip: symlink"]), ("requirements.txt", b"greeting==1.0\n")))
    assert "a link" in await world.refusal("pinned")


async def test_a_package_that_would_add_nothing_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("own", a_zip(("docs/readme.txt", b"x"), ("LICENSE", b"x")))
    assert "no Python package or module, no wheel and no requirements.txt at its top, only: LICENSE, docs" in (
        await world.refusal("own")
    )


async def test_a_disk_without_room_says_what_is_needed_what_is_free_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "RESERVE_BYTES", 1 << 62)
    world = World(tmp_path)
    world.add("own", a_zip(("own.py", b"")))
    message = await world.refusal("own")
    assert "not enough disk space: " in message
    assert " MiB needed, " in message
    assert f" MiB free in {world.shelf}" in message
    assert "ephemeral_storage_gib" in message


# Installing.


async def test_a_bare_wheel_is_installed_without_an_index(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("greeting", a_wheel(), name=WHEEL)
    (package,) = await world.ready("greeting")
    (site,) = package.paths
    assert (site / "greeting.py").read_bytes() == b"WORD = 'bonjour'\n"


async def test_wheels_at_the_top_are_installed_beside_the_folders(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("both", a_zip((WHEEL, a_wheel()), ("own/__init__.py", b"")))
    (package,) = await world.ready("both")
    top, site = package.paths
    assert [path.name for path in top.iterdir()] == ["own"]
    assert (site / "greeting.py").is_file()


async def test_requirements_are_taken_from_the_wheels_beside_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("pinned", a_zip((WHEEL, a_wheel()), ("requirements.txt", b"greeting==1.0\n")))
    (package,) = await world.ready("pinned")
    assert any((path / "greeting.py").is_file() for path in package.paths)


async def test_a_requirement_that_is_not_there_is_told_in_the_tools_own_words(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("pinned", a_zip((WHEEL, a_wheel()), ("requirements.txt", b"greeting==1.0\nno-such-thing==9\n")))
    message = await world.refusal("pinned")
    assert "pip install failed (exit code 1): " in message
    assert "no-such-thing" in message
    assert "worker.allow_network_installs is off" in message


async def test_a_declared_hash_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    lines = f"greeting==1.0 --hash=sha256:{'0' * 64}\n".encode()
    world.add("pinned", a_zip((WHEEL, a_wheel()), ("requirements.txt", lines)))
    message = await world.refusal("pinned")
    assert "pip install failed" in message
    assert "hash" in message.lower()


async def test_a_wheel_for_another_platform_is_told_in_the_tools_own_words(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("other", a_wheel(), name="greeting-1.0-cp27-cp27m-win32.whl")
    assert "pip install failed" in await world.refusal("other")


@pytest.mark.parametrize(
    ("requirements", "network", "has", "lacks"),
    [
        ("a==1\n", False, ["--no-index", "--offline", "--find-links"], ["--require-hashes", "--no-deps"]),
        ("a==1 --hash=sha256:00\n", False, ["--no-index", "--require-hashes"], []),
        ("a==1 \\\n  --hash sha256:00\n", True, ["--require-hashes"], ["--no-index", "--offline"]),
        (None, False, ["--no-index", "--offline", "--no-deps"], ["--requirements"]),
    ],
    ids=["offline", "one hash asks for all", "network", "wheels alone"],
)
def test_uv_is_asked_for_no_more_than_is_allowed(
    requirements: str | None, network: bool, has: list[str], lacks: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(requirements or "")
    arguments = install_arguments(
        InstallPolicy(allow_network=network),
        tmp_path / "site",
        wheels=[tmp_path / WHEEL],
        requirements=file if requirements else None,
    )
    assert {"--no-config", "--no-cache", *has} <= set(arguments)
    assert not set(lacks) & set(arguments)


async def test_the_tool_sees_neither_our_variables_nor_the_roles_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGY_RUN_ID", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "ECS_CONTAINER_METADATA_URI_V4"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("UV_INDEX_URL", "https://packages.invalid/simple")
    seen = tmp_path / "seen"
    world = World(
        tmp_path, install=stand_in(tmp_path, f"pathlib.Path({str(seen)!r}).write_text(json.dumps(dict(os.environ)))")
    )
    world.add("greeting", a_wheel(), name=WHEEL)
    await world.ready("greeting")
    environment = json.loads(seen.read_text())
    assert not [name for name in environment if name.startswith(("DAGY_", "AWS_", "ECS_"))]
    assert environment["UV_INDEX_URL"] == "https://packages.invalid/simple"


async def test_a_tool_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    tool = stand_in(tmp_path, "import subprocess\nsubprocess.run(['sleep', '600'])")
    world = World(tmp_path, install=InstallPolicy(tool=tool.tool, timeout_s=0.0))
    world.add("greeting", a_wheel(), name=WHEEL)
    assert "pip install failed: it did not end within 0 s (worker.install_timeout_s)" in await world.refusal("greeting")


async def test_a_tool_that_is_not_there_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    world = World(tmp_path)
    world.add("greeting", a_wheel(), name=WHEEL)
    assert "there is no `uv` in the worker image" in await world.refusal("greeting")


def test_the_tools_last_lines_are_one_line_and_bounded() -> None:
    told = last_lines(b"\n".join(b"line %d \xff" % number for number in range(5000)))
    assert "\n" not in told
    assert "line 4999" in told
    assert len(told) <= 1500
    assert last_lines(b"") == "it said nothing"


def test_uv_is_found_beside_the_interpreter_or_named() -> None:
    assert Path(find_tool(InstallPolicy())).name == "uv"
    assert find_tool(InstallPolicy(tool="/opt/uv")) == "/opt/uv"


def test_a_wheel_here_is_one_that_zipfile_reads(tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(a_wheel())
    with zipfile.ZipFile(tmp_path / WHEEL) as wheel:
        assert wheel.testzip() is None
    assert entry("x").filename == "x"
