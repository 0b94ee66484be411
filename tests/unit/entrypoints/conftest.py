"""What every test of a command needs: a process whose environment and logging are its own."""

import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def own_process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the machine's environment counts, and the logging that a command sets up goes with its test."""
    for name in os.environ:
        if name.startswith(("DAGY_", "AWS_")) or name in {"ENVIRONMENT", "DRY_RUN", "ECS_CLUSTER"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    root, config, path = logging.getLogger(), structlog.get_config(), list(sys.path)
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)
    sys.path[:] = path
