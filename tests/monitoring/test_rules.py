"""The alert rules: each fires in its story and in no other, names metrics that exist, and leads to a heading of the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.scenarios import END, FIRING, SILENT, Story, healthy
from tests.monitoring.servers import in_test_time
from tests.monitoring.shipped import (
    ALERTS,
    EXAMPLES,
    RECORDS,
    ROOT,
    RULES,
    alert_table,
    anchors_of,
    documented_metrics,
    metrics_in,
)

needs_promtool = pytest.mark.monitoring


def run(*command: str | Path) -> str:
    """What the command prints; the test fails with it when the command does."""
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def played(story: Story) -> dict[str, Any]:
    """The story as promtool takes it."""
    series = {name: value for name, value in {**healthy(), **story.differs}.items() if value is not None}
    fired = [{"labels": f'{{alertname="{name}"}}', "value": count} for name, count in story.fires.items()]
    return {
        "name": story.name,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": END,
                "exp_samples": fired,
            }
        ],
    }


@needs_promtool
@pytest.mark.parametrize("story", [*SILENT, *FIRING], ids=lambda story: story.name)
def test_in_each_story_exactly_its_alerts_fire(story: Story, tmp_path: Path) -> None:
    unit_test = tmp_path / "story.yml"
    unit_test.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [played(story)]})
    )
    run("promtool", "test", "rules", unit_test)


@needs_promtool
def test_an_alert_tells_its_values_and_where_to_read_on(tmp_path: Path) -> None:
    (story,) = (each for each in FIRING if each.name == "passes take too long")
    labels = {"severity": "warning", "job": "dagy"}
    told = {
        "summary": "Reconciling is 5m 1s behind.",
        "description": "So late is the end of a run of dagy noticed whose event was lost. Above ten intervals passes fail, or there is too "
        "much for one.",
        "runbook_url": "https://docs.test/operations.md#a-run-stays-running",
    }
    test = played(story) | {
        "external_labels": {"docs_url": "https://docs.test"},
        "promql_expr_test": [],
        "alert_rule_test": [
            {
                "eval_time": END,
                "alertname": "DagyReconcileLag",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": told}],
            }
        ],
    }
    unit_test = tmp_path / "story.yml"
    unit_test.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    run("promtool", "test", "rules", unit_test)


@needs_promtool
def test_prometheus_and_alertmanager_accept_what_is_shipped() -> None:
    run("promtool", "check", "rules", RULES)
    run("promtool", "check", "config", EXAMPLES / "prometheus.example.yml")
    run("amtool", "check-config", EXAMPLES / "alertmanager.example.yml")
    assert shutil.which("prometheus"), "the server itself, for test_alerting"


def test_the_page_lists_the_alerts_as_they_are() -> None:
    """`python -m tests.monitoring.shipped` prints the table."""
    assert alert_table() in (ROOT / "docs" / "monitoring.md").read_text()


def test_every_alert_has_its_story() -> None:
    assert {name for story in FIRING for name in story.fires} == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_waits_says_what_is_wrong_and_leads_to_the_runbook(alert: dict[str, Any]) -> None:
    assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    match = re.fullmatch(
        r"\{\{ \$externalLabels\.docs_url \}\}/operations\.md#([a-z-]+)", alert["annotations"]["runbook_url"]
    )
    assert match, alert["annotations"]["runbook_url"]
    assert match.group(1) in anchors_of("operations.md")


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDS], ids=lambda rule: rule.get("alert") or rule["record"])
def test_an_expression_names_metrics_that_are_documented(rule: dict[str, Any]) -> None:
    known = documented_metrics() | {record["record"] for record in RECORDS} | {"up", "process_start_time_seconds"}
    named = metrics_in(rule["expr"])
    assert named
    assert named <= known


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    assert metrics_in('sum by (loop) (rate(dagy_gone_total{loop="x"}[5m])) > dagy:record') == {
        "dagy_gone_total",
        "dagy:record",
    }


def test_what_alertmanager_holds_back_are_alerts_that_exist() -> None:
    config = yaml.safe_load((EXAMPLES / "alertmanager.example.yml").read_text())
    named = set(re.findall(r'alertname = "(\w+)"', yaml.safe_dump(config["inhibit_rules"], width=1000)))
    assert named <= {alert["alert"] for alert in ALERTS}
    assert len(named) > 3


def test_only_waits_are_shortened_in_test_time() -> None:
    shipped, here = RULES.read_text().splitlines(), in_test_time(RULES.read_text()).splitlines()
    changed = [(old.strip(), new.strip()) for old, new in zip(shipped, here, strict=True) if old != new]
    assert ("for: 1h", "for: 60s") in changed
    assert [old for old, _ in changed if not old.startswith("for: ")] == [
        "> 3 * max by (job, loop) (dagy_loop_interval_seconds) + 300"
    ]
