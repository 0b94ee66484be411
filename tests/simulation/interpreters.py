"""One seed, one trace: in two runs of each version of CPython that this machine has.

Each version gets an environment of its own from the same lock, in `.venv-VERSION`; one that cannot be had is named with the reason, and
is an error if it is needed and CI=true.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.simulation.arguments import count

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
NEEDED = ("3.11", "3.13")
"""The oldest and the newest that the product is for: under CI=true a machine that lacks one fails."""

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
BUILD_WITHIN_S = 600
PLAY_WITHIN_S = 600


def digests(python: str, seeds: int) -> list[str]:
    """A line a seed: its number and the SHA-256 of its trace, played by this interpreter."""
    command = [python, "-m", "tests.simulation", "--seeds", str(seeds), "--jobs", "1", "--digest"]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=PLAY_WITHIN_S
    ).stdout.splitlines()


def find(version: str) -> str | None:
    """The interpreter of a version, if the machine has it: this one, on the path, or where version managers keep them."""
    if version == THIS:
        return sys.executable
    on_path = shutil.which(f"python{version}")
    kept = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    for candidate in (*kept, on_path):
        if candidate is not None and _runs(str(candidate), version):
            return str(candidate)
    return None


def _runs(python: str, version: str) -> bool:
    """Whether it is what its name says: a version manager's shim may stand for nothing."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, timeout=30, check=False)
    return answer.stdout.strip() == version


def environment(version: str, python: str) -> str:
    """The interpreter of `.venv-VERSION`, made from the lock if it is not there; of this version, this one."""
    if version == THIS:
        return python
    venv = ROOT / f".venv-{version}"
    made = venv / "bin" / "python"
    stamp = venv / ".installed-from-lock"
    lock = ROOT / "requirements.lock"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return str(made)
    subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True, timeout=BUILD_WITHIN_S)
    install = [
        str(made),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
        str(lock),
    ]
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        install = [str(uv), "pip", "install", "--quiet", "--python", str(made), "--require-hashes", "-r", str(lock)]
    subprocess.run(install, check=True, timeout=BUILD_WITHIN_S)
    stamp.touch()
    return str(made)


def compare(versions: Mapping[str, str], seeds: int) -> list[str]:
    """Play each seed twice on each version; the versions whose two runs differ. A line is printed for each."""
    differing = []
    ours: list[str] = []
    for version, python in versions.items():
        theirs, again = digests(python, seeds), digests(python, seeds)
        ours = ours or theirs
        alike = theirs == again
        differing += [] if alike else [version]
        verdict = "two runs alike" if alike else "TWO RUNS DIFFER"
        same = sum(one == other for one, other in zip(theirs, ours, strict=True))
        print(f"CPython {version}: {seeds} seeds, {verdict}; {same} of them as on {next(iter(versions))}", flush=True)
    return differing


def prepared() -> tuple[dict[str, str], dict[str, str]]:
    """By version, the interpreters that can play, and why the others cannot."""
    found, lacking = {}, {}
    for version in VERSIONS:
        python = find(version)
        if python is None:
            lacking[version] = "not on this machine"
            continue
        try:
            found[version] = environment(version, python)
        except subprocess.SubprocessError as error:
            lacking[version] = f"its environment cannot be made: {error}"
    return found, lacking


def main() -> int:
    """Exit 1 if two runs of one version give other traces. Two versions may: what happens in one instant takes them other rounds."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.interpreters", description=__doc__)
    parser.add_argument("--seeds", type=count, default=4)
    options = parser.parse_args()
    found, lacking = prepared()
    for version, why in lacking.items():
        print(f"CPython {version} is not compared: {why}", flush=True)
    needed = [version for version in NEEDED if version in lacking]
    if needed and os.environ.get("CI") == "true":
        print(f"CI=true, and CPython {' and '.join(needed)} cannot play: a seed must tell one story there too")
        return 1
    return 1 if compare(found, options.seeds) else 0


if __name__ == "__main__":
    sys.exit(main())
