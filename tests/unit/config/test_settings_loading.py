"""File and environment become settings: precedence, accepted names, kinds of values."""

from pathlib import Path

import pytest

from dagy_control.config import ConfigError, Settings, config_location, find_advice, load_settings, load_with_sources
from dagy_control.config.catalogue import settings_by_path
from dagy_control.config.environment import variable_names

_LAUNCHABLE = {
    "DAGY_ECS_CLUSTER_ARN": "arn:aws:ecs:us-east-1:123456789012:cluster/dagy",
    "DAGY_ECS_EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/dagy-execution",
    "DAGY_ECS_TASK_ROLE_ARN": "arn:aws:iam::123456789012:role/dagy-task",
    "DAGY_ECS_SUBNETS": "subnet-a,subnet-b",
    "DAGY_ECS_SECURITY_GROUPS": '["sg-1", "sg-2"]',
    "DAGY_ECS_WORKER_IMAGE": "registry.example/dagy-worker:v1",
}


def write(folder: Path, text: str) -> Path:
    path = folder / "dagy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def value_of(settings: Settings, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def test_without_file_and_environment_every_setting_has_its_default() -> None:
    assert load_settings(None, {}) == Settings()


def test_the_process_environment_is_not_read_behind_the_callers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGY_LAUNCHING__INTERVAL_S", "7")
    assert load_settings(None, {}).launching.interval_s == 1.0
    assert Settings().launching.interval_s == 1.0


def test_the_file_wins_over_defaults_and_the_environment_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'log_format = "console"\n[launching]\ninterval_s = 2\nmax_in_flight = 8\n')
    loaded = load_with_sources(path, {"DAGY_LAUNCHING__INTERVAL_S": "3.5"})
    assert (loaded.settings.launching.interval_s, loaded.settings.launching.max_in_flight) == (3.5, 8)
    assert loaded.settings.log_format == "console"
    assert loaded.sources["launching.interval_s"] == "DAGY_LAUNCHING__INTERVAL_S"
    assert loaded.sources["launching.max_in_flight"] == f"{path}:4"
    assert loaded.sources["log_format"] == f"{path}:1"
    assert loaded.sources["launching.retry_delay_s"] == "default"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        pytest.param("DAGY_ENVIRONMENT", "prod", "environment", "prod", id="root text"),
        pytest.param("ENVIRONMENT", "staging", "environment", "staging", id="bare environment"),
        pytest.param("DAGY_LOG_LEVEL", "debug", "log_level", "DEBUG", id="log level in any case"),
        pytest.param("DAGY_API__PORT", "0", "api.port", 0, id="whole number"),
        pytest.param("DAGY_AWS__ACCOUNT_SHARE", "0.25", "aws.account_share", 0.25, id="number"),
        pytest.param("DAGY_AWS__READ_TIMEOUT_S", " 30 ", "aws.read_timeout_s", 30.0, id="spaces around"),
        pytest.param("DAGY_API__ENABLED", "False", "api.enabled", False, id="flag in capitals"),
        pytest.param("DRY_RUN", "no", "orphans.dry_run", False, id="bare flag"),
        pytest.param("DRY_RUN", "1", "orphans.dry_run", True, id="flag as a digit"),
        pytest.param("MAX_TASK_RUNTIME_HOURS", "8.5", "orphans.max_runtime_hours", 8.5, id="scanner's runtime"),
        pytest.param("ECS_CLUSTER", "dagy", "ecs.cluster_arn", "dagy", id="scanner's cluster"),
        pytest.param(
            "DAGY_ECS__SUBNETS", "subnet-a, subnet-b,", "ecs.subnets", ("subnet-a", "subnet-b"), id="list by commas"
        ),
        pytest.param("DAGY_ECS_SUBNETS", '["subnet-a"]', "ecs.subnets", ("subnet-a",), id="list as JSON"),
        pytest.param(
            "DAGY_ECS__CAPACITY_PROVIDERS",
            '{"FARGATE": 1}',
            "ecs.capacity_providers",
            {"FARGATE": 1},
            id="table as JSON",
        ),
        pytest.param("DAGY_WORKER__WORK_DIR", "/scratch", "worker.work_dir", Path("/scratch"), id="path"),
        pytest.param("DAGY_LAUNCHING__MAX_PER_ORG", "5", "launching.max_per_org", 5, id="optional number"),
        pytest.param("AWS_REGION", "eu-west-1", "aws.region", "eu-west-1", id="AWS's region"),
        pytest.param("AWS_DEFAULT_REGION", "eu-west-1", "aws.region", "eu-west-1", id="AWS's default region"),
        pytest.param("DAGY_LAUNCHING__INTERVAL_S", "", "launching.interval_s", 1.0, id="set to nothing is not set"),
        pytest.param("DAGY_API__PORT", "  ", "api.port", 9464, id="nothing but spaces is not set"),
        pytest.param("DRY_RUN", "", "orphans.dry_run", True, id="an empty dry run stays safe"),
    ],
)
def test_a_variable_sets_its_setting(variable: str, text: str, key: str, value: object) -> None:
    assert value_of(load_settings(None, {variable: text}), key) == value


