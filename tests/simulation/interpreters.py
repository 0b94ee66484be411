"""One seed, one trace: in two runs of each version of CPython that this machine has.

Each version gets an environment of its own from the same lock, in `.venv-VERSION`; one that the machine does not have is named.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.simulation.arguments import count

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.12", "3.13", "3.14")
BUILD_WITHIN_S = 600
PLAY_WITHIN_S = 600


def digests(python: str, seeds: int) -> list[str]:
    """A line a seed: its number and the SHA-256 of its trace, played by this interpreter."""
    command = [python, "-m", "tests.simulation", "--seeds", str(seeds), "--jobs", "1", "--digest"]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=PLAY_WITHIN_S
    ).stdout.splitlines()


def find(version: str) -> str | None:
    """The interpreter of a version, if the machine has it: on the path, or where version managers keep them."""
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
    """The interpreter of `.venv-VERSION`, made from the lock if it is not there."""
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


def main() -> int:
    """Exit 1 if two runs of one version give other traces. Two versions may: what happens in one instant takes them other rounds."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.interpreters", description=__doc__)
    parser.add_argument("--seeds", type=count, default=6)
    options = parser.parse_args()
    ours = digests(sys.executable, options.seeds)
    differing = [] if digests(sys.executable, options.seeds) == ours else ["this one"]
    for version in VERSIONS:
        python = find(version)
        if python is None:
            print(f"CPython {version}: not on this machine")
            continue
        made = environment(version, python)
        theirs = digests(made, options.seeds)
        itself = digests(made, options.seeds) == theirs
        same = sum(theirs[seed] == ours[seed] for seed in range(options.seeds))
        differing += [] if itself else [version]
        verdict = "two runs alike" if itself else "TWO RUNS DIFFER"
        print(f"CPython {version}: {options.seeds} seeds, {verdict}; {same} of them as with this one", flush=True)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
