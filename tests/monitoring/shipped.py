"""What deploy/ ships, as the tests read it."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "monitoring"
RULES = EXAMPLES / "rules" / "dagy.yml"
DASHBOARD = EXAMPLES / "dashboard.json"
INSIGHTS = ROOT / "deploy" / "insights"

_RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in _RULES if "alert" in rule]
RECORDS = [rule for rule in _RULES if "record" in rule]

_SUFFIXES = {"counter": ("",), "gauge": ("",), "info": ("",), "histogram": ("_bucket", "_sum", "_count")}


def documented_metrics() -> set[str]:
    """The series that docs/metrics.md names (a test of its own holds that page equal to the code)."""
    rows = re.findall(r"^\| `(dagy_\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    return {name + suffix for name, kind in rows for suffix in _SUFFIXES[kind]}


def metrics_in(expression: str) -> set[str]:
    """The metrics and records that an expression names; label values and durations are not among them."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:dagy[_:]\w+|up|process_\w+)\b", bare))


def anchors_of(document: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / document).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def alert_table() -> str:
    """The alerts as docs/monitoring.md lists them: `python -m tests.monitoring.shipped` prints it."""
    lines = ["| alert | severity | after | what it says |", "|---|---|---|---|"]
    for alert in ALERTS:
        anchor = alert["annotations"]["runbook_url"].partition("}}/")[2]
        says = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"*\1*", alert["annotations"]["summary"])
        says = re.sub(r"\{\{ \$value \| \w+ \}\}", "*n*", says)
        lines.append(f"| [`{alert['alert']}`]({anchor}) | {alert['labels']['severity']} | {alert['for']} | {says} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(alert_table())
