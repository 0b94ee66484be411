"""Whatever the file and the environment hold: settings or a `ConfigError`, never another error."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dagy_control.config import ConfigError, Problem, load_settings
from dagy_control.config.catalogue import groups
from dagy_control.config.environment import BARE_NAMES, FALLBACK_NAMES, STATE_TABLE_NAMES, variable_names

_NAMES = sorted({*variable_names(), *BARE_NAMES, *FALLBACK_NAMES, *STATE_TABLE_NAMES})
_WORDS = [
    "",
    " ",
    "0",
    "-1",
    "1.5",
    "nan",
    "true",
    "x",
    "{",
    "[]",
    "{}",
    "null",
    '"x"',
    "[1]",
    '{"a": {}}',
    '[{"name": "trading"}]',
    "9" * 400,
]
_KEYS = [group.name for group in groups() if group.name] + [
    setting.key for group in groups() for setting in group.settings
]
_VALUES = [
    "1",
    "-0.5",
    "inf",
    "true",
    '"x"',
    "[]",
    "[[1]]",
    "{}",
    "{a = {b = 1}}",
    '[{name = "trading"}]',
    "1979-05-27",
    "07:32:00",
    "x",
]


def problems_of(path: Path, environ: dict[str, str]) -> tuple[Problem, ...]:
    """Empty for settings; any other error than `ConfigError` is the test's failure."""
    try:
        load_settings(path, environ)
    except ConfigError as error:
        return error.problems
    return ()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(_WORDS) | st.text(max_size=8), max_size=6),
    st.lists(st.tuples(st.sampled_from(_KEYS), st.sampled_from(_VALUES)), max_size=5, unique_by=lambda pair: pair[0]),
)
def test_any_input_gives_settings_or_a_config_error(environ: dict[str, str], lines: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dagy.toml"
        path.write_text("\n".join(f"{key} = {value}" for key, value in lines), encoding="utf-8")
        for problem in problems_of(path, environ):
            assert problem.source != "default"
            assert problem.reason
            assert problem.remedy
