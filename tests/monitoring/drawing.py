"""Draws the shipped dashboard as a page: its own panels, places, legends and units, over series that a Prometheus has answered.

No Grafana draws here: lines over time and large figures are all that the dashboard has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Any

COLUMN_PX, ROW_PX, GAP_PX = 52, 26, 6
CHART_LEFT_PX, CHART_BOTTOM_PX, LABEL_PX = 44, 16, 30
TICKS = 4
MIB = 1024**2
COLOURS = ("#37872d", "#e0b400", "#3274d9", "#e55400", "#a352cc", "#e02f44", "#12a5a5", "#8ab8ff", "#7a5c00", "#705da0")
STYLE = """
body { margin: 0; background: #f0f1f3; font: 11px "DejaVu Sans", sans-serif; color: #24292e; position: relative }
.panel { position: absolute; box-sizing: border-box; background: #fff; border: 1px solid #d8dadd; border-radius: 2px }
.panel { padding: 3px 6px; overflow: hidden }
.title { font-weight: bold; white-space: nowrap; line-height: 16px }
.row { position: absolute; font-weight: bold; font-size: 13px; line-height: 22px }
.figure { position: absolute; inset: 20px 6px 4px; display: flex; align-items: center; justify-content: center; font-size: 34px }
.legend { position: absolute; left: 8px; right: 4px; bottom: 3px; max-height: 28px; overflow: hidden; line-height: 14px; font-size: 10px }
.legend span { margin-right: 9px; white-space: nowrap }
.legend i { display: inline-block; width: 9px; height: 3px; margin-right: 3px; vertical-align: middle }
.none { position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; color: #8a8f98 }
svg { position: absolute; left: 4px; top: 21px } text { font-size: 9px; fill: #5f6670 }
"""


@dataclass(frozen=True)
class Series:
    """A line: its name in the legend, and its points as (Unix time, value)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Span:
    """From when to when is drawn, in Unix time."""

    start: float
    end: float


def legend_of(form: str, labels: Mapping[str, str]) -> str:
    """Grafana's `{{label}}` filled in."""
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value)
    return form


def page(
    dashboard: Mapping[str, Any], series: Mapping[int, Sequence[Series]], span: Span, *, below: int, above: int
) -> str:
    """The HTML page of the panels between two rows of the grid; `series` by the panel's number."""
    panels = [panel for panel in dashboard["panels"] if below <= panel["gridPos"]["y"] < above]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    height = (bottom - below) * ROW_PX + GAP_PX
    drawn = "".join(_panel(panel, series.get(panel["id"], ()), span, below) for panel in panels)
    width = 24 * COLUMN_PX + GAP_PX
    return (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f'<body style="width:{width}px;height:{height}px">{drawn}</body>'
    )


def size(page_text: str) -> tuple[int, int]:
    """Width and height of a page, in pixels."""
    width, height = page_text.split('<body style="width:')[1].split("px", 2)[:2]
    return int(width), int(height.removeprefix(";height:"))


def shown(value: float, unit: str) -> str:
    """A value as Grafana shows it in this unit, nearly."""
    if unit == "bool_yes_no":
        return "Yes" if value else "No"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / MIB:.3g} MiB"
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms" if value else "0 s"
    if unit == "s" and value >= 120:
        return f"{value / 60:.3g} min"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return text + {"s": " s", "ops": "/s"}.get(unit, "")


def _panel(panel: Mapping[str, Any], lines: Sequence[Series], span: Span, below: int) -> str:
    place = panel["gridPos"]
    left, top = place["x"] * COLUMN_PX + GAP_PX, (place["y"] - below) * ROW_PX + GAP_PX
    width, height = place["w"] * COLUMN_PX - GAP_PX, place["h"] * ROW_PX - GAP_PX
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f'<div class="row" style="left:{left}px;top:{top}px">{title}</div>'
    defaults = panel["fieldConfig"]["defaults"]
    inner = _chart(lines, span, defaults["unit"], width - 14, height - 54)
    if panel["type"] == "stat":
        inner = _figure(lines, defaults)
    if not any(line.points for line in lines):
        inner = '<div class="none">No data</div>'
    where = f"left:{left}px;top:{top}px;width:{width}px;height:{height}px"
    return f'<div class="panel" style="{where}"><div class="title">{title}</div>{inner}</div>'


def _figure(lines: Sequence[Series], defaults: Mapping[str, Any]) -> str:
    value = next((line.points[-1][1] for line in lines if line.points), math.nan)
    steps = defaults["thresholds"]["steps"]
    colour = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
    return f'<div class="figure" style="color:{"#37872d" if colour == "green" else colour}">{shown(value, defaults["unit"])}</div>'


def _chart(lines: Sequence[Series], span: Span, unit: str, width: int, height: int) -> str:
    values = [value for line in lines for _, value in line.points]
    if not values:
        return ""
    low, high, step = (0.0, 1.0, 1.0) if unit == "bool_yes_no" else _scale(min(values), max(values), unit)
    inner_w, inner_h = width - CHART_LEFT_PX, height - CHART_BOTTOM_PX

    def x(at: float) -> float:
        return CHART_LEFT_PX + inner_w * (at - span.start) / (span.end - span.start)

    def y(value: float) -> float:
        return 4 + (inner_h - 4) * (1 - (value - low) / (high - low))

    parts = []
    for number in range(round((high - low) / step) + 1):
        level = low + number * step
        parts.append(f'<path d="M{CHART_LEFT_PX} {y(level):.1f}H{width}" stroke="#e4e6e8"/>')
        parts.append(
            f'<text x="{CHART_LEFT_PX - 4}" y="{y(level) + 3:.1f}" text-anchor="end">{shown(level, unit)}</text>'
        )
    for at in range(math.ceil(span.start / 60) * 60, int(span.end) + 1, 60):
        if x(at) > width - LABEL_PX / 2:
            break  # it would be cut off
        time = datetime.fromtimestamp(at, UTC).strftime("%H:%M")
        parts.append(f'<text x="{x(at):.1f}" y="{height - 3}" text-anchor="middle">{time}</text>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        for stretch in _stretches(line.points):
            path = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in stretch)
            area = f"M{path}L{x(stretch[-1][0]):.1f} {y(low):.1f}L{x(stretch[0][0]):.1f} {y(low):.1f}Z"
            parts.append(f'<path d="{area}" fill="{colour}" fill-opacity=".06"/>')
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
    legend = "".join(
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{escape(line.name)}</span>'
        for number, line in enumerate(lines)
    )
    return f'<svg width="{width}" height="{height}">{"".join(parts)}</svg><div class="legend">{legend}</div>'


def _stretches(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The points, parted where there were none for a while."""
    steps = [later[0] - earlier[0] for earlier, later in pairwise(points)]
    usual = min(steps, default=0.0)
    parted: list[list[tuple[float, float]]] = []
    for index, point in enumerate(points):
        if index == 0 or steps[index - 1] > 1.5 * usual:
            parted.append([])
        parted[-1].append(point)
    return parted


def _scale(least: float, most: float, unit: str) -> tuple[float, float, float]:
    """The lowest and the highest mark, and the step between marks: round numbers in this unit; nought is among them."""
    if unit == "bytes":
        low, high, step = _scale(least / MIB, most / MIB, "")
        return low * MIB, high * MIB, step * MIB
    low, high = min(0.0, least), max(0.0, most)
    if high == low:
        high = 1.0
    rough = (high - low) / TICKS
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough - 1e-12)
    return math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step, step
