"""`dagy-control config`: what people and programs read."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dagy_control.config import example_toml, reference_markdown
from dagy_control.entrypoints.config_commands import app


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own environment may count."""
    for name in os.environ:
        if name.startswith(("DAGY_", "AWS_")) or name in {"ENVIRONMENT", "DRY_RUN", "ECS_CLUSTER"}:
            monkeypatch.delenv(name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_check_of_a_good_file_says_what_was_read_and_what_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dagy.toml"
    path.write_text("[api]\nport = 0\n", encoding="utf-8")
    monkeypatch.setenv("DAGY_ECS_CLUSTER_ARN", "dagy")
    monkeypatch.setenv("TRADING_STATE_TABLE", "trading-state")
    result = run("check", str(path))
    assert result.exit_code == 0
    first, *warnings = result.output.splitlines()
    assert (
        first
        == f"OK: {path}, 2 environment variables (DAGY_ECS_CLUSTER_ARN, TRADING_STATE_TABLE), defaults for the rest"
    )
    assert "DAGY_ECS_EXECUTION_ROLE_ARN" in warnings[0]
    assert "DAGY_ECS_CLUSTER_ARN" not in warnings[0]
    assert all(line.startswith("warning: ") for line in warnings)


def test_check_of_a_bad_file_tells_place_key_value_reason_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "dagy.toml"
    path.write_text("[api]\nprt = 1\n", encoding="utf-8")
    result = run("check", str(path))
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{path}:2",
        "  key:    api.prt",
        "  value:  1",
        "  reason: is not a setting",
        "  remedy: did you mean api.port?",
        "1 problem found",
    ]


def test_check_as_json_is_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "dagy.toml"
    path.write_text("x = ", encoding="utf-8")
    result = run("check", str(path), "--json")
    assert result.exit_code == 1
    answer = json.loads(result.output)
    assert (answer["ok"], answer["file"], answer["problems"][0]["source"]) == (False, str(path), f"{path}:1:5")
    answer = json.loads(run("check", "--json").output)
    assert (answer["ok"], answer["file"], answer["problems"]) == (True, None, [])
    assert answer["warnings"]


def test_check_without_a_file_takes_the_one_that_dagy_config_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGY_CONFIG", str(tmp_path / "none.toml"))
    result = run("check")
    assert result.exit_code == 1
    assert "does not exist" in result.output


def test_show_tells_each_value_and_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dagy.toml"
    path.write_text("\n[api]\nport = 0\n", encoding="utf-8")
    monkeypatch.setenv("DRY_RUN", "false")
    lines = run("show", str(path)).output.splitlines()
    assert f"api.port = 0  [{path}:3]" in lines
    assert "orphans.dry_run = false  [DRY_RUN]" in lines
    assert "ecs.cluster_arn = unset  [default]" in lines
    shown = json.loads(run("show", str(path), "--json").output)
    assert shown["api.port"] == {"value": 0, "source": f"{path}:3"}
    assert shown["ecs.profiles"]["value"]["small"] == {"cpu": 256, "memory": 512}
    assert shown["launching.token_replay_max_age_s"] == {"value": 3300, "source": "default"}
    assert len(shown) == len(lines)


def test_show_of_a_bad_configuration_tells_the_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGY_API__PORT", "http")
    result = run("show")
    assert result.exit_code == 1
    assert "DAGY_API__PORT" in result.output
    assert json.loads(run("show", "--json").output)["problems"][0]["key"] == "api.port"


def test_reference_and_example_print_the_generated_texts() -> None:
    assert run("reference").output == reference_markdown()
    assert run("example").output == example_toml()


def test_ranges_are_written_out() -> None:
    assert "60 to 31536000" in reference_markdown()
    assert "e+0" not in reference_markdown() + example_toml()
