"""Secrets that lie about where the images are built are in no layer, no history and no configuration of them."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from uuid import uuid4

import pytest

from tests.images.containers import ROOT, podman

pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]

PLANTS = (
    ".git/config",
    ".env",
    "config.toml",
    "prod.env",
    ".venv/lib/token.txt",
    ".dagy/local/config.toml",
    "deploy/prod.env",
    "deploy/images/deployment.env",
    "deploy/images/config.toml",
    "dagy_control/.env",
    "dagy_control/local/prod.env",
    "dagy_control/config.toml",
    "dagy_control/.aws/credentials",
    "dagy_control/__pycache__/secret.pyc",
    "tests/token.txt",
)
TAKEN = ("Dockerfile", "Dockerfile.worker", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def secret() -> str:
    return f"planted-{uuid4().hex}"


@pytest.fixture(scope="module")
def images(secret: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Both images, built from a folder full of secrets, by a shell whose environment has one too."""
    context = tmp_path_factory.mktemp("context")
    for name in TAKEN:
        shutil.copy2(ROOT / name, context / name)
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "dagy_control", context / "dagy_control", ignore=without)
    shutil.copytree(ROOT / "deploy" / "images", context / "deploy" / "images")
    for plant in PLANTS:
        (context / plant).parent.mkdir(parents=True, exist_ok=True)
        (context / plant).write_text(f"token = {secret}\n")
    tag = f"planted-{uuid4().hex[:8]}"
    built = [f"localhost/dagy-control:{tag}", f"localhost/dagy-worker:{tag}"]
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": secret, "DAGY_API__TOKEN": secret}
    try:
        command = [str(ROOT / "deploy" / "images" / "build.sh"), str(context), tag]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        yield built
    finally:
        podman("rmi", "--force", *built, check=False)


def test_nothing_that_lay_about_at_the_build_is_in_a_layer(images: list[str], secret: str, tmp_path: Path) -> None:
    for image in images:
        saved = tmp_path / "image.tar"
        podman("save", "--format", "docker-archive", "--output", str(saved), image)
        names = set()
        with tarfile.open(saved) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None:
                    continue
                if member.name.endswith(".tar"):
                    names |= scan(content, secret)
                else:
                    found = secret.encode() in content.read()
                    assert not found, f"{image}: {member.name}"
        saved.unlink()
        assert any(name.endswith("site-packages/dagy_control/entrypoints/control.py") for name in names)
        assert not [name for name in names if name.startswith(("src/", "opt/build/"))], "stages that are left behind"


def test_neither_history_nor_configuration_tells_what_the_builders_environment_held(
    images: list[str], secret: str
) -> None:
    for image in images:
        described = (
            podman("image", "inspect", image).stdout + podman("history", "--no-trunc", "--format", "json", image).stdout
        )
        found = secret in described  # told apart from the assertion, which would compare megabytes
        assert not found, image
        environment = json.loads(podman("image", "inspect", image).stdout)[0]["Config"]["Env"]
        assert {each.partition("=")[0] for each in environment} <= {
            "PATH",
            "HOME",
            "PYTHONUNBUFFERED",
            "PYTHONDONTWRITEBYTECODE",
            "LANG",
            "GPG_KEY",
            "PYTHON_VERSION",
            "PYTHON_SHA256",
        }  # fmt: skip - the second line is the base's


def scan(layer: IO[bytes], secret: str) -> set[str]:
    """The names of a layer's files, none of which holds the secret; nor is the name one that only a builder has."""
    names = set()
    with tarfile.open(fileobj=layer, mode="r|*") as files:
        for each in files:
            names.add(each.name)
            content = files.extractfile(each) if each.isfile() else None
            found = content is not None and secret.encode() in content.read()
            assert not found, each.name
    return names
