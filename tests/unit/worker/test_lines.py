"""What leaves the worker as text: one event one line, bounded, and without what must not be told."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from dagy_control.config.loops import WorkerSettings
from dagy_control.kernel.telemetry import configure_logging, log
from dagy_control.worker.lines import LINE_MAX_CHARACTERS, TEXT_MAX_CHARACTERS, Redactor, cut

PATTERNS = WorkerSettings().redact_keys


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def written(capsys: pytest.CaptureFixture[str], redactor: Redactor, message: str, **fields: Any) -> list[str]:
    configure_logging(level="DEBUG", finish=redactor.process)
    log("test").info(message, **fields)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", 'a"}\n{"level": "info", "x": "', "a\u2028b\u2029c\x85d", "\x1b[31mred", "\ud800 half"]
)
def test_whatever_a_text_holds_one_event_is_one_line_of_ascii(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = written(capsys, Redactor(()), f"task failed: {text}", error=text)
    assert len(lines) == 1
    assert lines[0].isascii()
    assert json.loads(lines[0])["error"] == text


def test_a_long_text_keeps_its_beginning_and_end_and_says_that_it_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = written(capsys, Redactor(()), "x", error="begin " + "x" * 100_000 + " end")
    error = json.loads(line)["error"]
    assert error.startswith("begin ")
    assert error.endswith(" end")
    assert "[100,010 characters, cut]" in error
    assert len(error) <= TEXT_MAX_CHARACTERS


def test_a_line_of_many_long_texts_stays_within_what_cloudwatch_takes(capsys: pytest.CaptureFixture[str]) -> None:
    fields: dict[str, Any] = {f"field_{number}": "é" * 20_000 for number in range(30)}
    fields["list"] = ["é" * 9_000] * 500
    (line,) = written(capsys, Redactor(()), "x" * 20_000, **fields)
    assert len(line.encode()) < 256 * 1024 * 2 - 1
    assert len("".join(str(value) for value in json.loads(line).values())) < 2 * LINE_MAX_CHARACTERS


def test_a_traceback_is_in_the_line_and_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    redactor = Redactor(PATTERNS)
    redactor.learn({"db_password": "hunter22"})
    configure_logging(level="DEBUG", finish=redactor.process)
    try:
        raise LookupError("cannot sign in with hunter22")
    except LookupError:
        log("test").exception("failed")
    (line,) = capsys.readouterr().out.splitlines()
    assert "Traceback" in json.loads(line)["exception"]
    assert "hunter22" not in line
    assert "[redacted db_password]" in line


def test_on_a_terminal_a_traceback_is_shown_too_and_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    redactor = Redactor(PATTERNS)
    redactor.learn({"db_password": "hunter22"})
    configure_logging(level="DEBUG", json=False, finish=redactor.process)
    error: LookupError
    try:
        raise LookupError("no such customer: hunter22")
    except LookupError as raised:
        error = raised
    log("test").error("failed", exc_info=(LookupError, error, error.__traceback__))
    assert "LookupError: no such customer: [redacted db_password]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "PASSWORD",
        "db_password",
        "STRIPE_API_KEY",
        "SlackToken",
        "AWS_SECRET_ACCESS_KEY",
        "client_secret",
        "gcpCredentials",
    ],
)
def test_values_under_such_a_name_are_hidden_wherever_they_occur(name: str) -> None:
    redactor = Redactor(PATTERNS)
    redactor.learn({name: "s3cr3t-value", "plain": "visible"})
    told = redactor.process(
        None, "", {"message": "with s3cr3t-value and visible", "list": ["s3cr3t-value"], name: "any"}
    )
    assert told == {
        "message": f"with [redacted {name}] and visible",
        "list": [f"[redacted {name}]"],
        name: "[redacted]",
    }


def test_what_lies_below_a_hidden_name_is_hidden_too() -> None:
    redactor = Redactor(PATTERNS)
    redactor.learn({"credentials": {"user": "someuser", "more": ["another1", 12345678]}, "day": "monday"})
    assert redactor.text("someuser another1 12345678 monday") == (
        "[redacted credentials.user] [redacted credentials.more] [redacted credentials.more] monday"
    )
    told = redactor.process(None, "", {"parameters": {"credentials": {"user": "x"}, "day": "monday"}})
    assert told == {"parameters": {"credentials": "[redacted]", "day": "monday"}}


def test_a_value_that_contains_another_is_hidden_whole() -> None:
    redactor = Redactor(PATTERNS)
    redactor.learn({"token": "abcdef", "long_token": "abcdefghij"})
    assert redactor.text("abcdefghij abcdef") == "[redacted long_token] [redacted token]"


def test_short_values_and_flags_are_no_secrets() -> None:
    redactor = Redactor(PATTERNS)
    redactor.learn({"use_token": True, "token_count": 3, "password": ""})
    assert redactor.text("True 3") == "True 3"


def test_without_patterns_nothing_is_hidden() -> None:
    redactor = Redactor(())
    redactor.learn({"password": "hunter22"})
    assert redactor.text("hunter22") == "hunter22"


@pytest.mark.parametrize("most", [0, 10, 40, 100])
def test_a_cut_text_is_never_longer_than_its_bound_and_the_mark(most: int) -> None:
    assert len(cut("x" * 1000, most)) <= max(most, 40)
    assert cut("short", 5) == "short"


def test_a_signed_address_loses_its_signature_without_any_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    address = "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=A&X-Amz-Signature=5ec7e7"
    (line,) = written(capsys, Redactor(()), "failed", error=f"GET {address}: 403")
    assert json.loads(line)["error"].startswith("GET https://b.s3.amazonaws.com/k?(signature left out)")
