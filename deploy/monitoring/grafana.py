"""Grafana's JSON model of a dashboard, made from sections of graphs and figures."""  # noqa: INP001 - see dashboard.py

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

GRID_COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Graph:
    """Lines over time. `lines`: from an expression to its legend. `unit`: Grafana's name of it."""

    title: str
    lines: dict[str, str]
    unit: str = "short"
    tells: str = ""
    width: int = 8
    height: int = 7


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, large. It turns to `colour` from `alarming` on."""

    title: str
    expression: str
    unit: str = "short"
    tells: str = ""
    alarming: float | None = None
    colour: str = "red"
    width: int = 4
    height: int = 4


@dataclass(frozen=True, slots=True)
class Section:
    """A row with its panels, which fill the grid from the left."""

    title: str
    panels: tuple[Graph | Figure, ...]


def dashboard(sections: Iterable[Section]) -> dict[str, Any]:
    """The dashboard in Grafana's JSON model."""
    return {
        "title": "dagy_control",
        "uid": "dagy-control",
        "description": "The daemon: launching, reconciling, orphans, API budget. Metrics: docs/metrics.md; symptoms: docs/operations.md.",
        "tags": ["dagy"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "panels": list(placed(sections)),
    }


def variables() -> list[dict[str, Any]]:
    """What is chosen at the top: where the data are, and which installation."""
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "job",
            "label": "Installation",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": "label_values(dagy_build_info, job)", "refId": "job"},
            "refresh": 2,
            "sort": 1,
        },
    ]


def placed(sections: Iterable[Section]) -> Iterator[dict[str, Any]]:
    """Every row and panel with its place and number."""
    y = number = 0
    for section in sections:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": section.title,
            "collapsed": False,
            "panels": [],
            "gridPos": place(0, y, GRID_COLUMNS, 1),
        }
        x, y, height = 0, y + 1, 0
        for panel in section.panels:
            if x + panel.width > GRID_COLUMNS or (height and panel.height != height):
                x, y = 0, y + height
            number, height = number + 1, panel.height
            drawn = figure(panel) if isinstance(panel, Figure) else graph(panel)
            yield {"id": number, **drawn, "gridPos": place(x, y, panel.width, panel.height)}
            x += panel.width
        y += height


def place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """A place on the grid."""
    return {"x": x, "y": y, "w": width, "h": height}


def graph(panel: Graph) -> dict[str, Any]:
    """A panel of lines."""
    return {
        **head(panel, "timeseries", panel.lines),
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def figure(panel: Figure) -> dict[str, Any]:
    """A panel of one number."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.alarming is not None:
        steps.append({"color": panel.colour, "value": panel.alarming})
    return {
        **head(panel, "stat", {panel.expression: ""}),
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "thresholds": {"mode": "absolute", "steps": steps},
                "color": {"mode": "thresholds"},
            },
            "overrides": [],
        },
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "auto",
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "textMode": "auto",
            "wideLayout": True,
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
        },
    }


def head(panel: Graph | Figure, kind: str, lines: dict[str, str]) -> dict[str, Any]:
    """What every panel has: its title, and its queries, named A, B and so on."""
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend,
            "range": True,
        }
        for number, (expression, legend) in enumerate(lines.items())
    ]
    return {
        "type": kind,
        "title": panel.title,
        "description": panel.tells,
        "datasource": DATASOURCE,
        "targets": targets,
    }
