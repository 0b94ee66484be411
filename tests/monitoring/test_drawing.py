"""The dashboard's picture: every panel in its place, every series drawn, numbers in their unit."""

import json
import re
from html import unescape

import pytest

from tests.monitoring.drawing import Series, Span, legend_of, page, shown, size
from tests.monitoring.shipped import DASHBOARD

SHIPPED = json.loads(DASHBOARD.read_text())
SPAN = Span(0, 600)


def drawn(series: dict[int, list[Series]]) -> str:
    return page(SHIPPED, series, SPAN, below=0, above=1000)


def number_of(title: str) -> int:
    return next(int(panel["id"]) for panel in SHIPPED["panels"] if panel["title"] == title)


def test_every_panel_is_drawn_within_the_page() -> None:
    text = drawn({})
    width, height = size(text)
    titles = [unescape(title) for title in re.findall(r'class="title">([^<]+)<', text)]
    assert titles == [panel["title"] for panel in SHIPPED["panels"] if panel["type"] != "row"]
    places = re.findall(r'class="panel" style="left:(\d+)px;top:(\d+)px;width:(\d+)px;height:(\d+)px"', text)
    assert all(int(x) + int(w) <= width and int(y) + int(h) <= height for x, y, w, h in places)
    assert text.count("No data") == len(places)


def test_the_rows_of_the_grid_are_divided_among_pictures() -> None:
    halves = [page(SHIPPED, {}, SPAN, below=below, above=above) for below, above in ((0, 49), (49, 1000))]
    assert sum(half.count('class="panel"') for half in halves) == drawn({}).count('class="panel"')
    assert sum(size(half)[1] for half in halves) == pytest.approx(size(drawn({}))[1], abs=10)


def test_a_line_is_parted_where_there_was_nothing_and_a_strange_name_is_no_markup() -> None:
    points = [(float(at), 1.0) for at in (*range(0, 100, 2), *range(200, 300, 2))]
    text = drawn({number_of("Lag"): [Series("<b>lag</b>", points)]})
    assert text.count('fill="none"') == 2
    assert "&lt;b&gt;lag" in text
    assert "<b>" not in text


@pytest.mark.parametrize(("value", "colour"), [(0.0, "#37872d"), (2.0, "red")])
def test_a_figure_turns_red_from_its_threshold_on(value: float, colour: str) -> None:
    text = drawn({number_of("Alerts"): [Series("", [(1.0, 5.0), (2.0, value)])]})
    assert f'class="figure" style="color:{colour}">{value:g}<' in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0042, "s", "4.2 ms"),
        (12.34, "s", "12.3 s"),
        (300, "s", "5 min"),
        (0.5, "ops", "0.5/s"),
        (0.07, "percentunit", "7 %"),
        (104857600, "bytes", "100 MiB"),
        (1, "bool_yes_no", "Yes"),
        (12345, "short", "12,345"),
    ],
)
def test_a_value_is_shown_in_its_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_a_legend_names_its_labels() -> None:
    assert legend_of("{{loop}} {{outcome}}", {"loop": "events", "outcome": "ok"}) == "events ok"
