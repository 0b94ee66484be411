"""References: where they stand, and what may be written in their place."""

import pytest

from dagy_control.config import ConfigError, ConfigText, load_with_sources, references_in

REGION = "us-east-1"
ELSEWHERE = "eu-west-1"


def file(text: str) -> ConfigText:
    return ConfigText("dagy.toml", text.encode())


@pytest.mark.parametrize(
    ("text", "environ", "region"),
    [
        pytest.param('[aws]\nregion = "eu-west-1"\n', {"AWS_REGION": REGION}, ELSEWHERE, id="file over AWS's own"),
        pytest.param('[aws]\nregion = "eu-west-1"\n', {"DAGY_AWS__REGION": REGION}, REGION, id="variable over file"),
        pytest.param("# nothing\n", {"AWS_DEFAULT_REGION": REGION}, REGION, id="AWS's own"),
        pytest.param('[aws]\nregion = "ssm:/region"\n', {}, None, id="a reference cannot say where it stands"),
        pytest.param('[aws]\nregion = "ssm:"\n', {}, None, id="nor can a misspelt one"),
        pytest.param("[aws]\nregion = 7\n", {}, None, id="no text"),
        pytest.param("aws = 7\n", {}, None, id="no table"),
    ],
)
def test_where_references_stand(text: str, environ: dict[str, str], region: str | None) -> None:
    assert references_in(file(text), environ).region == region


@pytest.mark.parametrize(
    ("text", "environ", "subnets"),
    [
        pytest.param('[ecs]\nsubnets = "ssm:/both"\n', {}, ("subnet-1", "subnet-2"), id="a whole list"),
        pytest.param('[ecs]\nsubnets = ["ssm:/one", "subnet-9"]\n', {}, ("subnet-1", "subnet-9"), id="an item of one"),
        pytest.param("", {"DAGY_ECS_SUBNETS": "ssm:/both"}, ("subnet-1", "subnet-2"), id="a whole list by variable"),
        pytest.param("", {"DAGY_ECS_SUBNETS": "ssm:/one, ssm:/two"}, ("subnet-1", "subnet-2"), id="items by variable"),
        pytest.param("", {"DAGY_ECS_SUBNETS": "subnet-9,ssm:/two"}, ("subnet-9", "subnet-2"), id="some by variable"),
    ],
)
def test_a_list_by_reference(text: str, environ: dict[str, str], subnets: tuple[str, ...]) -> None:
    resolved = {"ssm:/both": "subnet-1,subnet-2", "ssm:/one": "subnet-1", "ssm:/two": "subnet-2"}
    config = file(text or "# nothing\n")
    assert {each.text for each in references_in(config, environ).each} <= set(resolved)
    assert load_with_sources(config, environ, resolved).settings.ecs.subnets == subnets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param('[ecs]\nsubnets = ["ssm:/x"]\n', "must match pattern", id="an item that stands for two"),
        pytest.param('[ecs.profiles.a]\ncpu = "ssm:/x"\nmemory = 512\n', "valid integer", id="a number in a table"),
        pytest.param(
            '[ecs]\ntask_definition = "ssm:/x,ssm:/y"\n', "no reference that can be read", id="two for a text"
        ),
    ],
)
def test_what_a_reference_cannot_stand_for_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_with_sources(file(text), {}, {"ssm:/x": "subnet-1,subnet-2"})
    assert said in str(caught.value)
    assert "subnet-1" not in str(caught.value)
