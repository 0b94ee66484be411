"""From settings to policies: every setting reaches the room that it is about, and a worker is told what it must know."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dagy_control.config import Settings, load_settings
from dagy_control.config.catalogue import settings_by_path
from dagy_control.entrypoints import policies
from dagy_control.entrypoints.worker import known_only

LAUNCHABLE = {
    "cluster_arn": "dagy",
    "execution_role_arn": "arn:aws:iam::123456789012:role/execution",
    "task_role_arn": "arn:aws:iam::123456789012:role/task",
    "subnets": ["subnet-1"],
    "security_groups": ["sg-1"],
}

TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"

READ_ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "log_format": ("control.py", "how logs are written is said once, at start"),
    "embedded_cloud": ("policies.py", "a pass by hand may end a lost task sooner there"),
    "api.enabled": ("control.py", "whether there is a server"),
    "api.host": ("control.py", "the server's address"),
    "api.port": ("control.py", "the server's port"),
    "telemetry.cloudwatch_metrics": ("wiring.py", "decides whether such figures are gathered"),
    "telemetry.cloudwatch_namespace": ("wiring.py", "the figures are gathered under it"),
    "events.dead_letter_queue_url": ("control.py", "an address: the adapter is opened on it"),
    "events.queue_url": ("control.py", "an address: the adapter is opened on it"),
    "events.receivers": ("control.py", "how many such loops there are"),
    "leases.enabled": ("control.py", "decides whether there are leases"),
    "leases.lease_s": ("control.py", "the keeper of the leases is made on it"),
    "events.visibility_timeout_s": ("wiring.py", "the adapter's, which asks SQS for it"),
}
"""Settings that no policy holds: where they are read instead, and why."""

READ_BY_NOBODY: Mapping[str, str] = {"ecs.worker_image": "runbooks set it; only a task definition can name an image"}
"""Accepted, and without effect."""


def paths() -> Iterator[str]:
    """Every setting, dotted."""
    yield from (setting.key for setting in settings_by_path().values())


def default_of(path: str) -> Any:
    value: Any = Settings()
    for part in path.split("."):
        value = getattr(value, part)
    return value


def settings_with(path: str, value: object) -> Settings:
    """Settings with this value, the others such that the rules between settings leave room for it."""
    section, _, name = path.rpartition(".")
    roomy: dict[str, Any] = {
        "embedded_cloud": True,
        "aws": {"read_timeout_s": 0.5 if section == "launching" else 30.0},
        "events": {"wait_s": 0, "queue_url": "https://sqs/queue"},
        "ecs": LAUNCHABLE,
        "orphans": {"alert_topic_arn": TOPIC, "alert_publisher": name == "alert_topic_arn" and value is not None},
    }
    if section:
        roomy[section] = {**roomy.get(section, {}), name: value}
    else:
        roomy[name] = value
    return Settings(**roomy)


def another_value(path: str) -> Settings:
    """Valid settings that differ from the default in this one."""
    value = default_of(path)
    role = LAUNCHABLE["task_role_arn"]
    candidates: list[Any] = [
        5,
        "https://sqs/other",
        Path("/srv/work"),
        "small",
        "other",
        "others/",
        "DEBUG",
        TOPIC,
        role,
    ]
    if path in ANOTHER:
        candidates = [ANOTHER[path]]
    elif isinstance(value, bool):
        candidates = [not value]
    elif isinstance(value, int | float):
        candidates = [value + 1, value / 2 or 50, value - 1, value * 2]
    elif value == ():
        candidates = [["some-family"], [{"flow": "etl", "hours": 48}]]
    elif isinstance(value, tuple) and isinstance(value[0], str):
        candidates = [list(value[1:])]
    elif isinstance(value, tuple):
        candidates = [[{**value[0].model_dump(), "table": "models", "terminal_statuses": ["over"]}]]
    for candidate in candidates:
        try:
            return settings_with(path, candidate)
        except ValidationError:
            continue
    raise AssertionError(f"no other value of {path} is valid: teach this test one")


ANOTHER: Mapping[str, Any] = {
    "log_format": "console",
    "api.token": "sixteen-and-more-letters",
    "launching.labelled_flows": ["acme/etl"],
    "ecs.subnets": ["subnet-9"],
    "ecs.security_groups": ["sg-9"],
    "ecs.capacity_providers": {"FARGATE": 1},
    "ecs.profiles": {"small": {"cpu": 256, "memory": 512}, "medium": {"cpu": 2048, "memory": 4096}},
}
"""Another value, where none of the usual ones is valid."""


def all_policies(settings: Settings) -> tuple[Any, ...]:
    return (
        policies.client_policy(settings),
        policies.loop_plans(settings),
        policies.process_plan(settings),
        policies.worker_policy(settings),
        policies.request_policy(settings).max_queued_runs,
    )


@pytest.mark.parametrize("path", [path for path in paths() if path not in {*READ_ELSEWHERE, *READ_BY_NOBODY}])
def test_every_setting_reaches_a_policy(path: str) -> None:
    changed = another_value(path)
    same = settings_with(path, default_of(path))
    assert all_policies(changed) != all_policies(same), f"{path} changes no policy: is it read anywhere?"


NOT_THE_DAEMONS: Mapping[str, str] = {
    **READ_BY_NOBODY,
    "launching.max_queued_runs": "read by requests",
}
"""Settings without a restart mark that a daemon need not follow, and who reads them anew each time."""


def test_what_a_daemon_need_not_follow_is_a_live_setting() -> None:
    live = {setting.key for setting in settings_by_path().values() if not setting.restart}
    assert set(NOT_THE_DAEMONS) <= live, "take what is none any more off the list"


@pytest.mark.parametrize(
    "path",
    [each.key for each in settings_by_path().values() if not each.restart and each.key not in NOT_THE_DAEMONS],
)
def test_a_setting_that_needs_no_restart_is_followed_by_a_running_daemon(path: str) -> None:
    same = settings_with(path, default_of(path))
    changed = another_value(path)
    followed = [(policies.loop_plans(each), policies.process_plan(each)) for each in (same, changed)]
    assert followed[0] != followed[1], f"{path} changes nothing in a running daemon: mark it as read at start"


@pytest.mark.parametrize("path", READ_ELSEWHERE)
def test_a_setting_that_no_policy_holds_is_read_where_the_list_says(path: str) -> None:
    assert path in set(paths()), f"{path} is no setting any more: take it off the list"
    file, _why = READ_ELSEWHERE[path]
    source = (Path(policies.__file__).parent / file).read_text(encoding="utf-8")
    assert f"settings.{path}" in source


@pytest.mark.parametrize("path", [path for path in paths() if path.startswith("worker.")])
def test_every_setting_of_the_worker_is_passed_to_the_workers_own_environment(path: str) -> None:
    """Its process reads it there, in the very form that the environment's reader understands."""
    changed = another_value(path)
    environment = policies.worker_environment(changed)
    assert policies.worker_policy(load_settings(None, environment)) == policies.worker_policy(changed)


