"""Dependency packages as a user has them: added and named by the command, imported by a flow in a real worker."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dagy_control.model.flows import TaskSpec
from dagy_control.model.runs import FailureClass, RunStatus
from tests.acceptance.held_cloud import HeldCloud, held_cloud
from tests.hostile_archives import a_targz, a_zip

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

GREETS = b"""
import pathlib
from greetings import words


def greet(folder):
    pathlib.Path(folder, "greeting").write_text(words.WORD)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HeldCloud]:
    async with held_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        task = TaskSpec(key="greet", name="greet", import_path="greeting_flow:greet", args=({"$param": "folder"},))
        await cloud.register("greeting", task, files={"greeting_flow.py": GREETS})
        yield cloud


async def command(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dagy_control.entrypoints.cli", *arguments),
        env=dict(os.environ),
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def document(answer: tuple[int, str, str]) -> Any:
    assert answer[0] == 0, answer[2]
    return json.loads(answer[1])


async def test_a_package_is_added_named_and_imported(cloud: HeldCloud, tmp_path: Path) -> None:
    file = tmp_path / "words.tar.gz"
    file.write_bytes(a_targz(("greetings/__init__.py", b""), ("greetings/words.py", b"WORD = 'bonjour'\n")))
    added = document(await command("packages", "add", "acme/words", str(file), "--json"))
    listed = document(await command("packages", "list", "--org", "acme", "--json"))
    assert listed == [added]
    assert document(await command("packages", "list", "--org", "globex", "--json")) == []

    setting = ("deployments", "set", "nightly", "--flow", "greeting", "--org", "acme", "--json")
    deployment = document(await command(*setting, "--package", "acme/words", "--param", f"folder={tmp_path}"))
    assert deployment["dep_package_slugs"] == ["acme/words"]
    run = await cloud.ended((await cloud.launch(tmp_path, deployment_name="nightly")).run_id)
    assert run.status is RunStatus.SUCCEEDED, run.error_message
    assert (tmp_path / "greeting").read_text() == "bonjour"
    events = [line["event_type"] for line in cloud.lines(run.external_id or "")]
    order = ["artifact_downloaded", "dependency_install", "dependency_ready", "dependencies_installed", "task_start"]
    assert [event for event in events if event in order] == order

    code, _, error = await command("packages", "add", "acme/words", str(_other(tmp_path)))
    assert (code, "exists with another content" in error) == (1, True)


async def test_the_same_flow_without_its_package_says_what_is_missing(cloud: HeldCloud, tmp_path: Path) -> None:
    run = await cloud.ended((await cloud.launch(tmp_path, flow_name="greeting")).run_id)
    assert run.failure_class is FailureClass.DEPENDENCY
    assert (
        "'greetings' is not in the worker's image, nor in the artifact, nor in a dependency package (the run has none)"
        in (run.error_message or "")
    )
    shown = document(await command("runs", "show", run.run_id, "--json"))
    assert shown["task_runs"][0]["trace_uri"].startswith("s3://dagy-artifacts/traces/")


async def test_another_organisations_package_cannot_be_named(cloud: HeldCloud) -> None:
    file = Path(os.environ["DAGY_CONFIG"]).with_name("own.zip")
    file.write_bytes(a_zip(("own.py", b"")))
    assert (await command("packages", "add", "globex/own", str(file)))[0] == 0
    code, _, error = await command(
        "deployments", "set", "theirs", "--flow", "greeting", "--org", "acme", "--package", "globex/own"
    )
    assert (code, "belongs to organisation 'globex'" in error) == (1, True)


def _other(folder: Path) -> Path:
    file = folder / "other.zip"
    file.write_bytes(a_zip(("greetings/__init__.py", b"")))
    return file
