"""What a repeated idempotency key is told about the run that it made before."""

from typing import Any

import pytest

from dagy_control.requests.orders import LaunchOrder, differences
from tests.builders import a_run

MADE = a_run(
    flow_version="1",
    parameters='{"day": 1}',
    workload_profile="small",
    cpu=256,
    memory=512,
    environment={"STAGE": "test"},
    max_attempts=2,
)
ORDER: dict[str, Any] = {
    "org_id": "acme",
    "flow_name": "etl",
    "parameters": {"day": 1},
    "extra_env_vars": {"STAGE": "test"},
}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param({}, [], id="the same"),
        pytest.param({"memory": 512, "cpu": 256, "workload_profile": "small", "max_attempts": 2}, [], id="in full"),
        pytest.param({"flow_name": "other"}, ['flow_name "etl", not "other"'], id="flow"),
        pytest.param({"flow_version": "2"}, ['flow_version "1", not "2"'], id="version"),
        pytest.param({"parameters": {"day": 2}}, ['parameters {"day": 1}, not {"day": 2}'], id="parameters"),
        pytest.param({"extra_env_vars": {}}, ['variables {"STAGE": "test"}, not {}'], id="environment"),
        pytest.param({"memory": 8192}, ["memory 512, not 8192"], id="memory"),
        pytest.param({"workload_profile": "large"}, ['workload_profile "small", not "large"'], id="profile"),
        pytest.param({"ephemeral_storage_gib": 30}, ["ephemeral_storage_gib null, not 30"], id="storage"),
        pytest.param({"priority": 5, "max_attempts": 3}, ["priority 0, not 5", "max_attempts 2, not 3"], id="two"),
    ],
)
def test_a_run_is_told_apart_from_another_order_in_every_argument_that_it_names(
    asked: dict[str, Any], told: list[str]
) -> None:
    assert differences(LaunchOrder(**{**ORDER, **asked}), MADE) == told


def test_a_larger_attempt_is_no_other_order() -> None:
    grown = a_run(
        parameters='{"day": 1}',
        environment={"STAGE": "test"},
        workload_profile="medium",
        cpu=1024,
        memory=2048,
        infra_failures=1,
    )
    assert differences(LaunchOrder(**ORDER, memory=512), grown) == []