def test_a_worker_is_told_nothing_that_is_the_default_anyway() -> None:
    """Every variable takes room in the overrides, of which ECS allows 8,192 characters."""
    assert policies.worker_environment(Settings()) == {}


def test_a_worker_is_told_tables_storage_and_log_level_where_they_differ() -> None:
    settings = Settings(
        log_level="DEBUG",
        tables={"runs": "RUNS_2"},
        storage={"artifact_bucket": "other-bucket"},
        worker={"drain_s": 5, "default_max_concurrency": 4, "max_tasks_per_process": 1},
        launching={"interval_s": 2},
    )
    assert policies.worker_environment(settings) == {
        "DAGY_TABLES__RUNS": "RUNS_2",
        "DAGY_STORAGE__ARTIFACT_BUCKET": "other-bucket",
        "DAGY_WORKER__DRAIN_S": "5.0",
        "DAGY_WORKER__DEFAULT_MAX_CONCURRENCY": "4",
        "DAGY_WORKER__MAX_TASKS_PER_PROCESS": "1",
        "DAGY_LOG_LEVEL": "DEBUG",
    }


def test_a_worker_that_writes_figures_is_told_their_dimensions() -> None:
    settings = Settings(environment="prod", installation="blue", telemetry={"cloudwatch_metrics": True})
    assert policies.worker_environment(settings) == {
        "DAGY_TELEMETRY__CLOUDWATCH_METRICS": "True",
        "DAGY_ENVIRONMENT": "prod",
        "DAGY_INSTALLATION": "blue",
    }
    assert policies.worker_environment(Settings(environment="prod", installation="blue")) == {}


def test_a_worker_is_told_the_installation_wide_environment_through_the_launch_target() -> None:
    settings = Settings(ecs=LAUNCHABLE, tables={"runs": "RUNS_2"})
    assert policies.launch_policy(settings).target.worker_environment == {"DAGY_TABLES__RUNS": "RUNS_2"}


