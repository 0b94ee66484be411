"""A configuration that nobody would write, and somebody's editor will: it is refused by a reason, never by a traceback."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dagy_control.config import ConfigError, ConfigText, Problem, load_with_sources, references_in
from dagy_control.entrypoints.config_commands import app

DIGITS = 5000
"""More than Python makes a number of (`sys.set_int_max_str_digits`), or a text from one."""

REFUSED = {
    "a number of 5,000 digits": ("[launching]\ninterval_s = " + "9" * DIGITS, "too long"),
    "the same in hexadecimal": ("[launching]\nmax_in_flight = 0x" + "f" * DIGITS, "launching.max_in_flight"),
    "a whole number beyond 64 bits": ("[launching]\nmax_queued_runs = 9223372036854775808", "64 bits"),
    "one that is no float either": ("[aws]\nread_timeout_s = 1" + "0" * 400, "aws.read_timeout_s"),
    "500 lists in each other": ("x = " + "[" * 500 + "]" * 500, "deep"),
    "5,000 that never end": ("x = " + "[" * 5000, "deep"),
    "3,000 tables by one dotted key": (".".join(["a"] * 3000) + " = 1", "deep"),
    "inline tables in each other": ("[ecs]\nprofiles = " + "{a=" * 300 + "1" + "}" * 300, "deep"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_python_cannot_read_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_with_sources(ConfigText("dagy.toml", text.encode()), {})
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000, "told in a few words"
    assert references_in(ConfigText("dagy.toml", text.encode()), {}).each == ()


def test_an_odd_value_is_named_by_its_line() -> None:
    text = "[launching]\ninterval_s = 1\nmax_queued_runs = 9223372036854775808\n"
    with pytest.raises(ConfigError) as caught:
        load_with_sources(ConfigText("dagy.toml", text.encode()), {})
    (problem,) = caught.value.problems
    assert (problem.source, problem.key) == ("dagy.toml:3", "launching.max_queued_runs")


@pytest.mark.parametrize(
    "text", ["[" * 5000, "[" * 500 + "]" * 500, '{"a": ' * 300 + "1" + "}" * 300, '"\\ud800"', '{"\\ud800": 1}']
)
def test_a_variable_that_cannot_be_read_as_json_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_with_sources(None, {"DAGY_ECS__PROFILES": text})
    assert {problem.source for problem in caught.value.problems} == {"DAGY_ECS__PROFILES"}
    str(caught.value).encode()


def test_the_command_tells_it_as_it_tells_any_mistake(tmp_path: Path) -> None:
    for number, (text, said) in enumerate(REFUSED.values()):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        result = CliRunner().invoke(app, ["check", str(path)])
        assert (result.exit_code, result.stderr) == (1, "")
        assert said in result.stdout


PIECES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["[launching]\n", "[[orphans.state_tables]]\n", "[ecs.profiles.a]\n", "interval_s = ", "\n", " = "]
    ),
    st.sampled_from(
        ['"', "'", '"""', "\\", "#", "ssm:", "secret:a#b", "0x", "1e", "inf", "nan", "\x00", "\ufeff", "\r"]
    ),
    st.builds(
        lambda piece, count: piece * count,
        st.sampled_from(["[", "]", "{", "{a=", "}", "a.", "9", "f", "0", "[[", "'", '"', " ", "\n"]),
        st.sampled_from([2, 30, 400, 6000]),
    ),
)
ODD_VALUES = st.builds(
    lambda ends, count: ends[0] * count + ends[1] + ends[2] * count,
    st.sampled_from(
        [("[", "", "]"), ("{a=", "1", "}"), ('{"a":', "1", "}"), ("9", "", ""), ("0x", "f", "f"), ("a.", "b=1", "")]
    ),
    st.sampled_from([1, 19, 21, 400, 6000]),
)
"""Such as are read up to some size, and not beyond it."""
TEXTS = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    ODD_VALUES,
    st.builds(
        "[{}]\n{} = {}\n".format, st.sampled_from(["launching", "ecs"]), st.sampled_from(["x", "subnets"]), ODD_VALUES
    ),
)
NAMES = ["DAGY_LAUNCHING__INTERVAL_S", "DAGY_ECS__PROFILES", "DAGY_ECS_SUBNETS", "RETRAINING_STATE_TABLE", "AWS_REGION"]


def problems_of(data: bytes, environ: dict[str, str], value: str) -> tuple[Problem, ...]:
    """Empty for settings; any other error than `ConfigError` is the test's failure."""
    text = ConfigText("dagy.toml", data)
    try:
        resolved = {reference.text: value for reference in references_in(text, environ).each}
        load_with_sources(text, environ, resolved)
    except ConfigError as error:
        return error.problems
    return ()


@settings(max_examples=150, deadline=None)
@given(
    TEXTS.map(lambda text: text.encode()) | st.binary(max_size=60),
    st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=3),
    TEXTS,
)
def test_any_text_of_file_variable_or_reference_is_taken_or_refused(
    data: bytes, environ: dict[str, str], value: str
) -> None:
    for problem in problems_of(data, environ, value):
        assert problem.reason
        assert problem.remedy
        json.dumps(str(problem)).encode()
