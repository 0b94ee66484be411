"""The dashboard: the file is what its description makes, on Grafana's own types, and shows every metric that there is."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.monitoring.dashboard import SECTIONS
from deploy.monitoring.grafana import GRID_COLUMNS, dashboard
from tests.monitoring.shipped import DASHBOARD, RECORDS, ROOT, documented_metrics, metrics_in

SCHEMA = ROOT / "tests" / "monitoring" / "grafana"
SHIPPED: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in SHIPPED["panels"] if panel["type"] != "row"]
EXPRESSIONS = {target["expr"]: panel["title"] for panel in PANELS for target in panel["targets"]}


def test_the_file_is_what_its_description_makes() -> None:
    """`python -m deploy.monitoring.dashboard > deploy/monitoring/dashboard.json` makes it anew."""
    assert dashboard(SECTIONS) == SHIPPED


def test_every_metric_is_shown() -> None:
    named = {name for expression in EXPRESSIONS for name in metrics_in(expression)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in documented_metrics()} - shown == set()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_what_exists_of_the_chosen_installation(expression: str) -> None:
    known = documented_metrics() | {record["record"] for record in RECORDS}
    others = {name for name in metrics_in(expression) if not name.startswith("process_")} - known
    assert others == set()
    assert (
        len(re.findall(r'job="\$job"', expression))
        == len(re.findall(r"(?<![\w:])(?:dagy[_:]|process_|ALERTS)\w*\{", expression))
        > 0
    )


def test_panels_have_a_number_each_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in SHIPPED["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in SHIPPED["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < GRID_COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Grafana's types and the TypeScript compiler, by npm."""
    assert shutil.which("npm"), "npm is needed (Debian: apt-get install npm): Grafana publishes its types there only"
    folder = tmp_path_factory.mktemp("grafana")
    for name in ("package.json", "tsconfig.json"):
        shutil.copy(SCHEMA / name, folder)
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, f"npm could not install Grafana's types: {done.stderr}"
    return folder


def complaints(folder: Path, document: str) -> str:
    """What the compiler has against the dashboard."""
    (folder / "dashboard.ts").write_text((SCHEMA / "check.ts.in").read_text().replace("DASHBOARD", document))
    command = ["node", "node_modules/typescript/bin/tsc", "--project", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100).stdout


@pytest.mark.monitoring
def test_grafanas_own_types_take_the_dashboard(schema: Path) -> None:
    assert complaints(schema, DASHBOARD.read_text()) == ""


@pytest.mark.monitoring
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"timeseries"', '"timeserie"'),
        ('"displayMode": "list"', '"displayMode": "lost"'),
        ('"gridPos"', '"gridpos"'),
        ('"lineWidth"', '"linewidth"'),
        ('"graphTooltip": 1', '"graphTooltip": 7'),
    ],
)
def test_grafanas_types_notice_what_is_wrong(schema: Path, right: str, wrong: str) -> None:
    document = DASHBOARD.read_text()
    assert right in document
    assert "error TS" in complaints(schema, document.replace(right, wrong))