@pytest.mark.parametrize("variable", sorted(variable_names()))
def test_every_known_variable_reaches_its_setting(variable: str) -> None:
    loaded = load_with_sources(None, {variable: _some_text(variable_names()[variable])})
    assert loaded.sources[".".join(variable_names()[variable])] == variable


def _some_text(path: tuple[str, ...]) -> str:
    """A valid text for the setting: its default or its example, as JSON or as it is."""
    setting = settings_by_path()[path]
    value = setting.example if setting.default is None else setting.default
    if isinstance(value, list) and not value:
        return {
            "subnets": "subnet-a",
            "security_groups": "sg-a",
            "families": "batch-jobs",
            "labelled_orgs": "acme",
            "labelled_flows": "acme/daily_sales",
            "runtime_limits": '[{"flow": "etl", "hours": 48}]',
        }[path[-1]]
    return (
        value
        if isinstance(value, str)
        else str(value).replace("'", '"').replace("True", "true").replace("False", "false").replace("None", "null")
    )


def test_a_dagy_name_wins_over_a_bare_one_which_is_reported_as_unused() -> None:
    loaded = load_with_sources(
        None, {"ECS_CLUSTER": "old", "DAGY_ECS_CLUSTER_ARN": "new", "DRY_RUN": "false", "DAGY_ORPHANS__DRY_RUN": "true"}
    )
    assert loaded.settings.ecs.cluster_arn == "new"
    assert loaded.settings.orphans.dry_run is True
    assert loaded.unused == {"ECS_CLUSTER": "DAGY_ECS_CLUSTER_ARN", "DRY_RUN": "DAGY_ORPHANS__DRY_RUN"}
    assert any(line.startswith("DRY_RUN has no effect") for line in find_advice(loaded))


def test_a_bare_name_wins_over_the_file(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, 'environment = "dev"\n'), {"ENVIRONMENT": "prod"}).environment == "prod"


def test_two_dagy_names_may_agree_but_not_contradict() -> None:
    assert load_settings(None, {"DAGY_ECS_SUBNETS": "subnet-a", "DAGY_ECS__SUBNETS": '["subnet-a"]'}).ecs.subnets == (
        "subnet-a",
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"DAGY_ECS_SUBNETS": "subnet-a", "DAGY_ECS__SUBNETS": "subnet-b"})
    (problem,) = caught.value.problems
    assert (problem.key, problem.remedy) == ("ecs.subnets", "unset one of DAGY_ECS_SUBNETS and DAGY_ECS__SUBNETS")


def test_the_region_of_the_file_wins_over_awss_own_variable(tmp_path: Path) -> None:
    path = write(tmp_path, '[aws]\nregion = "us-east-1"\n')
    assert load_settings(path, {"AWS_REGION": "eu-west-1"}).aws.region == "us-east-1"
    assert load_settings(path, {"AWS_REGION": "eu-west-1", "DAGY_AWS__REGION": "ap-south-1"}).aws.region == "ap-south-1"
    assert load_settings(None, {"AWS_DEFAULT_REGION": "b", "AWS_REGION": "a"}).aws.region == "a"


def test_the_scanners_variables_name_the_state_tables() -> None:
    loaded = load_with_sources(
        None, {"RETRAINING_STATE_TABLE": "retraining-state", "TRADING_STATE_TABLE": "trading-state"}
    )
    retraining, trading = loaded.settings.orphans.state_tables
    assert (retraining.table, retraining.key_attribute, retraining.check_arn) == (
        "retraining-state",
        "model_name",
        True,
    )
    assert (trading.table, trading.terminal_statuses, trading.check_arn) == (
        "trading-state",
        ("stopped", "failed", "terminated"),
        False,
    )
    assert loaded.sources["orphans.state_tables"] == "default, RETRAINING_STATE_TABLE, TRADING_STATE_TABLE"


