"""The container agent: what podman is asked for, and what is made of its answers. tests/images has it with a real podman."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dagy_control.errors import Permanent
from dagy_control.kernel.clock import SystemClock
from dagy_control.local.agent import OUT_OF_MEMORY, AgentPolicy
from dagy_control.local.container_agent import ContainerAgent, image_and_command, run_arguments, start_failure
from dagy_control.local.ecs_lifecycle import StartContainer
from dagy_control.local.podman import require_image
from tests.fakes.reports import Told

START = StartContainer(
    task_arn="arn:aws:ecs:us-east-1:123456789012:task/c/t1",
    container_name="worker",
    command=("--run", "r1"),
    environment={"B": "two words"},
    cpu=512,
    memory_mib=1024,
    stop_timeout_s=30,
    image="localhost/dagy-worker:local",
)

FAKE = """#!/bin/sh
echo "$@" >>"$FAKE_FOLDER/asked"
case $1 in
run)
    [ -z "$FAKE_COMPLAINT" ] || { echo "Error: $FAKE_COMPLAINT" >&2; exit 125; }
    while [ "$1" != --pidfile ]; do shift; done
    [ -z "$FAKE_OOM" ] || touch oom
    echo 4711 >"$2"
    exit "$FAKE_CODE" ;;
inspect) [ -z "$FAKE_COMPLAINT" ] && echo "{\\"Running\\": false, \\"ExitCode\\": $FAKE_CODE, \\"OOMKilled\\": false}" ;;
image) exit "$FAKE_CODE" ;;
esac
"""


@pytest.fixture
def fake_podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A podman that does as its environment says; the commands that it was given are in `asked`."""
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "podman").write_text(FAKE)
    (folder / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_FOLDER", str(folder))
    return folder


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({"FAKE_CODE": "7"}, [("started",), ("exited", 7, "")], id="an exit code"),
        pytest.param(
            {"FAKE_CODE": "137", "FAKE_OOM": "1"}, [("started",), ("exited", 137, OUT_OF_MEMORY)], id="out of memory"
        ),
        pytest.param({"FAKE_CODE": "137"}, [("started",), ("exited", 137, "")], id="killed by somebody"),
        pytest.param({"FAKE_CODE": "1", "FAKE_OOM": "1"}, [("started",), ("exited", 1, "")], id="only a child killed"),
        pytest.param(
            {"FAKE_COMPLAINT": "dagy-worker: image not known"},
            [("failed to start", "CannotPullContainerError: dagy-worker: image not known")],
            id="no image",
        ),
        pytest.param(
            {"FAKE_COMPLAINT": "no such runtime"},
            [("failed to start", "CannotStartContainerError: no such runtime")],
            id="podman cannot",
        ),
    ],
)
async def test_the_end_of_a_container_is_reported_as_ecs_tells_it(
    environment: dict[str, str],
    expected: list[tuple[object, ...]],
    fake_podman: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    told = Told()
    policy = AgentPolicy(workdir=tmp_path / "work", environment={}, metadata_url="http://127.0.0.1:1/v4")
    agent = ContainerAgent(policy, clock=SystemClock(), reports=told)
    agent.start()
    try:
        agent.apply(START)
        async with asyncio.timeout(30):
            await told.ended.wait()
    finally:
        await agent.stop()
    assert told.reports == expected
    assert agent.pid(START.task_arn) == (4711 if expected[0] == ("started",) else None)
    asked = (fake_podman / "asked").read_text()
    assert "--env=ECS_CONTAINER_METADATA_URI_V4=http://127.0.0.1:1/v4/t1" in asked
    assert "rm --force --volumes --time 0 dagy-t1" in asked, "nothing of it stays"
    assert list((tmp_path / "work" / "containers").iterdir()) == []


def test_podman_is_asked_for_what_ecs_gives_a_container() -> None:
    asked = run_arguments(START, START.environment)
    assert asked[asked.index("--memory") : asked.index("--memory") + 4] == [
        "--memory",
        "1024m",
        "--memory-swap",
        "1024m",
    ]
    assert asked[asked.index("--cpu-shares") + 1] == "512"
    assert "--env=B=two words" in asked
    assert "--read-only" not in asked
    assert asked[asked.index("--pull") + 1] == "never"


def test_a_read_only_root_has_no_writable_places_but_the_images_own() -> None:
    asked = run_arguments(replace(START, read_only_root=True), {})
    assert {"--read-only", "--read-only-tmpfs=false"} <= set(asked)


@pytest.mark.parametrize(
    ("words", "entry_point", "rest"),
    [
        pytest.param(0, None, ["--run", "r1"], id="the image's own entry point"),
        pytest.param(1, '["--run"]', ["r1"], id="the definition's"),
    ],
)
def test_the_images_entry_point_counts_unless_the_definition_has_one(
    words: int, entry_point: str | None, rest: list[str]
) -> None:
    start = replace(START, entry_point_words=words)
    asked = run_arguments(start, {})
    assert (asked[asked.index("--entrypoint") + 1] if "--entrypoint" in asked else None) == entry_point
    assert image_and_command(start) == ["localhost/dagy-worker:local", *rest]


def test_a_start_failure_without_a_word_is_still_one() -> None:
    assert start_failure("") == "CannotStartContainerError: podman ended without a word"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        pytest.param(
            "1", "podman has no image 'mine:1' here, and nothing is pulled. Build it with `make images`", id="no image"
        ),
        pytest.param("125", "podman does not work here: exit code 125", id="podman cannot"),
    ],
)
async def test_an_image_that_podman_has_not_is_refused_with_what_to_do(
    code: str, complaint: str, fake_podman: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CODE", code)
    with pytest.raises(Permanent, match=complaint):
        await require_image("mine:1")


async def test_without_podman_the_refusal_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Permanent, match="--containers needs podman, and there is none on the PATH"):
        await require_image("mine:1")
