"""`dagy-control packages`: what a worker would refuse is refused before it is uploaded."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dagy_control.entrypoints.cli import app
from dagy_control.entrypoints.command import EXIT_REFUSED
from tests.hostile_archives import HOSTILE, a_zip


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        pytest.param(
            "x.zip", HOSTILE["zip: parent"], "no package that a worker would take: it holds '../evil.py'", id="zip"
        ),
        pytest.param("x.tar.gz", HOSTILE["tar.gz: hard link"], "a link", id="tar.gz"),
        pytest.param("x.whl", HOSTILE["zip: symlink"], "a link", id="wheel"),
        pytest.param("x.zip", a_zip(("readme.txt", b"")), "no Python package or module, no wheel", id="no Python"),
        pytest.param("x.zip", b"PK", "damaged", id="damaged"),
        pytest.param("x.txt", b"hello", "neither a ZIP nor a tar.gz", id="no archive"),
        pytest.param(
            "large.zip", bytes(2 * 1024 * 1024), "more than worker.dep_package_max_mib allows", id="too large"
        ),
        pytest.param("none.zip", None, "cannot be read: No such file", id="not there"),
    ],
)
def test_a_package_that_no_worker_would_take_is_refused_before_anything_is_sent(
    name: str, content: bytes | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("DAGY_WORKER__DEP_PACKAGE_MAX_MIB", "1")
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    result = CliRunner().invoke(app, ["packages", "add", "own", str(file)])
    assert (result.exit_code, result.stdout) == (EXIT_REFUSED, "")
    assert told in result.stderr


def test_a_bad_slug_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = CliRunner().invoke(app, ["packages", "add", "../own", str(tmp_path / "none.zip")])
    assert result.exit_code == EXIT_REFUSED
    assert "must be a name, or ORGANISATION/NAME" in result.stderr
