"""`dagy-control runs batch` at its edges: what is refused whole, what is told of each order, and how the command ends."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dagy_control.entrypoints.batch_view import FAILURES_SHOWN_MAX, batch_document, batch_exit_code, batch_page
from dagy_control.entrypoints.cli import app
from dagy_control.entrypoints.command import EXIT_REFUSED, EXIT_UNAVAILABLE
from dagy_control.requests.batch import BatchOutcome, ItemFailure
from tests.builders import a_run

OUTCOME = BatchOutcome(
    "nightly",
    {0: a_run(correlation_id="nightly.0"), 3: a_run(run_id="r4", correlation_id="nightly.3")},
    [ItemFailure(1, "memory", "no such size"), ItemFailure(2, "", "the table is down", again=True)],
)


@pytest.fixture(autouse=True)
def launchable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with which an order can be judged, and AWS at an address where nobody listens."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "DAGY_ECS_CLUSTER_ARN": "dagy",
        "DAGY_ECS_EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/execution",
        "DAGY_ECS_TASK_ROLE_ARN": "arn:aws:iam::123456789012:role/task",
        "DAGY_ECS_SUBNETS": "subnet-1",
        "DAGY_ECS_SECURITY_GROUPS": "sg-1",
    }.items():
        monkeypatch.setenv(name, value)


def batch_of(tmp_path: Path, text: str) -> str:
    file = tmp_path / "orders.jsonl"
    file.write_text(text, encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        pytest.param("", [], "a batch has 1 to 1,000 orders, not 0", id="empty"),
        pytest.param("{}\n" * 1001, [], "a batch has 1 to 1,000 orders, not 1,001; split it", id="too many"),
        pytest.param('{"a": 1}\n{"b": \n', [], "line 2, column 7", id="no JSON"),
        pytest.param("{}", ["--parent", ""], "parent_correlation_id must have", id="a parent from an unset variable"),
    ],
)
def test_a_batch_that_is_wrong_as_a_whole_is_refused(text: str, options: list[str], told: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["runs", "batch", batch_of(tmp_path, text), "--json", *options])
    assert (result.exit_code, result.stdout) == (EXIT_REFUSED, "")
    assert told in result.stderr.splitlines()[-1]


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["runs", "batch", str(tmp_path / "none")])
    assert (result.exit_code, result.stderr) == (
        EXIT_REFUSED,
        f"error: {tmp_path / 'none'} cannot be read: No such file or directory\n",
    )


def test_orders_come_from_standard_input_too_and_their_parent_is_told_before_anything_is_written() -> None:
    result = CliRunner().invoke(app, ["runs", "batch", "-", "--org", "acme"], input=b'{"flow": "etl"}\n7\n')
    assert result.exit_code == EXIT_REFUSED
    parent = result.stderr.removeprefix("parent correlation id: ").strip()
    assert parent.startswith("batch-")
    assert "order 0: flow: a launch has no argument 'flow'" in result.stdout
    assert "order 1: an order must be a JSON object, not 7" in result.stdout
    assert f"repeat with --parent {parent}" in result.stdout


def test_aws_out_of_reach_is_told_before_anything_is_written_and_may_be_tried_again(tmp_path: Path) -> None:
    file = batch_of(tmp_path, '{"flow_name": "etl"}\n{"flow_name": "etl"}')
    result = CliRunner().invoke(app, ["runs", "batch", file, "--org", "acme", "--parent", "p", "--json"])
    assert (result.exit_code, result.stdout) == (EXIT_UNAVAILABLE, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith("nothing is wrong with the request, try again")


@pytest.mark.parametrize(
    ("again", "code"),
    [
        pytest.param([], 0, id="every order has its run"),
        pytest.param([False], EXIT_REFUSED, id="one will never have"),
        pytest.param([True, True], EXIT_UNAVAILABLE, id="no answer: it may work later"),
        pytest.param([True, False], EXIT_REFUSED, id="both"),
    ],
)
def test_the_exit_code_says_whether_repeating_can_help(again: list[bool], code: int) -> None:
    failures = [ItemFailure(index, "", "why", again=each) for index, each in enumerate(again)]
    assert batch_exit_code(BatchOutcome("p", OUTCOME.runs, failures)) == code


def test_programs_are_told_of_every_order_by_its_place() -> None:
    document = json.loads(json.dumps(batch_document(OUTCOME)))
    assert document["parent_correlation_id"] == "nightly"
    assert document["runs"] == [
        {"index": 0, "run_id": "r1", "status": "QUEUED", "correlation_id": "nightly.0"},
        {"index": 3, "run_id": "r4", "status": "QUEUED", "correlation_id": "nightly.3"},
    ]
    assert document["failures"][1] == {"index": 2, "field": "", "message": "the table is down", "again": True}


def test_people_are_told_what_to_do() -> None:
    page = batch_page(OUTCOME)
    assert (
        "nightly: 2 runs on record, 2 orders without one; orders are counted from 0\n  order 1: memory: no such size\n"
        in page
    )
    assert "runs list --correlation-id nightly" in page
    assert "repeat" not in batch_page(BatchOutcome("nightly", OUTCOME.runs, []))


def test_the_argument_at_fault_is_named_once() -> None:
    refused = [ItemFailure(0, "memory", "memory must be a whole number, not '8GB'")]
    assert "order 0: memory must be a whole number" in batch_page(BatchOutcome("nightly", {}, refused))


def test_people_are_not_told_of_a_thousand_failures() -> None:
    many = [ItemFailure(index, "memory", "no such size") for index in range(1000)]
    page = batch_page(BatchOutcome("nightly", {}, many))
    assert f"and {1000 - FAILURES_SHOWN_MAX} more; --json names all" in page
    assert len(page.splitlines()) < FAILURES_SHOWN_MAX + 6
