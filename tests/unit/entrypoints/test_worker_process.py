"""`dagy-worker` before its attempt: whatever keeps it from starting ends in the reserved code, and nothing has run."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from dagy_control.entrypoints.worker import hide_control_variables, main, process_age_s
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


def test_our_own_variables_are_taken_out_before_anything_of_the_flows_starts() -> None:
    environ = {
        "DAGY_RUN_ID": "r1",
        "DAGY_TABLES__RUNS": "RUNS",
        "DAGY_STRANGE": "x",
        "DAGY_LOG_LEVEL": "DEBUG",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x",
        "AWS_REGION": "us-east-1",
        "STAGE": "test",
    }
    hide_control_variables(environ)
    assert environ == {
        "DAGY_RUN_ID": "r1",
        "DAGY_LOG_LEVEL": "DEBUG",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x",
        "AWS_REGION": "us-east-1",
        "STAGE": "test",
    }


def test_the_process_knows_its_age_where_linux_tells(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    fields = " ".join(["S", *("0" for _ in range(18)), str(1000 * os.sysconf("SC_CLK_TCK")), "0"])
    (tmp_path / "self" / "stat").write_text(f"42 (a (strange) name) {fields}")
    (tmp_path / "uptime").write_text("1012.50 99.0\n")
    assert process_age_s(tmp_path) == 12.5
    assert process_age_s(tmp_path / "nowhere") is None


def test_what_the_environment_holds_under_a_secret_name_is_in_no_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that is a mistake of somebody's is named, its value is not."""
    for name, value in {**START, "DAGY_ATTEMPT": "hunter22-is-it", "DB_PASSWORD": "hunter22-is-it"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGY_STRANGE_hunter22-is-it", "x")
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    assert "DAGY_STRANGE_[redacted DB_PASSWORD]" in out
    assert "hunter22" not in out
