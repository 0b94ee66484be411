"""Rules of the house that no linter knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dagy_control"
LINES_MAX = 350
FUNCTION_LINES_MAX = 70
CAPABILITIES = ("launching", "reconciling", "events", "orphans")


def modules() -> Iterator[Path]:
    return PACKAGE.rglob("*.py")


def test_no_file_is_longer_than_a_reader_bears() -> None:
    long = {
        str(path.relative_to(ROOT)): n for path in modules() if (n := len(path.read_text().splitlines())) > LINES_MAX
    }
    assert long == {}


def test_no_function_is_longer_than_a_reader_bears() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_capability_has_the_same_four_files(capability: str) -> None:
    names = {path.stem for path in (PACKAGE / capability).glob("*.py")}
    assert {"__init__", "decide", "effects", "metrics", "loop"} <= names


def test_every_package_says_what_may_not_happen_in_it() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("__init__.py")
        if path.parent != PACKAGE and "must not" not in (ast.get_docstring(ast.parse(path.read_text())) or "").lower()
    ]
    assert silent == []
