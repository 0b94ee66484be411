"""What is in both images and how they behave by themselves, without any cloud."""

import json
import re
import time
from uuid import uuid4

import pytest

from dagy_control import __version__
from tests.images.containers import DAEMON, READ_ONLY, ROOT, WORKER, config_of, podman, run

pytestmark = [pytest.mark.images, pytest.mark.timeout(300)]

both = pytest.mark.parametrize("image", [pytest.param(DAEMON, id="daemon"), pytest.param(WORKER, id="worker")])

LOCKS = {DAEMON: "daemon.lock", WORKER: "worker.lock"}

ORPHANS = """
import os, pathlib, time
reads, writes = os.pipe()
if not os.fork():
    for _ in range(3):
        if not os.fork():
            os._exit(0)
    os._exit(0)
os.close(writes)
os.read(reads, 1)
os.wait()
def state(path):
    try:
        return path.read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
def zombies():
    return [state(path) for path in pathlib.Path("/proc").glob("[0-9]*/stat")].count("Z")
time.sleep(0.3)
until = time.monotonic() + 10
while zombies() and time.monotonic() < until:
    time.sleep(0.05)
print("zombies:", zombies())
"""
"""Leaves three ended processes whose parent has gone: process 1 must wait for them."""


COMPILE = """
cd /tmp
cat >native.c <<C
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "native"};
PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&module); }
C
gcc -shared -fPIC -I"$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')" native.c -o native.so
python3 -c 'import native; print(native.__name__)'
g++ --version | head -1
make --version | head -1
uv --version
"""


def entry_point(image: str) -> list[str]:
    words: list[str] = config_of(image)["Entrypoint"]
    return words


@both
def test_the_image_says_who_runs_it_how_it_is_stopped_and_where_it_is_from(image: str) -> None:
    config = config_of(image)
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert entry_point(image)[:2] == ["tini", "--"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == image.removeprefix("localhost/").removesuffix(":local")
    assert labels["version"] == __version__
    assert re.fullmatch(r"[0-9a-f]{40}", labels["revision"])
    assert labels["licenses"] == "Apache-2.0"
    assert "source" in labels


def test_only_the_daemon_listens_and_is_asked_for_its_health_and_only_the_worker_writes() -> None:
    daemon, worker = config_of(DAEMON), config_of(WORKER)
    assert list(daemon["ExposedPorts"]) == ["9464/tcp"]
    assert "ExposedPorts" not in worker
    assert daemon["Healthcheck"]["Test"] == ["CMD", "python3", "-m", "dagy_control.entrypoints.healthcheck"]
    assert worker["Healthcheck"] is None
    assert "Volumes" not in daemon
    assert list(worker["Volumes"]) == ["/tmp"]  # noqa: S108 - the image's own


def test_the_health_check_fails_where_no_daemon_answers() -> None:
    done = run(DAEMON, "python3", "-m", "dagy_control.entrypoints.healthcheck", options=("--env", "DAGY_API__PORT=1"))
    assert done.returncode == 1
    assert "nobody answers on port 1" in done.stdout


@both
def test_exactly_what_the_lock_names_is_installed(image: str) -> None:
    code = "import importlib.metadata as m; print(*sorted(f'{d.name.lower()}=={d.version}' for d in m.distributions()))"
    installed = run(image, "python3", "-c", code).stdout.split()
    lock = (ROOT / "deploy" / "images" / LOCKS[image]).read_text()
    other = re.compile(
        r"^(\S+==\S+)(?= ; )", re.MULTILINE
    )  # with a condition: for other systems or interpreters, perhaps
    locked = set(re.findall(r"^(\S+==\S+)", lock, re.MULTILINE))
    names = {re.sub(r"[_.]", "-", each) if "==" not in each else _normal(each) for each in installed}
    assert f"dagy-control=={__version__}" in names
    missing = {_normal(each) for each in locked} - names
    assert missing <= {_normal(each) for each in other.findall(lock)}
    assert names - {_normal(each) for each in locked} == {f"dagy-control=={__version__}"}


@both
def test_everything_starts_from_bytecode_and_no_cache_of_an_installer_is_left(image: str) -> None:
    loaded = run(
        image, "python3", "-v", "-c", "import dagy_control.entrypoints.worker, dagy_control.entrypoints.control"
    )
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    sources = [line for line in loaded.stderr.splitlines() if re.match(r"# code object from '?\S+\.py'?$", line)]
    assert sources == []
    assert loaded.stderr.count(" matches ") > 500, "the interpreter says which bytecode it takes"
    places = ["/root/.cache", "/root/.local", "/tmp/uv", "/src", "/opt/build", "/var/lib/apt/lists/lock"]  # noqa: S108 - the image's own
    found = run(image, "sh", "-c", f"ls -d {' '.join(places)} 2>/dev/null; true").stdout
    assert found == ""


@both
def test_process_1_reaps_what_nobody_waits_for(image: str) -> None:
    done = run(image, *entry_point(image)[:2], "python3", "-c", ORPHANS)
    assert done.stdout.strip() == "zombies: 0", done.stderr


@pytest.mark.parametrize(
    ("image", "command"),
    [
        pytest.param(DAEMON, ["serve"], id="daemon"),
        pytest.param(WORKER, [], id="worker"),
    ],
)
def test_a_sigterm_in_the_first_moment_ends_the_container_at_once(image: str, command: list[str]) -> None:
    """Without an init it is lost: the kernel drops a signal to process 1 for which there is no handler yet."""
    name = f"first-moment-{uuid4()}"
    environment = (
        "--env",
        "DAGY_RUN_ID=r",
        "--env",
        "DAGY_ATTEMPT=1",
        "--env",
        "ECS_CONTAINER_METADATA_URI_V4=http://127.0.0.1:1",
    )
    podman("run", "--detach", "--no-healthcheck", "--name", name, *READ_ONLY, *environment, image, *command)
    try:
        began = time.monotonic()
        podman("stop", "--time", "60", name)
        state = json.loads(podman("inspect", "--format", "{{json .State}}", name).stdout)
        assert state["ExitCode"] == 128 + 15, f"after {time.monotonic() - began:.1f} s"
    finally:
        podman("rm", "--force", "--volumes", "--time", "0", name)


def test_the_workers_image_compiles_an_extension_and_holds_uv() -> None:
    done = run(WORKER, "sh", "-ec", COMPILE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("native\n")
    assert "\nuv " in done.stdout


def test_a_read_only_root_leaves_the_worker_its_volume_only() -> None:
    done = run(
        WORKER, "sh", "-c", "touch /tmp/a && echo yes; for f in / /opt/dagy /var/tmp /run /etc; do touch $f/a; done"
    )
    assert done.stdout == "yes\n"
    assert done.stderr.count("Read-only file system") == 5


def _normal(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"
