"""What every test leaves behind as it found it."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from dagy_control.kernel.telemetry import CHATTY_LIBRARIES


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A test that configures logging, as a process does at its start, must not decide what the next one sees."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        root.handlers[:], root.level = handlers, level
        for name in (*CHATTY_LIBRARIES, "uvicorn"):
            logging.getLogger(name).setLevel(logging.NOTSET)
        structlog.reset_defaults()