def test_a_state_table_of_the_file_takes_its_name_from_the_scanners_variable(tmp_path: Path) -> None:
    entry = 'name = "trading"\nkey_attribute = "id"\ntask_tag = "id"\nterminal_statuses = ["gone"]\ntable = "of-file"\n'
    path = write(tmp_path, f"[[orphans.state_tables]]\n{entry}")
    (trading,) = load_settings(path, {"TRADING_STATE_TABLE": "of-variable"}).orphans.state_tables
    assert (trading.table, trading.terminal_statuses) == ("of-variable", ("gone",))


def test_state_tables_given_by_a_dagy_name_win_over_the_scanners_variables() -> None:
    table = '[{"name": "a", "table": "tab", "key_attribute": "k", "task_tag": "t", "terminal_statuses": ["x"]}]'
    loaded = load_with_sources(None, {"DAGY_ORPHANS__STATE_TABLES": table, "TRADING_STATE_TABLE": "t"})
    assert [each.name for each in loaded.settings.orphans.state_tables] == ["a"]
    assert loaded.unused == {"TRADING_STATE_TABLE": "DAGY_ORPHANS__STATE_TABLES"}


def test_what_the_worker_is_told_and_the_files_path_are_no_settings() -> None:
    environ = {"DAGY_RUN_ID": "r-1", "DAGY_ATTEMPT": "1", "DAGY_CONFIG": "/etc/dagy.toml", "PATH": "/bin", "DAGYX": "1"}
    assert load_settings(None, environ) == Settings()
    assert config_location(environ) == "/etc/dagy.toml"
    assert config_location({"DAGY_CONFIG": " "}) is None


def test_a_table_in_the_file_replaces_the_default_one_as_a_whole(tmp_path: Path) -> None:
    path = write(tmp_path, '[ecs]\ndefault_profile = "huge"\n[ecs.profiles.huge]\ncpu = 8192\nmemory = 16384\n')
    assert list(load_settings(path, {}).ecs.profiles) == ["huge"]


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dagy.toml"
    path.write_bytes(b"\xef\xbb\xbfenvironment = 'prod'\n")
    assert load_settings(path, {}).environment == "prod"


def test_missing_for_launch_names_the_variables_that_the_executor_needs() -> None:
    assert load_settings(None, _LAUNCHABLE).ecs.missing_for_launch() == ()
    needed = tuple(name for name in _LAUNCHABLE if name != "DAGY_ECS_WORKER_IMAGE")
    assert Settings().ecs.missing_for_launch() == needed
    for name in needed:
        without = {key: text for key, text in _LAUNCHABLE.items() if key != name}
        assert load_settings(None, without).ecs.missing_for_launch() == (name,)


def test_settings_are_frozen_down_to_their_tables() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.launching.interval_s = 5  # type: ignore[misc] - the test tries what the type forbids
    with pytest.raises(ValueError, match="frozen"):
        settings.environment = "prod"  # type: ignore[misc] - the test tries what the type forbids
    for table in (settings.ecs.profiles, settings.ecs.capacity_providers):
        with pytest.raises(TypeError):
            table["small"] = None  # type: ignore[index] - the test tries what the type forbids


def test_in_the_embedded_cloud_graces_may_be_short() -> None:
    settings = load_settings(
        None, {"DAGY_EMBEDDED_CLOUD": "true", "DAGY_ORPHANS__GRACE_S": "2", "DAGY_RECONCILING__MISSING_GRACE_S": "1"}
    )
    assert (settings.orphans.grace_s, settings.reconciling.missing_grace_s) == (2, 1)


def test_loading_again_gives_an_equal_value(tmp_path: Path) -> None:
    path = write(tmp_path, "[launching]\ninterval_s = 2\n")
    assert load_with_sources(path, _LAUNCHABLE) == load_with_sources(path, _LAUNCHABLE)


def test_a_sound_configuration_for_aws_gives_no_advice() -> None:
    environ = _LAUNCHABLE | {
        "RETRAINING_STATE_TABLE": "retraining",
        "TRADING_STATE_TABLE": "trading",
        "DRY_RUN": "false",
        "DAGY_EVENTS__QUEUE_URL": "https://queue.example/dagy",
    }
    assert find_advice(load_with_sources(None, environ)) == ()