def test_known_only_takes_away_what_nobody_knows_and_names_it() -> None:
    kept, strange = known_only(
        {
            "DAGY_RUN_ID": "r1",
            "DAGY_ATTEMPT": "1",
            "DAGY_CORRELATION_ID": "c",
            "DAGY_CONFIG": "/etc/dagy.toml",
            "DAGY_TABLES__RUNS": "RUNS_2",
            "DAGY_TABEL__RUNS": "mistyped",
            "DAGY_": "",
            "PATH": "/bin",
        }
    )
    assert strange == ["DAGY_", "DAGY_TABEL__RUNS"]
    assert kept == {
        "DAGY_RUN_ID": "r1",
        "DAGY_ATTEMPT": "1",
        "DAGY_CORRELATION_ID": "c",
        "DAGY_CONFIG": "/etc/dagy.toml",
        "DAGY_TABLES__RUNS": "RUNS_2",
        "PATH": "/bin",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "my flow's own: prod & co"),
        ("DRY_RUN", "maybe"),
        ("MAX_TASK_RUNTIME_HOURS", "soon"),
        ("ECS_CLUSTER", "not a cluster!"),
        ("TRADING_STATE_TABLE", "?"),
    ],
)
def test_a_flows_own_variable_with_the_scanners_name_does_not_keep_its_worker_from_starting(
    name: str, value: str
) -> None:
    """They are the orphan scanner's names, and everybody else's: a run may set them for its own code."""
    kept, strange = known_only({name: value, "DAGY_TABLES__RUNS": "RUNS_2"})
    assert strange == [], "nothing about it is worth a warning"
    assert load_settings(None, kept).tables.runs == "RUNS_2"


def test_a_commands_own_options_override_the_reconcilers_settings() -> None:
    settings = Settings(reconciling={"max_runs": 400})
    by_hand = policies.reconcile_policy_by_hand(settings, max_runs=50, stale_threshold_s=0)
    assert (by_hand.max_runs, by_hand.stale_threshold_s, by_hand.pace.spread_s) == (50, 0, 0)
    assert policies.reconcile_policy_by_hand(settings, max_runs=0).stale_threshold_s == 300
    assert (policies.reconcile_policy(settings).max_runs, policies.reconcile_policy(settings).stale_threshold_s) == (
        400,
        300,
    )


@pytest.mark.parametrize(("embedded_cloud", "grace_s"), [(False, 3600), (True, 7)])
def test_by_hand_a_task_is_lost_only_once_ecs_forgets_stopped_ones(embedded_cloud: bool, grace_s: float) -> None:
    settings = Settings(embedded_cloud=embedded_cloud, reconciling={"missing_grace_s": 7 if embedded_cloud else 600})
    policy = policies.reconcile_policy_by_hand(settings, max_runs=50)
    assert (policy.missing_grace_s, policy.look_again_s) == (grace_s, 5)


@pytest.mark.parametrize(("share", "calls_per_s"), [(1.0, 15.0), (0.5, 7.5)])
def test_a_large_pass_leaves_a_quarter_of_the_steady_read_rate_to_others(share: float, calls_per_s: float) -> None:
    pace = policies.reconcile_policy(Settings(aws={"account_share": share}, reconciling={"interval_s": 60})).pace
    assert (pace.calls_per_s, pace.spread_s) == (calls_per_s, 48.0)


def test_a_state_table_without_a_name_is_switched_off_and_known_to_be() -> None:
    policy = policies.orphan_policy(Settings())
    assert (policy.criteria.state_tables, policy.switched_off) == ((), ("retraining", "trading"))


@pytest.mark.parametrize(("interval_s", "life_s"), [(300, 3600), (7200, 21600)])
def test_a_suspicion_lives_for_three_scans_and_an_hour_at_least(interval_s: float, life_s: float) -> None:
    assert policies.orphan_policy(Settings(orphans={"interval_s": interval_s})).suspicion_life_s == life_s


@pytest.mark.parametrize(("on", "told"), [(True, TOPIC), (False, None)])
def test_nobody_is_alerted_unless_the_alert_publisher_is_on(on: bool, told: str | None) -> None:
    settings = Settings(orphans={"alert_publisher": on, "alert_topic_arn": TOPIC})
    assert policies.orphan_policy(settings).alerts.topic_arn == told


def test_the_executor_lacks_exactly_the_settings_that_are_unset() -> None:
    executors = policies.request_policy(Settings(ecs={**LAUNCHABLE, "subnets": []})).executors
    assert executors["ecs"].missing_settings == ("DAGY_ECS_SUBNETS",)
    assert policies.request_policy(Settings(ecs=LAUNCHABLE)).executors["ecs"].missing_settings == ()


def test_a_hung_tick_is_noticed_between_five_minutes_and_an_hour() -> None:
    plans = policies.loop_plans(Settings(launching={"interval_s": 0.5}, orphans={"interval_s": 86400}))
    deadlines = {name: plan.schedule.deadline_s for name, plan in plans.items()}
    assert deadlines == {"launching": 300, "reconciling": 600, "events": 300, "dead-letters": 1200, "orphans": 3600}
