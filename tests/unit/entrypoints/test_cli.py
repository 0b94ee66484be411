"""`dagy-control` at its edges: bad input, missing settings, AWS out of reach; what programs read from standard output."""

import json
import socket
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from dagy_control.entrypoints.cli import app
from dagy_control.entrypoints.command import EXIT_REFUSED, EXIT_UNAVAILABLE, errors_as_sentences, with_ports
from dagy_control.entrypoints.wiring import Ports
from dagy_control.kernel.telemetry import log
from dagy_control.requests.queue_bound import QueueFull

GOOD_FLOW = """
from dagy_control.sdk import flow, task

@task
def load():
    return 1

@flow(version="1")
def etl():
    return load()

something_else = 3
"""
LAUNCHABLE = {
    "DAGY_ECS_CLUSTER_ARN": "dagy",
    "DAGY_ECS_EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/execution",
    "DAGY_ECS_TASK_ROLE_ARN": "arn:aws:iam::123456789012:role/task",
    "DAGY_ECS_SUBNETS": "subnet-1",
    "DAGY_ECS_SECURITY_GROUPS": "sg-1",
}


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> str:
    """AWS is a loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refusal(*arguments: str) -> str:
    """The one sentence with which a command is refused: on standard error, without a traceback, exit 1."""
    result = run(*arguments)
    assert result.exit_code == EXIT_REFUSED, result.output
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit), result.exception
    (line,) = result.stderr.splitlines()
    return line


# Refused: exit 1.


def test_a_launch_without_settings_names_each_that_is_missing() -> None:
    assert refusal("runs", "launch", "etl", "--org", "acme") == (
        "error: Requested backend 'ecs' is not available. Ensure DAGY_ECS_CLUSTER_ARN is set. "
        "Missing settings: DAGY_ECS_CLUSTER_ARN, DAGY_ECS_EXECUTION_ROLE_ARN, DAGY_ECS_TASK_ROLE_ARN, "
        "DAGY_ECS_SUBNETS, DAGY_ECS_SECURITY_GROUPS."
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--param", "day"], "--param 'day' must look like NAME=VALUE", id="param"),
        pytest.param(["--param", "=x"], "--param '=x' must look like NAME=VALUE", id="param without a name"),
        pytest.param(["-p", "n=1", "-p", "n=2"], "--param gives 'n' twice, '1' and '2'", id="param twice"),
        pytest.param(["-e", "A=1", "-e", "A=2"], "--env gives 'A' twice", id="env twice"),
        pytest.param(["--env", "A"], "--env 'A' must look like NAME=VALUE", id="env"),
        pytest.param(["--env", "DAGY_RUN_ID=x"], "DAGY_RUN_ID belongs to dagy_control", id="a reserved variable"),
        pytest.param(["--profile", "huge"], "large, medium, small, xlarge", id="profile"),
        pytest.param(["--memory", "3000"], "512 CPU / 3072 MiB", id="memory"),
        pytest.param(["--idempotency-key", ""], "idempotency key", id="idempotency key"),
        pytest.param(["--max-attempts", "0"], "max_attempts must be 1 to 20, not 0", id="attempts"),
    ],
)
def test_a_bad_launch_is_refused_before_aws_is_asked(
    arguments: list[str], told: str, unreachable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LAUNCHABLE.items():
        monkeypatch.setenv(name, value)
    assert told in refusal("runs", "launch", "etl", "--org", "acme", *arguments)


@pytest.mark.parametrize("command", ["local", "demo"])
def test_a_work_folder_that_cannot_be_one_is_refused(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(command, "--workdir", str(tmp_path / "file"), *(["--port", "0"] if command == "local" else []))
    assert result.exit_code == EXIT_REFUSED
    assert isinstance(result.exception, SystemExit), result.exception
    assert "cannot be the work folder: File exists" in result.output


def test_a_list_of_nobodys_runs_says_what_to_give() -> None:
    assert refusal("runs", "list") == "error: say whose runs: --org ORGANISATION, or --correlation-id BATCH"


def test_a_scan_without_a_cluster_names_the_setting() -> None:
    line = refusal("orphans", "scan")
    assert "ecs.cluster_arn" in line
    assert "DAGY_ECS_CLUSTER_ARN" in line


def test_a_daemon_without_settings_names_them_and_the_way_out() -> None:
    line = refusal("serve")
    assert "DAGY_ECS_CLUSTER_ARN" in line
    assert "launching.enabled = false" in line


def test_a_daemon_without_launching_still_needs_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGY_LAUNCHING__ENABLED", "false")
    assert "DAGY_ECS_CLUSTER_ARN" in refusal("serve")


@pytest.mark.parametrize(
    "arguments", [["runs", "list", "--org", "acme"], ["serve"], ["tables", "create"]], ids=lambda each: each[0]
)
def test_a_bad_configuration_is_refused_with_place_key_and_remedy(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "dagy.toml"
    file.write_text("[api]\nprt = 1\n", encoding="utf-8")
    line = refusal(*arguments, "--config", str(file))
    assert line == f"error: {file}:2: api.prt = 1 is not a setting; did you mean api.port?"


def test_a_configuration_that_is_not_there_is_refused_by_its_path(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in refusal("runs", "list", "--org", "a", "--config", str(tmp_path / "none.toml"))


def test_config_check_of_a_broken_file_tells_where_it_breaks(tmp_path: Path) -> None:
    file = tmp_path / "dagy.toml"
    file.write_text("[api\nport = 1\n", encoding="utf-8")
    result = run("config", "check", str(file))
    assert result.exit_code == EXIT_REFUSED
    assert f"{file}:1" in result.stdout
    assert "remedy" in result.stdout
    document = json.loads(run("config", "check", str(file), "--json").stdout)
    assert document["ok"] is False


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        pytest.param(None, "nothing", "MODULE:FLOW", id="no colon"),
        pytest.param(None, "dagy_cli_flow:", "MODULE:FLOW", id="no flow"),
        pytest.param(None, ":etl", "MODULE:FLOW", id="no module"),
        pytest.param(None, "dagy_cli_nowhere:etl", "No module named 'dagy_cli_nowhere'", id="no such module"),
        pytest.param(None, ".relative:etl", ".relative cannot be imported", id="a relative name"),
        pytest.param(GOOD_FLOW, "dagy_cli_flow:elt", "has no flow 'elt'", id="no such flow"),
        pytest.param(GOOD_FLOW, "dagy_cli_flow:something_else", "has no flow 'something_else'", id="not a flow"),
        pytest.param("def broken(:\n", "dagy_cli_flow:etl", "dagy_cli_flow.py:1)", id="a syntax error"),
        pytest.param(
            "\n1 / 0\n", "dagy_cli_flow:etl", "ZeroDivisionError: division by zero", id="a module that raises"
        ),
        pytest.param("\n1 / 0\n", "dagy_cli_flow:etl", "dagy_cli_flow.py:2)", id="and where it does"),
        pytest.param("import sys; sys.exit(3)", "dagy_cli_flow:etl", "SystemExit", id="a script that exits"),
        pytest.param(
            "\nimport dagy_cli_lib",
            "dagy_cli_flow:etl",
            "No module named 'dagy_cli_lib' (",
            id="a library that is missing",
        ),
        pytest.param("\nimport dagy_cli_lib", "dagy_cli_flow:etl", "dagy_cli_flow.py:2)", id="and where it is missed"),
        pytest.param(
            GOOD_FLOW,
            "dagy_cli_flow:elt",
            "has no flow 'elt'. It has: etl",
            id="no such flow, and those that are there",
        ),
        pytest.param(GOOD_FLOW, "dagy_cli_flow:load", "'load' of dagy_cli_flow is a task", id="a task"),
        pytest.param(
            f"{GOOD_FLOW}\netl.run_local()\n",
            "dagy_cli_flow:etl",
            'put this under `if __name__ == "__main__":`',
            id="a flow that is run while it is imported",
        ),
        pytest.param(
            GOOD_FLOW.replace("return load()", "return 1 / 0"),
            "dagy_cli_flow:etl",
            "ZeroDivisionError",
            id="a body that raises",
        ),
        pytest.param(
            GOOD_FLOW.replace("return load()", "return load() / 0"),
            "dagy_cli_flow:etl",
            "task 'load'",
            id="a body that computes",
        ),
    ],
)
def test_a_flow_that_cannot_be_built_is_refused_and_nothing_is_asked_of_aws(
    source: str | None, target: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreachable: str
) -> None:
    monkeypatch.delitem(sys.modules, "dagy_cli_flow", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    if source is not None:
        (tmp_path / "dagy_cli_flow.py").write_text(source, encoding="utf-8")
    assert told in refusal("flows", "register", target, "--org", "acme", "--source", str(tmp_path))


# AWS out of reach: exit 3.

COMMANDS = [
    ["runs", "launch", "etl", "--org", "acme"],
    ["runs", "list", "--org", "acme"],
    ["runs", "list", "--correlation-id", "b"],
    ["runs", "show", "r1"],
    ["runs", "cancel", "r1"],
    ["runs", "retry", "r1"],
    ["runs", "launch", "--deployment", "nightly", "--org", "acme"],
    ["deployments", "set", "nightly", "--flow", "etl", "--org", "acme"],
    ["deployments", "list", "--org", "acme"],
    ["deployments", "show", "nightly", "--org", "acme"],
    ["deployments", "delete", "nightly", "--org", "acme"],
    ["flows", "list", "--org", "acme"],
    ["orphans", "scan"],
    ["tables", "create"],
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: " ".join(each[:3]))
def test_aws_out_of_reach_is_told_with_the_address_and_may_be_tried_again(
    arguments: list[str], as_json: bool, unreachable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LAUNCHABLE.items():
        monkeypatch.setenv(name, value)
    result = run(*arguments, *(["--json"] if as_json else []))
    assert result.exit_code == EXIT_UNAVAILABLE, result.output
    address = unreachable.removeprefix("http://")
    if as_json and arguments == ["orphans", "scan"]:
        assert address in json.loads(result.stdout)["error"], "the scanner's document has a form for failures"
        return
    assert result.stdout == "", "a program that reads JSON gets none, not half of one"
    (line,) = result.stderr.splitlines()
    assert address in line
    assert line.endswith("nothing is wrong with the request, try again")


def test_a_registration_with_aws_out_of_reach_ends_the_same_way(
    tmp_path: Path, unreachable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "dagy_cli_flow", raising=False)
    (tmp_path / "dagy_cli_flow.py").write_text(GOOD_FLOW, encoding="utf-8")
    result = run("flows", "register", "dagy_cli_flow:etl", "--org", "acme", "--source", str(tmp_path), "--json")
    assert (result.exit_code, result.stdout) == (EXIT_UNAVAILABLE, "")
    assert unreachable in result.stderr


def test_a_full_queue_is_told_as_it_is_and_may_be_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, errors_as_sentences():
        raise QueueFull("the queue holds 5 runs")
    assert ended.value.exit_code == EXIT_UNAVAILABLE
    assert capsys.readouterr().err == "error: the queue holds 5 runs\n"


# What programs read.


def test_what_is_logged_during_a_command_never_mixes_with_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(_ports: Ports) -> str:
        log("dagy.test").error("a record cannot be read")
        return "the result"

    assert with_ports(None, work) == "the result"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "a record cannot be read" in captured.err


@pytest.mark.parametrize("command", [["config", "show"], ["config", "check"]], ids=["show", "check"])
def test_json_on_standard_output_is_json_and_nothing_else(command: list[str]) -> None:
    result = run(*command, "--json")
    assert result.exit_code == 0
    assert isinstance(json.loads(result.stdout), dict)


def test_the_version_is_printed_without_a_command() -> None:
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.stdout.split()[0]) == (0, "dagy-control")


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, id="no region"),
        pytest.param({"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "nonsense"}, id="a malformed endpoint"),
    ],
)
def test_a_client_that_cannot_be_made_is_a_sentence(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "DAGY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    answer = CliRunner().invoke(app, ["runs", "list", "--org", "acme"])
    assert answer.exit_code == 1
    assert "aws.region" in answer.stderr
    assert answer.stdout == ""
