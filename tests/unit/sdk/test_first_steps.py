"""What an author does first: call things as they are, in a script, a test, a notebook."""

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dagy_control.sdk import flow, task
from tests.flows.running import WAIT_S_MAX

ROOT = Path(__file__).parents[3]
SCRIPT = """
from dagy_control.sdk import flow, task

@task(isolation={isolation!r})
def double(x: int) -> int:
    return 2 * x

@flow
def doubled(x: int = 1) -> int:
    return double(x)

print(doubled.run_local(x=3))
"""


@task
async def half(x: float) -> float:
    return x / 2


@task(retries=1)
async def several(x: float, by: float = 1.0) -> float:
    return x * by


@task
def both(a: list[float], b: float) -> float:
    return sum(a) + b


@flow
def halves(x: float, by: float = 1.0) -> float:
    return both(several.map([1.0, 2.0], by), half(x))


def test_a_flow_of_coroutines_runs_as_plain_python() -> None:
    assert halves(4.0, 2.0) == 8.0
    assert half(3.0) == 1.5
    assert several.map([1.0, 2.0], by=3.0) == [3.0, 6.0]


def test_a_flow_of_coroutines_runs_on_the_engine() -> None:
    assert halves.run_local(4.0, by=2.0) == 8.0


async def test_in_an_event_loop_a_coroutine_task_gives_what_is_to_be_awaited() -> None:
    coroutine = half(3.0)
    assert asyncio.iscoroutine(coroutine)
    assert await coroutine == 1.5


def test_a_parameter_given_twice_is_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match="multiple values for x"):
        halves.run_local(4.0, x=2.0)  # type: ignore[misc]  # this is what is refused


async def test_where_an_event_loop_runs_the_other_way_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"await halves\.run_local_async"):
        halves.run_local(x=1.0)
    assert await halves.run_local_async({"x": 2.0}) == 4.0


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_a_script_without_its_guard_is_told_so_and_does_not_start_itself_again(isolation: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(isolation=isolation))
    command = [sys.executable, "script.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S_MAX, check=False)
    assert ran.returncode == 1
    says = "flow 'doubled' is run at the top level of a module that its tasks' own processes import"
    assert f'{says}; put this under `if __name__ == "__main__":` ({tmp_path}/script.py:12)' in ran.stderr


@pytest.mark.long
def test_the_wheel_says_that_it_is_typed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=WAIT_S_MAX)
    (wheel,) = tmp_path.glob("*.whl")
    assert "dagy_control/py.typed" in zipfile.ZipFile(wheel).namelist()
