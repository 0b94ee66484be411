"""Every symptom that docs/worker.md lists, provoked: its class and its message are what the document says."""

import hashlib
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dagy_control.errors import Permanent
from dagy_control.kernel.tasks import start_task
from dagy_control.worker import disk
from tests.builders import ARN, launching
from tests.flows.running import until
from tests.hostile_archives import HOSTILE, a_zip
from tests.working import MODULE, URI, Working, a_flow, a_task

DOCUMENT = Path(__file__).parents[3] / "docs" / "worker.md"

SOURCE = b"""
import os, pathlib, signal, time


def load():
    return 1


def be_killed(number, counted=None):
    if counted:
        pathlib.Path(counted, "memory.events").write_text("oom_kill 1\\n")
    os.kill(os.getpid(), number)


def leave():
    os._exit(3)


def eat():
    raise MemoryError("no room for 9 GiB")


def hang(folder=None):
    if folder:
        (pathlib.Path(folder) / "here").touch()
    while True:
        time.sleep(0.01)
"""
UNGUARDED = b"""
from dagy_control.sdk import flow, task

@task
def load():
    return 1

@flow(version="1")
def etl():
    return load()

etl.run_local()
"""
NEEDS_A_LIBRARY = b"import no_such_library\n\n\ndef load():\n    return 1\n"
NEEDS_A_HIDDEN_ONE = b"import email.mime.text\n\n\ndef load():\n    return 1\n"


def documented() -> dict[str, tuple[str, str]]:
    """From symptom to (message, class)."""
    section = DOCUMENT.read_text().partition("## Symptoms")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0].strip(): (row[1].strip(), row[2].strip()) for row in rows[1:]}


def said(message: str, pattern: str) -> bool:
    """Whether a message is what the document says, in which … stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), message, re.DOTALL) is not None


def world(*tasks: Any, source: bytes = SOURCE, files: dict[str, bytes] | None = None, **run: Any) -> Working:
    spec = a_flow(*(tasks or (a_task("load"),)))
    return Working(spec, {f"{MODULE}.py": source, **(files or {})}, launching(**run))


def with_package(content: bytes) -> Working:
    made = world(dep_package_slugs=("science-1",))
    made.add_package("science-1", content)
    return made


def changed(change: Callable[[Working], None], made: Working | None = None) -> Working:
    made = made or world()
    change(made)
    return made


def killed(folder: Path, number: signal.Signals, *, by_the_kernel: bool = False) -> Working:
    """A task that is killed, in a container of 512 MiB."""
    (folder / "memory.events").write_text("oom_kill 0\n")
    (folder / "memory.max").write_text(f"{512 * 1024 * 1024}\n")
    task = a_task("be_killed", int(number), str(folder) if by_the_kernel else None)
    return Working(a_flow(task), {f"{MODULE}.py": SOURCE}, launching(), cgroup_dir=folder)


def forbidden(made: Working) -> None:
    error = Permanent("Access Denied (GetObject: AccessDenied)", code="AccessDenied")
    made.artifacts.next_error("download", error, times=9)


def damaged(made: Working) -> None:
    (key, record), *_ = made.flows.records.items()
    made.artifacts.objects[URI] = data = HOSTILE["zip: truncated"]
    made.flows.records[key] = replace(record, artifact_sha256=hashlib.sha256(data).hexdigest())


def without_its_package(made: Working) -> None:
    del made.artifacts.objects[made.packages.records["science-1"].package_s3_uri]


SYMPTOMS: dict[str, Callable[[Path], Working]] = {
    "the flow's version is gone": lambda _: world(flow_version="2"),
    "artifact missing": lambda _: changed(lambda made: made.artifacts.objects.clear()),
    "artifact forbidden": lambda _: changed(forbidden),
    "artifact changed": lambda _: changed(lambda made: made.artifacts.objects.update({URI: b"other"})),
    "artifact damaged or hostile": lambda _: changed(damaged),
    "disk full": lambda _: world(),
    "package unknown": lambda _: world(dep_package_slugs=("science-1",)),
    "package of another organisation": lambda _: world(dep_package_slugs=("globex/own",)),
    "package missing": lambda _: changed(without_its_package, with_package(a_zip(("own.py", b"")))),
    "package damaged": lambda _: with_package(HOSTILE["tar.gz: truncated"]),
    "dependency install fails": lambda _: with_package(a_zip(("requirements.txt", b"no-such-library==1\n"))),
    "module not in the artifact": lambda _: world(a_task("dagy_test_elt:load")),
    "attribute not in the module": lambda _: world(a_task("lod")),
    "library missing": lambda _: world(source=NEEDS_A_LIBRARY),
    "library hidden": lambda _: world(source=NEEDS_A_HIDDEN_ONE, files={"email.py": b""}),
    "out of memory": lambda _: world(a_task("eat")),
    "killed for memory": lambda folder: killed(folder, signal.SIGKILL, by_the_kernel=True),
    "killed by somebody": lambda folder: killed(folder, signal.SIGKILL),
    "a library crashes": lambda folder: killed(folder, signal.SIGSEGV),
    "a task leaves": lambda _: world(a_task("leave")),
    "the script's guard is missing": lambda _: world(source=UNGUARDED),
    "timeout": lambda _: world(a_task("hang", timeout_seconds=0.2)),
    "wrong parameters": lambda _: world(parameters='{"dya": 1}'),
    "SIGTERM": lambda folder: world(a_task("hang", str(folder))),
}


def test_the_document_lists_just_the_symptoms_that_are_provoked_here() -> None:
    assert list(documented()) == list(SYMPTOMS)


@pytest.mark.parametrize("symptom", SYMPTOMS)
async def test_a_symptom_is_told_as_documented(symptom: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if symptom == "disk full":
        monkeypatch.setattr(disk, "RESERVE_BYTES", 1 << 62)
    made = SYMPTOMS[symptom](tmp_path)
    work = start_task(made.worker.run(run_id="r1", attempt=1, task_arn=ARN), name="the worker")
    if symptom == "SIGTERM":
        await until((tmp_path / "here").exists)
        made.worker.request_shutdown()
    assert await work != 0
    message, failure_class = documented()[symptom]
    run = made.run
    told = run.error_message or run.result_message or ""
    assert (run.failure_class or run.result_class) == failure_class, told
    assert said(told, message), told
