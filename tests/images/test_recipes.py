"""The recipes, read: base images by argument, a context that names what it takes, locks that follow the main one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.containers import ROOT

RECIPES = ("Dockerfile", "Dockerfile.worker")
LOCKS = sorted((ROOT / "deploy" / "images").glob("*.lock"))
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)

each_recipe = pytest.mark.parametrize("recipe", RECIPES)
each_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)


@each_recipe
def test_every_stage_is_from_the_base_that_a_release_pins_by_digest(recipe: str) -> None:
    text = (ROOT / recipe).read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE_IMAGE}"] * 2
    assert re.findall(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE) == ["docker.io/library/python:3.12-slim-bookworm"]


@each_recipe
def test_nothing_is_installed_but_from_a_lock_with_hashes(recipe: str) -> None:
    installs = re.findall(r"pip install (.*?)(?= \\?\n|&&|$)", (ROOT / recipe).read_text(), re.MULTILINE)
    assert len(installs) == 3
    for options in installs:
        assert "--require-hashes" in options or ("--no-deps" in options and options.endswith("/src/dist/*.whl")), (
            options
        )


def test_both_recipes_differ_only_where_they_must() -> None:
    """One is changed, the other forgotten: what both have is the same, word for word, stage by stage."""
    daemon, worker = ((ROOT / recipe).read_text().partition("FROM")[2] for recipe in RECIPES)
    build_daemon, build_worker = (text.partition("\nFROM")[0] for text in (daemon, worker))
    assert build_daemon.replace("daemon.lock", "worker.lock") == build_worker


@each_lock
def test_an_images_lock_is_a_part_of_the_main_one(lock: Path) -> None:
    main = dict(PINNED.findall((ROOT / "requirements.lock").read_text()))
    part = dict(PINNED.findall(lock.read_text()))
    assert part
    assert {name: version for name, version in part.items() if main.get(name) != version} == {}


@each_lock
def test_an_images_lock_holds_names_versions_and_hashes_and_no_address(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_what_is_for_developers_and_for_the_embedded_cloud_is_in_no_image() -> None:
    for name in ("daemon.lock", "worker.lock"):
        packages = set(dict(PINNED.findall((ROOT / "deploy" / "images" / name).read_text())))
        assert packages & {"pytest", "mypy", "ruff", "moto", "hypothesis", "hatchling", "psutil", "pip"} == set()
        assert ("uv" in packages) == (name == "worker.lock"), "the worker installs dependency packages"


def test_the_context_takes_nothing_that_is_not_named() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert taken == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "dagy_control",
        "deploy",
        "deploy/images",
        "deploy/images/*.lock",
    }


@pytest.mark.images
@each_recipe
def test_hadolint_has_nothing_to_say(recipe: str) -> None:
    linter = shutil.which("hadolint")
    assert linter, "`make images` puts it on the PATH"
    done = subprocess.run([linter, str(ROOT / recipe)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
