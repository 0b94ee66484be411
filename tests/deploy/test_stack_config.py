"""The installation's configuration: what is refused, with which words; and that its documentation is complete."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dagy_control.config.settings import Settings
from dagy_control.model.cost import PriceTable, attempt_cost_usd
from dagy_control.model.tables import TABLES
from deploy import costs
from deploy.stack.config import StackConfig, StackConfigError, load, of_mapping, table
from tests.builders import ago, running, stopped
from tests.deploy.configurations import DEPLOYED, EXISTING

ROOT = Path(__file__).parents[2]
IMAGES = {"daemon_image": "r/dagy-control:v1", "worker_image": "r/dagy-worker:v1"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param({"daemon_image": "r/dagy-control"}, "names no version", id="an image without a tag"),
        pytest.param({"worker_image": "r:5000/dagy-worker:latest"}, "names no version", id="an image that moves"),
        pytest.param({"instalation": "dagy"}, "is no setting of the stack", id="a misspelt name"),
        pytest.param({"installation": "Dagy"}, "small letters", id="a name that a bucket cannot have"),
        pytest.param({"daemon_replicas": 3}, "must be 1 or 2", id="too many daemons"),
        pytest.param({"daemon_replicas": "2"}, "'2' is not a whole number", id="a text for a number"),
        pytest.param({"daemon_replicas": True}, "True is not a whole number", id="a flag for a number"),
        pytest.param({"orphans_dry_run": 1}, "1 is not true or false", id="a number for a flag"),
        pytest.param(
            {"daemon_cpu": 256, "daemon_memory": 4096}, "is not a Fargate size", id="a size that Fargate has not"
        ),
        pytest.param({"daemon_architecture": "arm"}, "must be X86_64 or ARM64", id="an unknown CPU"),
        pytest.param({"daemon_stop_timeout_s": 300}, "which ECS takes at most", id="a stop timeout that ECS refuses"),
        pytest.param({"worker_stop_timeout_s": 10}, "must be 30 to 120", id="less than a worker needs to commit"),
        pytest.param({"nat_gateways": 0}, "leaves no way to ECR", id="no way out"),
        pytest.param({"nat_gateways": 5}, "must be 0, 1 or 2", id="too many gateways"),
        pytest.param({"vpc_cidr": "10.0.0.1/16"}, "host bits set", id="no network"),
        pytest.param({"vpc_cidr": "10.0.0.0/28"}, "every task takes an address", id="a network for a dozen tasks"),
        pytest.param({"private_subnet_ids": ["subnet-1"]}, "is for an existing VPC", id="subnets without their VPC"),
        pytest.param({"vpc_id": "vpc-1"}, "an existing VPC needs them", id="a VPC without subnets"),
        pytest.param(
            {"vpc_id": "vpc-1", "private_subnet_ids": ["a", "b"], "availability_zones": ["z"]},
            "one for each",
            id="zones that do not match",
        ),
        pytest.param({"spot_weight": 0, "on_demand_weight": 0}, "not both 0", id="no weight"),
        pytest.param({"log_retention_days": 42}, "must be one of 1, 3, 5", id="a retention that CloudWatch has not"),
        pytest.param({"alarm_failed_share": 20}, "above 0, and 1 at most", id="a percentage for a share"),
        pytest.param({"alarm_email": "nobody"}, "is no mail address", id="no address"),
        pytest.param({"api_token_secret": "hunter2 hunter2"}, "not the secret", id="the secret for its name"),
        pytest.param(
            {"settings": {"api": {"token": "hunter2"}}},
            "give secret:name or ssm:/name",
            id="a secret among the settings",
        ),
        pytest.param(
            {"settings": {"api": {"port": 8080}}}, "is what the stack decides", id="a port that nothing else knows"
        ),
        pytest.param(
            {"settings": {"tables": {"runs": "OTHER"}}}, "is what the stack decides", id="a table without permissions"
        ),
        pytest.param({"settings": {"max_per_org": 5}}, "is no table", id="a setting outside of a section"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name_and_the_remedy(values: dict[str, Any], told: str) -> None:
    with pytest.raises(StackConfigError) as refused:
        of_mapping({**IMAGES, **values})
    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value), "a refusal is logged: it never shows a secret"


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(StackConfigError) as refused:
        of_mapping({**IMAGES, "daemon_replicas": 0, "log_retention_days": 2})
    assert len(str(refused.value).splitlines()) == 2


def test_what_must_be_given_is_asked_for() -> None:
    with pytest.raises(StackConfigError, match="daemon_image: must be given\nworker_image: must be given"):
        of_mapping({})


def test_a_file_is_named_in_what_is_said_of_it(tmp_path: Path) -> None:
    file = tmp_path / "prod.toml"
    with pytest.raises(StackConfigError, match=r"prod\.toml: cannot be read"):
        load(file)
    file.write_text("daemon_image = ")
    with pytest.raises(StackConfigError, match=r"prod\.toml: is no TOML"):
        load(file)
    file.write_text("daemon_replicas = 9")
    with pytest.raises(StackConfigError, match=r"^.*prod\.toml: daemon_image: must be given\n"):
        load(file)


def test_a_reference_to_a_secret_may_stand_where_a_secret_may_not() -> None:
    config = of_mapping({**IMAGES, "settings": {"api": {"token": "secret:dagy/api-token"}}})
    assert config.settings["api"]["token"] == "secret:dagy/api-token"


def test_the_installation_dagy_has_the_tables_that_the_documentation_names() -> None:
    config = of_mapping(IMAGES)
    names = {spec.setting: config.table_prefix + spec.setting.upper() for spec in TABLES}
    assert names == Settings().tables.model_dump()


def test_the_example_and_the_tests_own_configurations_are_taken() -> None:
    assert load(ROOT / "deploy" / "installation.example.toml").installation == "dagy"
    for text in (DEPLOYED, EXISTING):
        assert of_mapping(tomllib.loads(text)).daemon_image


def test_every_setting_of_the_stack_is_in_the_documentation() -> None:
    """Regenerate by `.venv/bin/python -c "from deploy.stack.config import table; print(table())"`."""
    assert table() in (ROOT / "docs" / "deploy.md").read_text()
    assert len(table().splitlines()) == 2 + len(dataclasses.fields(StackConfig))


def test_the_costs_in_the_documentation_are_those_that_are_computed() -> None:
    """Regenerate by `.venv/bin/python -m deploy.costs`."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert [block for block in costs.tables().split("\n\n") if block not in page] == []


def test_one_run_costs_what_the_program_estimates_for_it() -> None:
    """Ten minutes of a medium run, on demand, by the program's own estimate of an ended task."""
    config = of_mapping({**IMAGES, "spot_weight": 0, "on_demand_weight": 1})
    task = stopped(running(), cpu=1024, memory_mib=2048, pull_started_at=ago(600), stopped_at=ago(0))
    assert costs.per_run(config, "medium", 10) == pytest.approx(attempt_cost_usd(task, PriceTable()))
