"""What is wrong is told with place, key, value, reason and remedy; all of it at once."""

from pathlib import Path

import pytest

from dagy_control.config import ConfigError, Problem, Settings, load_settings


def problems_of(folder: Path, text: str | None, environ: dict[str, str] | None = None) -> tuple[Problem, ...]:
    path = None
    if text is not None:
        path = folder / "dagy.toml"
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ or {})
    return tuple(
        Problem(each.source.replace(f"{folder}/", ""), each.key, each.value, each.reason, each.remedy)
        for each in caught.value.problems
    )


@pytest.mark.parametrize(
    ("text", "source", "key", "value", "reason", "remedy"),
    [
        pytest.param(
            '[launching]\nmax_in_flight = "many"',
            "dagy.toml:2",
            "launching.max_in_flight",
            '"many"',
            "must be a valid integer",
            "give a whole number, 1 to 1000 (default: 32)",
            id="text for a number",
        ),
        pytest.param(
            "[launching]\nmax_in_flight = true",
            "dagy.toml:2",
            "launching.max_in_flight",
            "true",
            "must be a valid integer",
            "give a whole number",
            id="flag for a number",
        ),
        pytest.param(
            '[orphans]\ndry_run = "false"',
            "dagy.toml:2",
            "orphans.dry_run",
            '"false"',
            "must be a valid boolean",
            "true or false",
            id="text for a flag",
        ),
        pytest.param(
            "drain_timeout_s = 120",
            "dagy.toml:1",
            "drain_timeout_s",
            "120",
            "must be less than or equal to 110",
            "1 to 110 (default: 25)",
            id="above its range",
        ),
        pytest.param(
            "[launching]\ninterval_s = 0",
            "dagy.toml:2",
            "launching.interval_s",
            "0",
            "must be greater than 0",
            "above 0",
            id="below its range",
        ),
        pytest.param(
            "[launching]\ninterval_s = nan",
            "dagy.toml:2",
            "launching.interval_s",
            "NaN",
            "must be a finite number",
            "above 0",
            id="not a number",
        ),
        pytest.param(
            "[launching]\ntoken_replay_max_age_s = 3301",
            "dagy.toml:2",
            "launching.token_replay_max_age_s",
            "3301",
            "must be less than or equal to 3300",
            "3300 at most",
            id="a token too old to replay",
        ),
        pytest.param(
            'log_format = "xml"',
            "dagy.toml:1",
            "log_format",
            '"xml"',
            "must be 'json' or 'console'",
            "one of json, console",
            id="not one of a few",
        ),
        pytest.param(
            'installation = "my dagy"',
            "dagy.toml:1",
            "installation",
            '"my dagy"',
            "must match pattern",
            "matching",
            id="characters not in startedBy",
        ),
        pytest.param(
            "[launching]\nintervall_s = 2",
            "dagy.toml:2",
            "launching.intervall_s",
            "2",
            "is not a setting",
            "did you mean launching.interval_s?",
            id="unknown key",
        ),
        pytest.param(
            "launching.intervall_s = 2",
            "dagy.toml:1",
            "launching.intervall_s",
            "2",
            "is not a setting",
            "did you mean launching.interval_s?",
            id="dotted key",
        ),
        pytest.param(
            "[reconcile]\ninterval_s = 2",
            "dagy.toml:1",
            "reconcile",
            '{"interval_s": 2}',
            "is not a setting",
            "did you mean reconciling?",
            id="unknown section",
        ),
        pytest.param(
            "dry_run = false",
            "dagy.toml:1",
            "dry_run",
            "false",
            "is not a setting",
            "did you mean orphans.dry_run?",
            id="key of another section",
        ),
        pytest.param(
            "xyzzy = 1", "dagy.toml:1", "xyzzy", "1", "is not a setting", "config reference", id="nothing near"
        ),
        pytest.param(
            "aws = 3", "dagy.toml:1", "aws", "3", "must be a table", "make it a table: a line [aws]", id="no table"
        ),
        pytest.param(
            "[ecs.profiles.odd]\ncpu = 256\nmemory = 4096\n[ecs]\ndefault_profile = 'odd'",
            "dagy.toml:1",
            "ecs.profiles.odd",
            '{"cpu": 256, "memory": 4096}',
            "is not a Fargate size; the nearest valid ones are",
            "give",
            id="no Fargate size",
        ),
        pytest.param(
            "[ecs.capacity_providers]\nFARGAT = 1",
            "dagy.toml:2",
            "ecs.capacity_providers.FARGAT",
            None,
            "must match pattern",
            '"FARGATE_SPOT": 70',
            id="no such provider",
        ),
        pytest.param(
            "[ecs.capacity_providers]\nFARGATE = 0",
            "dagy.toml:1",
            "ecs.capacity_providers",
            '{"FARGATE": 0}',
            "must sum to more than 0",
            "give",
            id="no weight",
        ),
        pytest.param(
            "[ecs]\nsubnets = ['subnet-a', 'sg-b']",
            "dagy.toml:2",
            "ecs.subnets[1]",
            '"sg-b"',
            "must match pattern",
            "subnet-",
            id="a group for a subnet",
        ),
        pytest.param(
            "[[orphans.state_tables]]\nname = 'a'\nkey_attribute = 'k'\ntask_tag = 't'\n",
            "dagy.toml:1",
            "orphans.state_tables[0].terminal_statuses",
            None,
            "is missing",
            "add it: Statuses",
            id="required in a table",
        ),
        pytest.param(
            "[[orphans.state_tables]]\nname = 'a'\nkey_atribute = 'k'\nkey_attribute = 'k'\ntask_tag = 't'\nterminal_statuses = ['x']\n",
            "dagy.toml:3",
            "orphans.state_tables[0].key_atribute",
            '"(redacted)"',
            "is not a setting",
            "orphans.state_tables[0].key_attribute?",
            id="unknown in a table",
        ),
        pytest.param(
            "[ecs]\ndefault_profile = 'huge'",
            "dagy.toml:2",
            "ecs.default_profile",
            '"huge"',
            "is not one of ecs.profiles (small, medium",
            "name one of",
            id="no such profile",
        ),
        pytest.param(
            "[aws]\nread_timeout_s = 60",
            "dagy.toml:2",
            "launching.reply_timeout_s",
            "45",
            "must be above aws.read_timeout_s, which is 60",
            "lower aws.read_timeout_s",
            id="reply timeout below read timeout",
        ),
        pytest.param(
            "[aws]\nread_timeout_s = 10",
            "dagy.toml:2",
            "aws.read_timeout_s",
            "10",
            "must be above events.wait_s",
            "raise",
            id="a wait as long as the read timeout",
        ),
        pytest.param(
            "[launching]\ntoken_replay_max_age_s = 30",
            "dagy.toml:2",
            "launching.token_replay_max_age_s",
            "30",
            "must be above launching.reply_timeout_s",
            "raise",
            id="no replay possible",
        ),
        pytest.param(
            "[launching]\nretry_delay_s = 301",
            "dagy.toml:2",
            "launching.retry_delay_max_s",
            "300",
            "must be at least",
            "raise",
            id="delay above its bound",
        ),
        pytest.param(
            "[reconciling]\ninfra_retry_delay_s = 901",
            "dagy.toml:2",
            "reconciling.infra_retry_delay_max_s",
            "900",
            "must be at least",
            "raise",
            id="delay of a new attempt above its bound",
        ),
        pytest.param(
            "[tables]\nflows = 'DAGY_RUNS'",
            "dagy.toml:2",
            "tables.flows",
            '"DAGY_RUNS"',
            "is the same as tables.runs",
            "its own name",
            id="one table twice",
        ),
        pytest.param(
            "[storage]\ntrace_prefix = 'results/'",
            "dagy.toml:2",
            "storage.trace_prefix",
            '"results/"',
            "is the same as storage.result_prefix",
            "its own name",
            id="one prefix twice in one bucket",
        ),
        pytest.param(
            "[orphans]\ngrace_s = 299",
            "dagy.toml:2",
            "orphans.grace_s",
            "299",
            "below its safe minimum of 300: shorter is safe only in the embedded cloud",
            "300 or more",
            id="orphan grace",
        ),
        pytest.param(
            "[orphans]\nalert_publisher = true",
            "dagy.toml:2",
            "orphans.alert_topic_arn",
            "unset",
            "is not set, and orphans.alert_publisher is on",
            "name the topic",
            id="alerts to nobody",
        ),
        pytest.param(
            "[[orphans.runtime_limits]]\nhours = 48\ntag = 'team'",
            "dagy.toml:1",
            "orphans.runtime_limits[0]",
            '{"hours": 48, "tag": "team"}',
            "needs either flow, or tag and value",
            "",
            id="a runtime limit for nobody",
        ),
        pytest.param(
            "[[orphans.runtime_limits]]\nhours = 48\ntag = 'team'\nvalue = 'ml'\nflow = 'etl'",
            "dagy.toml:1",
            "orphans.runtime_limits[0]",
            '{"hours": 48, "tag": "team", "value": "ml", "flow": "etl"}',
            "needs either flow, or tag and value",
            "",
            id="a runtime limit for two kinds at once",
        ),
        pytest.param(
            "[orphans]\nalert_topic_arn = 'arn:aws:sns:us-east-1:123456789012:alerts.fifo'",
            "dagy.toml:2",
            "orphans.alert_topic_arn",
            '"arn:aws:sns:us-east-1:123456789012:alerts.fifo"',
            "match",
            "",
            id="an ordered topic, which wants a group for each message",
        ),
        pytest.param(
            "[api]\ntoken = 'short'",
            "dagy.toml:2",
            "api.token",
            '"(redacted)"',
            "16",
            "",
            id="a token that can be guessed",
        ),
        pytest.param(
            "[reconciling]\nmissing_grace_s = 1",
            "dagy.toml:2",
            "reconciling.missing_grace_s",
            "1",
            "below its safe minimum",
            "300 or more",
            id="missing grace",
        ),
        pytest.param(
            '[events]\nqueue_url = "https://q"\ndead_letter_queue_url = "https://q"',
            "dagy.toml:3",
            "events.dead_letter_queue_url",
            '"https://q"',
            "what is set aside would come again",
            "name another queue",
            id="one queue for both",
        ),
        pytest.param(
            "[reconciling]\nmax_runs = 9",
            "dagy.toml:2",
            "reconciling.max_runs",
            "9",
            "is below reconciling.missing_share_min_tasks, which is 10: a pass too small to tell",
            "0 for all runs",
            id="a pass too small to judge",
        ),
        pytest.param(
            "[launching]\nnot_found_grace_s = 1",
            "dagy.toml:2",
            "launching.not_found_grace_s",
            "1",
            "below its safe minimum",
            "300 or more",
            id="not-found grace",
        ),
        pytest.param(
            "[aws\nregion = 1", "dagy.toml:1:5", "", None, "is not valid TOML", "mend the syntax", id="syntax"
        ),
        pytest.param(
            "environment = prod",
            "dagy.toml:1:15",
            "",
            None,
            "is not valid TOML: Invalid value",
            "texts need quotes",
            id="text without quotes",
        ),
        pytest.param('a = """', "dagy.toml:1:8", "", None, "is not valid TOML", "mend", id="syntax at the end"),
        pytest.param("[aws]\n[aws]", "dagy.toml:2:5", "", None, "is not valid TOML", "mend", id="a table twice"),
    ],
)
def test_a_mistake_in_the_file_is_told(
    tmp_path: Path, text: str, source: str, key: str, value: str | None, reason: str, remedy: str
) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert (problem.source, problem.key, problem.value) == (source, key, value)
    assert reason in problem.reason
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("variable", "text", "key", "reason", "remedy"),
    [
        pytest.param(
            "DAGY_LAUNCHING__INTERVALL_S",
            "2",
            "DAGY_LAUNCHING__INTERVALL_S",
            "is not a setting",
            "did you mean DAGY_LAUNCHING__INTERVAL_S?",
            id="unknown",
        ),
        pytest.param(
            "DAGY_ECS_CLUSTER",
            "dagy",
            "DAGY_ECS_CLUSTER",
            "is not a setting",
            "did you mean DAGY_ECS_CLUSTER_ARN?",
            id="wrong alias",
        ),
        pytest.param(
            "DAGY_LAUNCHING_INTERVAL_S",
            "2",
            "DAGY_LAUNCHING_INTERVAL_S",
            "is not a setting",
            "DAGY_LAUNCHING__INTERVAL_S?",
            id="one underscore",
        ),
        pytest.param(
            "DAGY_Log_Level",
            "INFO",
            "DAGY_Log_Level",
            "is not a setting",
            "did you mean DAGY_LOG_LEVEL?",
            id="wrong case",
        ),
        pytest.param(
            "DAGY_LAUNCHING__INTERVALL_S",
            "",
            "DAGY_LAUNCHING__INTERVALL_S",
            "is not a setting",
            "did you mean",
            id="unknown and empty",
        ),
        pytest.param(
            "DAGY_LAUNCHING__MAX_IN_FLIGHT",
            "1.5",
            "launching.max_in_flight",
            "must be a valid integer",
            "a whole number",
            id="fraction",
        ),
        pytest.param(
            "DAGY_LAUNCHING__INTERVAL_S",
            "soon",
            "launching.interval_s",
            "must be a valid number",
            "above 0",
            id="no number",
        ),
        pytest.param(
            "DRY_RUN",
            "maybe",
            "orphans.dry_run",
            "must be a valid boolean",
            "true or false",
            id="no flag, by a bare name",
        ),
        pytest.param(
            "MAX_TASK_RUNTIME_HOURS",
            "-1",
            "orphans.max_runtime_hours",
            "must be greater than 0",
            "above 0",
            id="range, by a bare name",
        ),
        pytest.param(
            "DAGY_ECS_SUBNETS", "sg-1", "ecs.subnets[0]", "must match pattern", "subnet-", id="an item of a list"
        ),
        pytest.param(
            "DAGY_ECS_SUBNETS",
            '["subnet-a"',
            "ecs.subnets",
            "must be a valid tuple",
            "a list of texts",
            id="broken JSON list",
        ),
        pytest.param(
            "DAGY_ECS__PROFILES",
            "{small}",
            "ecs.profiles",
            "must be a valid dictionary",
            'give JSON, as in {"small"',
            id="broken JSON table",
        ),
        pytest.param(
            "TRADING_STATE_TABLE",
            "a b",
            "orphans.state_tables[1].table",
            "must match pattern",
            "matching",
            id="bad table name",
        ),
        pytest.param(
            "DAGY_ORPHANS__GRACE_S", "5", "orphans.grace_s", "safe minimum of 300", "300 or more", id="unsafe grace"
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, variable: str, text: str, key: str, reason: str, remedy: str
) -> None:
    (problem,) = problems_of(tmp_path, None, {variable: text})
    assert (problem.source, problem.key) == (variable, key)
    assert reason in problem.reason
    assert remedy in problem.remedy


def test_a_state_table_variable_without_an_entry_of_that_name_is_a_mistake(tmp_path: Path) -> None:
    text = "[[orphans.state_tables]]\nname = 'a'\nkey_attribute = 'k'\ntask_tag = 't'\nterminal_statuses = ['x']\n"
    (problem,) = problems_of(tmp_path, text, {"TRADING_STATE_TABLE": "t-1"})
    assert (problem.source, problem.key) == ("TRADING_STATE_TABLE", "orphans.state_tables")
    assert "none of that name" in problem.reason


def test_two_state_tables_of_one_tag_are_a_mistake(tmp_path: Path) -> None:
    entry = "[[orphans.state_tables]]\nname = '{}'\nkey_attribute = 'k'\ntask_tag = 't'\nterminal_statuses = ['x']\n"
    (problem,) = problems_of(tmp_path, entry.format("a") + entry.format("b"))
    assert "two of them have the task_tag 't'" in problem.reason


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = "[aws]\nread_timeout_s = 60\n[launching]\nintervall_s = 1\nmax_in_flight = 0\n[orphans]\ngrace_s = 5\n"
    problems = problems_of(tmp_path, text, {"DAGY_API__PORT": "http", "DAGY_NONSENSE": "1", "DRY_RUN": "maybe"})
    assert [problem.key for problem in problems] == [
        "DAGY_NONSENSE",
        "launching.max_in_flight",
        "launching.intervall_s",
        "orphans.dry_run",
        "api.port",
        "launching.reply_timeout_s",
        "orphans.grace_s",
    ]


def test_a_rule_over_a_wrong_value_is_left_unsaid(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "[aws]\nread_timeout_s = 'x'\n[launching]\nreply_timeout_s = 5\n")
    assert [problem.key for problem in problems] == ["aws.read_timeout_s"]


def test_with_an_unreadable_file_the_environment_is_checked_but_rules_are_not(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "embedded_cloud = ", {"DAGY_API__PORT": "x", "DAGY_ORPHANS__GRACE_S": "5"})
    assert [(problem.source, problem.key) for problem in problems] == [
        ("dagy.toml:1:18", ""),
        ("DAGY_API__PORT", "api.port"),
    ]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"environment = '\xff'")
    for path, reason in (
        (tmp_path / "none.toml", "does not exist"),
        (tmp_path, "cannot be read"),
        (binary, "is not UTF-8 text"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_settings(path, {})
        (problem,) = caught.value.problems
        assert problem.source == str(path)
        assert reason in problem.reason


def test_traces_in_a_bucket_of_their_own_may_have_any_prefix() -> None:
    storage = {"trace_bucket": "dagy-traces", "trace_prefix": "results/"}
    assert Settings.model_validate({"storage": storage}).storage.trace_prefix == "results/"


def test_settings_made_without_the_loader_keep_the_rules_too() -> None:
    with pytest.raises(ValueError, match=r"orphans.grace_s is below its safe minimum"):
        Settings.model_validate({"orphans": {"grace_s": 5}})


def test_the_error_reads_as_one_line_a_problem(tmp_path: Path) -> None:
    text = str(ConfigError(problems_of(tmp_path, "api.port = 'x'\nxyzzy = 1\n")))
    assert (
        text.splitlines()[0]
        == 'dagy.toml:1: api.port = "x" must be a valid integer; give a whole number, 0 to 65535 (default: 9464)'
    )
    assert len(text.splitlines()) == 2
