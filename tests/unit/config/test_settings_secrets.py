"""A secret that stands where it should not is not told with the mistake."""

from pathlib import Path

import pytest

from dagy_control.config import ConfigError, load_settings
from dagy_control.config.problems import shown


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        pytest.param("db_password = 'canary'", {}, id="key of the file"),
        pytest.param("[vault]\nclient_secret = 'canary'", {}, id="key in an unknown section"),
        pytest.param("[api]\ntokn = 'canary'", {}, id="name misspelt"),
        pytest.param("[apii]\ntokn = 'canary'", {}, id="name and section misspelt"),
        pytest.param("[x]\ny = {z = ['canary', {k = 'canary'}]}", {}, id="within what nobody knows"),
        pytest.param("api = 'canary'", {}, id="text in the place of a section"),
        pytest.param("[[orphans.state_tables]]\ntabel = 'canary'", {}, id="unknown key of a table in a list"),
        pytest.param(None, {"DAGY_APPI__TKN": "canary"}, id="variable of which nothing is right"),
        pytest.param(None, {"DAGY_API__TOKN": "canary"}, id="variable misspelt"),
        pytest.param("[[vaults]]\n[[vaults.inner]]\napi_key = ['canary']", {}, id="key in a list of tables"),
        pytest.param("launching.interval_s = {token = 'canary'}", {}, id="key in a wrong value"),
        pytest.param("password = 'canary", {}, id="file that is no TOML"),
        pytest.param(None, {"DAGY_DB_PASSWORD": "canary"}, id="unknown variable"),
        pytest.param(None, {"DAGY_ECS__PROFILES": '{"password": "canary"'}, id="JSON that is not understood"),
        pytest.param(
            None, {"DAGY_LAUNCHING__TOKEN_REPLAY_MAX_AGE_S": "canary"}, id="text for a number with such a name"
        ),
    ],
)
def test_a_secret_is_not_echoed(tmp_path: Path, text: str | None, environ: dict[str, str]) -> None:
    path = tmp_path / "dagy.toml"
    path.write_text(text or "")
    with pytest.raises(ConfigError) as caught:
        load_settings(path if text else None, environ)
    assert "canary" not in str(caught.value.problems)
    assert "canary" not in str(caught.value)


def test_a_number_is_no_secret_and_a_long_value_is_cut() -> None:
    assert shown("launching.token_replay_max_age_s", 3300) == "3300"
    assert len(shown("x", "y" * 1000)) < 200
