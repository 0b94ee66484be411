"""The shape of log lines, and the names of metrics."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.typing import EventDict

from dagy_control.kernel.call_metrics import ApiCallMetrics
from dagy_control.kernel.limiter import Bucket, Limiter
from dagy_control.kernel.telemetry import (
    LimiterMetrics,
    LoopMetrics,
    RunEndMetrics,
    configure_logging,
    log,
    new_registry,
)
from dagy_control.model.runs import FailureClass, RunStatus
from tests.builders import running
from tests.fakes.clock import VirtualClock


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_log_line_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", static={"service": "dagy-control", "environment": "test"})
    log("launching.loop").info(
        "Run launched", event_type="RUN_LAUNCHED", run_id="r1", at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    (line,) = _lines(capsys)
    assert list(line)[:3] == ["timestamp", "level", "message"]
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() is not None
    assert line == {
        "level": "info",
        "logger": "launching.loop",
        "message": "Run launched",
        "event_type": "RUN_LAUNCHED",
        "run_id": "r1",
        "at": "2026-01-02T00:00:00+00:00",
        "service": "dagy-control",
        "environment": "test",
    }


def test_an_exception_is_one_field_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO")
    try:
        raise ValueError("broken")
    except ValueError:
        log("x").exception("It failed")
    (line,) = _lines(capsys)
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: broken")


@pytest.mark.parametrize("json", [True, False], ids=["json", "console"])
@pytest.mark.parametrize("whose", ["ours", "a library's"])
def test_a_traceback_tells_no_values_of_variables_and_is_finished_too(
    json: bool, whose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish(_: object, __: str, event: EventDict) -> EventDict:
        return {name: str(value).replace("hunter22", "[redacted]") for name, value in event.items()}

    def sign_in(token: str) -> None:
        raise LookupError("no such customer: hunter" + str(len(token)))

    configure_logging(level="INFO", json=json, finish=finish)
    try:
        sign_in("canary-0123456789-abcd")
    except LookupError as error:
        if whose == "ours":
            log("x").error("It failed", exc_info=error)
        else:
            logging.getLogger("some.library").exception("It failed")
    said = capsys.readouterr().out
    assert "Traceback (most recent call last)" in said
    assert "LookupError: no such customer: [redacted]" in said
    assert "token = " not in said
    assert "canary-0123456789-abcd'" not in said


def test_lines_of_libraries_come_in_the_same_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO", static={"service": "s"})
    logging.getLogger("some.library").warning("retrying %s", "it")
    (line,) = _lines(capsys)
    assert (line["message"], line["level"], line["logger"], line["service"]) == (
        "retrying it",
        "warning",
        "some.library",
        "s",
    )


def test_libraries_that_would_log_secrets_never_go_to_debug(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="DEBUG")
    logging.getLogger("botocore.auth").debug("Authorization: secret")
    log("ours").debug("Detail")
    assert [line["message"] for line in _lines(capsys)] == ["Detail"]


def test_a_line_that_nobody_can_read_any_more_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        configure_logging(level="INFO")
    log("x").error("to a closed file")


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="WARNING")
    log("x").info("quiet")
    log("x").warning("loud")
    assert [line["message"] for line in _lines(capsys)] == ["loud"]


def test_configuring_again_replaces_and_does_not_double(capsys: pytest.CaptureFixture[str]) -> None:
    logger = log("x")
    configure_logging(level="INFO", static={"config": "old"})
    logger.info("first")
    configure_logging(level="INFO", static={"config": "new"})
    logger.info("second")
    assert [(line["message"], line["config"]) for line in _lines(capsys)] == [("first", "old"), ("second", "new")]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging(level="loud")


def test_a_person_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO", json=False)
    log("x").info("Hello", run_id="r1")
    out = capsys.readouterr().out
    assert "Hello" in out
    assert "run_id=r1" in out
    assert not out.startswith("{")


def test_every_metric_has_the_name_that_dashboards_and_alerts_use() -> None:
    registry = new_registry()
    LoopMetrics(registry).ticks.labels("launching", "ok").inc()
    ApiCallMetrics(registry).record(service="ecs", operation="RunTask", outcome="ok", duration_s=0.1)
    limiter = Limiter(VirtualClock())
    LimiterMetrics(registry, limiter)
    names = {metric.name for metric in registry.collect()}
    assert names >= {
        "dagy_loop_ticks",
        "dagy_loop_tick_duration_seconds",
        "dagy_loop_last_success_timestamp_seconds",
        "dagy_loop_overruns",
        "dagy_loop_consecutive_errors",
        "dagy_aws_calls",
        "dagy_aws_call_duration_seconds",
        "dagy_aws_throttles",
        "dagy_limiter_tokens",
        "dagy_limiter_rate",
        "dagy_limiter_waiting",
        "process_cpu_seconds",
        "python_info",
    }
    assert b"dagy_loop_ticks_total" in generate_latest(registry)


def test_every_end_that_a_run_may_come_to_is_counted_from_0() -> None:
    """Prometheus sees no increase in the first sample of a series: thirty failures at once, the first of their class, were none."""
    registry = CollectorRegistry()
    ends = RunEndMetrics(registry)
    for why in FailureClass:
        failed = {"status": "FAILED", "failure_class": why.value}
        assert registry.get_sample_value("dagy_runs_ended_total", failed) == 0
    for status in ("SUCCEEDED", "CANCELLED"):
        assert registry.get_sample_value("dagy_runs_ended_total", {"status": status, "failure_class": ""}) == 0
    ends.record(replace(running(), status=RunStatus.FAILED, failure_class=FailureClass.LOST))
    assert registry.get_sample_value("dagy_runs_ended_total", {"status": "FAILED", "failure_class": "LOST"}) == 1


def test_the_limiters_gauges_are_read_when_asked() -> None:
    registry = CollectorRegistry()
    limiter = Limiter(VirtualClock())
    LimiterMetrics(registry, limiter)
    assert registry.get_sample_value("dagy_limiter_tokens", {"bucket": "ecs_read"}) == 90
    limiter.throttled([Bucket.ECS_READ])
    assert registry.get_sample_value("dagy_limiter_tokens", {"bucket": "ecs_read"}) == 0
    assert registry.get_sample_value("dagy_limiter_rate", {"bucket": "ecs_modify"}) == 38
