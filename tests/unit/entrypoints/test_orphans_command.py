"""`orphans scan`: the scanner's documented input, variables and failures."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dagy_control.config import load_settings
from dagy_control.entrypoints.cli import app
from dagy_control.entrypoints.command import EXIT_REFUSED
from dagy_control.entrypoints.policies import orphan_policy

DOCUMENTED = {
    "ECS_CLUSTER": "prod-cluster",
    "RETRAINING_STATE_TABLE": "retraining-state",
    "TRADING_STATE_TABLE": "trading-state",
    "MAX_TASK_RUNTIME_HOURS": "8",
    "DRY_RUN": "false",
    "ENVIRONMENT": "prod",
}


def refused(*arguments: str) -> dict[str, Any]:
    """The JSON that the command prints, exit 1, and nothing but that."""
    result = CliRunner().invoke(app, ["orphans", "scan", "--json", *arguments])
    assert result.exit_code == EXIT_REFUSED, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert list(document) == ["success", "error", "environment"]
    assert document["success"] is False
    return document


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--max-runtime-hours", "soon"], "max_runtime_hours must be a number above 0", id="no number"),
        pytest.param(["--max-runtime-hours", "0"], "max_runtime_hours must be a number above 0", id="nothing"),
        pytest.param(["--max-runtime-hours", "-1"], "not '-1'", id="negative"),
        pytest.param(["--max-runtime-hours", "nan"], "not 'nan'", id="not a number"),
        pytest.param(["--input", "{"], "the input is not JSON", id="not JSON"),
        pytest.param(["--input", "[]"], "the input must be a JSON object", id="a list"),
        pytest.param(["--input", '{"dry-run": false}'], "not 'dry-run'", id="a misspelt name"),
        pytest.param(["--input", '{"dry_run": "perhaps"}'], "dry_run must be true or false", id="neither yes nor no"),
        pytest.param(["--input", "{}", "--no-dry-run"], "either --input, or", id="both ways at once"),
    ],
)
def test_bad_input_is_refused_in_the_documented_form(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "prod")
    document = refused(*arguments)
    assert told in document["error"]
    assert document["environment"] == "prod"


def test_bad_input_without_json_is_a_sentence() -> None:
    result = CliRunner().invoke(app, ["orphans", "scan", "--max-runtime-hours", "soon"])
    assert (result.exit_code, result.stdout) == (EXIT_REFUSED, "")
    assert result.stderr.startswith("error: max_runtime_hours must be")


def test_a_missing_cluster_and_a_bad_variable_are_told_in_the_documented_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    document = refused()
    assert "ECS_CLUSTER" in document["error"], "before anything is opened"
    assert document["environment"] == "dev"
    monkeypatch.setenv("MAX_TASK_RUNTIME_HOURS", "soon")
    assert "MAX_TASK_RUNTIME_HOURS" in refused()["error"]


def test_the_documented_variables_alone_make_the_scanners_settings() -> None:
    policy = orphan_policy(load_settings(None, DOCUMENTED))
    assert (policy.cluster, policy.environment, policy.dry_run) == ("prod-cluster", "prod", False)
    assert policy.criteria.max_runtime_hours == 8
    tables = {table.table: (table.key_attribute, table.task_tag) for table in policy.criteria.state_tables}
    assert tables == {
        "retraining-state": ("model_name", "model_name"),
        "trading-state": ("strategy_id", "strategy_id"),
    }
    assert policy.switched_off == ()


def test_without_them_the_documented_defaults_hold_and_the_tables_are_off() -> None:
    policy = orphan_policy(load_settings(None, {}))
    assert (policy.dry_run, policy.criteria.max_runtime_hours) == (True, 6)
    assert policy.switched_off == ("retraining", "trading")


def test_a_refused_input_names_the_environment_of_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "dagy.toml"
    config.write_text('environment = "staging"\n', encoding="utf-8")
    result = CliRunner().invoke(
        app, ["orphans", "scan", "--json", "--max-runtime-hours", "soon", "--config", str(config)]
    )
    assert result.exit_code == 1
    assert json.loads(result.stdout)["environment"] == "staging"
