"""What a type checker says of an author's flows: nothing where they are right, the line where they are wrong."""

import shutil
from pathlib import Path

import pytest
from mypy import api

EXAMPLE = Path(__file__).parents[2] / "flows" / "example" / "shop_reports"
SOURCE = """
from typing import assert_type

from dagy_control.sdk import flow, task


@task(retries=2, retry_delay_seconds=[1, 2])
def fetch(region: str, day: str, *, limit: int = 3) -> list[int]:
    return [limit]


@task
async def total(orders: list[int]) -> int:
    return sum(orders)


@task(timeout_seconds=5)
async def largest(orders: list[int]) -> int:
    return max(orders)


@task(isolation="thread")
def report(totals: list[int], day: str) -> str:
    return f"{day}: {sum(totals)}"


@flow(version="1")
def daily(day: str, best: int = 3) -> str:
    orders = fetch.map(["a", "b"], day, limit=best)
    return report([*map(total, orders), largest(orders[0])], day)


assert_type(fetch("a", "b"), list[int])
assert_type(fetch.map(["a"], day="b"), list[list[int]])
assert_type(total([1]), int)
assert_type(largest([1]), int)
assert_type(daily.run_local(day="x"), str)
assert_type(daily("x", best=1), str)
"""
WRONG = {
    'fetch(1, "b")': "arg-type",
    'fetch.map(["a"])': "call-arg",
    'fetch.map(["a"], dya="b")': "call-arg",
    'report([fetch("a", "b")], "x")': "list-item",
    'daily.run_local(dya="b")': "call-arg",
    "task(retires=3)": "call-overload",
}

pytestmark = pytest.mark.long


def checked(folder: Path, *files: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """What `mypy --strict` says in that folder, without any settings of ours."""
    monkeypatch.chdir(folder)
    out, err, code = api.run(["--strict", "--config-file=", "--no-incremental", *files])
    return out + err, code


def test_a_users_flows_pass_a_strict_type_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "shop_reports", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "daily.py").write_text(SOURCE)
    said, code = checked(tmp_path, "daily.py", "shop_reports", monkeypatch=monkeypatch)
    assert code == 0, said


def test_a_wrong_call_is_told_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "daily.py").write_text(SOURCE + "\n".join(WRONG) + "\n")
    first = len(SOURCE.splitlines()) + 1
    said, _ = checked(tmp_path, "daily.py", monkeypatch=monkeypatch)
    for line, kind in enumerate(WRONG.values(), first):
        found = [each for each in said.splitlines() if each.startswith(f"daily.py:{line}: error")]
        assert any(f"[{kind}]" in each for each in found), (line, kind, said)
