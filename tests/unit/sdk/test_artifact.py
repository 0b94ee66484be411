"""The artifact: the same bytes for the same source, only what belongs in, and clear refusals."""

import hashlib
import io
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from dagy_control.model.flows import FlowSpec
from dagy_control.sdk import ArtifactError, build_artifact
from tests.flows.orders import orders

FLOWS = Path(__file__).parents[2] / "flows"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder that holds the package `tests.flows`, with what must not get into an artifact."""
    package = tmp_path / "source" / "tests" / "flows"
    package.mkdir(parents=True)
    for name in ("__init__.py", "orders.py"):
        shutil.copy(FLOWS / name, package / name)
    for junk in ("__pycache__/orders.cpython-311.pyc", ".venv/x.py", "data.csv"):
        (package / junk).parent.mkdir(exist_ok=True)
        (package / junk).write_text("junk")
    return tmp_path / "source"


def names(data: bytes) -> list[str]:
    """The archive's entries, in order."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_an_artifact_holds_the_source_and_the_spec_and_nothing_else(source: Path) -> None:
    artifact = build_artifact(orders, source)
    assert names(artifact.data) == ["flow.json", "tests/flows/__init__.py", "tests/flows/orders.py"]
    assert artifact.sha256 == hashlib.sha256(artifact.data).hexdigest()
    with zipfile.ZipFile(io.BytesIO(artifact.data)) as archive:
        assert FlowSpec.from_json(archive.read("flow.json")) == artifact.spec == orders.build()
        assert {stat.S_IFMT(entry.external_attr >> 16) for entry in archive.infolist()} == {stat.S_IFREG}


def test_times_and_the_order_of_writing_do_not_change_a_byte(source: Path, tmp_path: Path) -> None:
    first = build_artifact(orders, source)
    other = tmp_path / "other"
    (other / "tests" / "flows").mkdir(parents=True)
    for name in ("orders.py", "__init__.py"):
        shutil.copy(FLOWS / name, other / "tests" / "flows" / name)
        os.utime(other / "tests" / "flows" / name, (10**9, 10**9))
        (other / "tests" / "flows" / name).chmod(0o755)
    assert build_artifact(orders, other) == first


def test_a_module_in_a_package_brings_its_whole_package(source: Path) -> None:
    (source / "tests" / "__init__.py").touch()
    whole = ["flow.json", "tests/__init__.py", "tests/flows/__init__.py", "tests/flows/orders.py"]
    assert names(build_artifact(orders, source / "tests" / "flows" / "orders.py").data) == whole
    assert names(build_artifact(orders, source / "tests" / "flows").data) == whole


def test_source_without_the_flows_module_is_refused(source: Path) -> None:
    with pytest.raises(ArtifactError, match=r"the flow's module 'tests.flows.orders' is not in .*Give the folder"):
        build_artifact(orders, source / "tests" / "flows")


@pytest.mark.parametrize("target", ["orders.py", "."], ids=["file", "folder"])
def test_a_link_is_refused(source: Path, target: str) -> None:
    (source / "tests" / "flows" / "linked.py").symlink_to(target)
    with pytest.raises(ArtifactError, match=r"linked\.py is a link"):
        build_artifact(orders, source)


def test_too_much_source_is_refused_with_its_size(source: Path) -> None:
    (source / "large.py").write_text("#" * 5_000)
    with pytest.raises(ArtifactError, match="more than the 5,000 allowed"):
        build_artifact(orders, source, bytes_max=5_000)


def test_a_source_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        build_artifact(orders, tmp_path / "nothing")
