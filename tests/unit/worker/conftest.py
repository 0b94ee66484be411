"""What every test of the worker needs."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_sys_path() -> Iterator[None]:
    """A worker's process runs one attempt and ends; here the next test must not see its folder."""
    before = list(sys.path)
    yield
    sys.path[:] = before
