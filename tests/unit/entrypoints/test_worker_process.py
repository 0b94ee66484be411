"""`dagy-worker` before its attempt: whatever keeps it from starting ends in the reserved code, and nothing has run."""

import json
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from dagy_control.entrypoints.worker import main
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED

START = {"DAGY_RUN_ID": "r1", "DAGY_ATTEMPT": "1", "AWS_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def own_process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the machine's environment counts, and the logging that a worker sets up goes with its test."""
    for name in os.environ:
        if name.startswith(("DAGY_", "AWS_", "ECS_")):
            monkeypatch.delenv(name)
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        pytest.param({"DAGY_RUN_ID": ""}, "DAGY_RUN_ID and DAGY_ATTEMPT must say", id="no run"),
        pytest.param({"DAGY_ATTEMPT": ""}, "DAGY_RUN_ID and DAGY_ATTEMPT must say", id="no attempt"),
        pytest.param({"DAGY_ATTEMPT": "one"}, "DAGY_RUN_ID and DAGY_ATTEMPT must say", id="an attempt in words"),
        pytest.param({"DAGY_WORKER__DRAIN_S": "long"}, "DAGY_WORKER__DRAIN_S", id="a bad setting"),
        pytest.param({"DAGY_CONFIG": "/nowhere/dagy.toml"}, "/nowhere/dagy.toml", id="a file that is not there"),
    ],
)
def test_a_worker_that_cannot_start_exits_with_the_reserved_code_and_says_why(
    environment: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**START, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_CLAIM_REFUSED == 75
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["event_type"] == "claim_failed"
    assert told in json.dumps(lines[-1])
