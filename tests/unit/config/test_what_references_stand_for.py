"""What a reference stands for is in no sentence about a configuration, neither a value nor a name within it."""

import json
from typing import Any

import pytest

from dagy_control.config import ConfigError, find_advice, load_with_sources
from dagy_control.config.toml_file import ConfigText

TABLE = {
    "name": "canaryname",
    "key_attribute": "CANARY-key",
    "task_tag": "CANARY-tag",
    "terminal_statuses": ["CANARY-end"],
}
PROFILE = {"cpu": 256, "memory": 512}


def said(file: str, stands_for: Any) -> str:
    """All that is said of a file in which `ssm:/x` stands for this: its problems, or the advice."""
    value = stands_for if isinstance(stands_for, str) else json.dumps(stands_for)
    try:
        loaded = load_with_sources(ConfigText("f.toml", file.encode()), {}, {"ssm:/x": value})
    except ConfigError as error:
        return str(error)
    return "advice: " + "\n".join(find_advice(loaded))


@pytest.mark.parametrize(
    ("file", "stands_for", "reason"),
    [
        pytest.param(
            '[ecs]\nprofiles = "ssm:/x"', {"CANARY": PROFILE}, "is not one of ecs.profiles (…); name one of …", id="profiles"
        ),
        pytest.param(
            '[ecs]\nprofiles = "ssm:/x"',
            {"medium": {"cpu": 4711, "memory": 512}},
            "ecs.profiles = ssm:/x does not stand for what this takes; give a table",
            id="a size",
        ),
        pytest.param(
            '[ecs]\nprofiles = "ssm:/x"',
            {"CANARY key!": PROFILE},
            "ecs.profiles = ssm:/x does not stand for what this takes",
            id="a name in a table",
        ),
        pytest.param(
            '[ecs]\nprofiles = "ssm:/x"',
            {"medium": {**PROFILE, "CANARY": 1}},
            "ecs.profiles = ssm:/x does not stand for what this takes",
            id="an unknown name in a table",
        ),
        pytest.param(
            '[launching]\nreply_timeout_s = 30\n[aws]\nread_timeout_s = "ssm:/x"',
            "47.11",
            "launching.reply_timeout_s = 30 must be above aws.read_timeout_s, which is …: a launch",
            id="a time that another must be above",
        ),
        pytest.param(
            '[aws]\nread_timeout_s = "ssm:/x"',
            "4.711",
            "aws.read_timeout_s = ssm:/x must be above events.wait_s, which is 10: every",
            id="a time that must be above another, whose value may be told",
        ),
        pytest.param(
            '[reconciling]\nmax_runs = 2\nmissing_share_min_tasks = "ssm:/x"',
            "4711",
            "is below reconciling.missing_share_min_tasks, which is …: a pass",
            id="a number that another must reach",
        ),
        pytest.param(
            '[orphans]\nstate_tables = "ssm:/x"',
            [TABLE, {**TABLE, "name": "canaryother"}],
            "two of them have the task_tag '…': a task",
            id="tags of state tables",
        ),
        pytest.param(
            '[orphans]\nstate_tables = "ssm:/x"',
            [TABLE],
            "advice: the executor",
            id="advice on state tables",
        ),
        pytest.param(
            '[reconciling]\ninterval_s = "ssm:/x"', "471.1", "within reconciling.interval_s or more", id="advice on polling"
        ),
    ],
)  # fmt: skip
def test_what_a_reference_stands_for_is_not_told(file: str, stands_for: Any, reason: str) -> None:
    text = said(file, stands_for)
    assert reason in text
    assert not any(each in text for each in ("CANARY", "canary", "4711", "47.11", "4.711", "471.1")), text


def test_values_that_were_written_themselves_are_told() -> None:
    text = said("[ecs.profiles.tiny]\ncpu = 256\nmemory = 512\n[launching]\nreply_timeout_s = 1\n", "")
    assert "is not one of ecs.profiles (tiny); name one of tiny, or add the profile" in text
    assert "must be above aws.read_timeout_s, which is 20:" in text
