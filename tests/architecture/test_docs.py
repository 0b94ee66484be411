"""The texts say what the program says: commands, settings, metrics, failure classes, links, examples."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dagy_control.config.catalogue import groups, settings_by_path
from dagy_control.entrypoints.cli import app
from dagy_control.events.decide import Act, Reading
from dagy_control.kernel.limiter import Bucket
from dagy_control.kernel.ticker import TickOutcome
from dagy_control.launching.metrics import RESULTS
from dagy_control.model.failures import CLASSES, Budget
from dagy_control.model.runs import FailureClass
from dagy_control.orphans.criteria import Verdict

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dagy_control"
DECISIONS = ROOT / "docs" / "decisions"
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()

BUDGETS = {
    Budget.USER: "while `max_attempts` allows",
    Budget.INFRASTRUCTURE: "while `max_infra_failures` allows",
    Budget.NONE: "no",
}
EXPOSED = {"Counter": "_total", "Gauge": "", "Histogram": "", "Info": "_info"}
"""prometheus_client's classes, and what each adds to a metric's name when it is exposed. A `…MetricFamily` is the same, made when asked."""

FENCED = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|srv)/")

all_texts = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def code_of(text: Path) -> Iterator[str]:
    """Each line of each fenced block, and each inline piece of code."""
    content = text.read_text()
    for block in FENCED.findall(content):
        yield from block.splitlines()
    yield from INLINE.findall(FENCED.sub("", content))


def rows(content: str) -> list[tuple[str, ...]]:
    """The cells of every table row."""
    lines = [line for line in content.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def declared_metrics() -> dict[str, tuple[str, str]]:
    """From the name as exposed to (type, labels), of every metric that the package declares."""
    found: dict[str, tuple[str, str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            kind = node.func.id.removesuffix("MetricFamily")
            name = node.args[0] if node.args else None
            if kind not in EXPOSED or not isinstance(name, ast.Constant) or not str(name.value).startswith("dagy_"):
                continue
            named = [each.value for each in node.keywords if each.arg == "labels"]
            labels = [ast.literal_eval(each) for each in (*node.args[2:3], *named)]
            exposed = str(name.value).removesuffix("_total") + EXPOSED[kind]
            of_kind = ["version"] if kind == "Info" else [label for each in labels for label in each]
            found[exposed] = (kind.lower(), ", ".join(f"`{label}`" for label in of_kind))
    return found


def test_every_failure_class_is_documented_with_its_retries_and_its_remedy() -> None:
    told = {row[0].strip("`"): row[1:] for row in rows(OPERATIONS) if row[0].strip("`") in set(FailureClass)}
    assert told == {each.value: (BUDGETS[CLASSES[each].budget], CLASSES[each].remedy) for each in FailureClass}


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    told = {row[0].strip("`"): (row[1], row[2]) for row in rows(METRICS) if row[0].startswith("`dagy_")}
    assert told == declared_metrics()


@pytest.mark.parametrize(
    "value",
    [
        *RESULTS,
        *Verdict,
        *Act,
        *(each for each in Reading if each is not Reading.JUDGE),  # goes on to one of Act
    ],
)
def test_every_value_of_a_label_is_explained(value: str) -> None:
    explained = {name for row in rows(METRICS) for name in re.findall(r"`(\w+)`", row[0])}
    assert str(value) in explained


@pytest.mark.parametrize("value", [*TickOutcome, *Bucket])
def test_every_outcome_of_a_tick_and_every_bucket_is_named(value: str) -> None:
    assert re.search(rf"\b{re.escape(value)}\b", METRICS)


@all_texts
def test_every_metric_that_a_text_names_exists(text: Path) -> None:
    named = {name for code in code_of(text) for name in re.findall(r"\bdagy_[a-z_]+", code)} - {"dagy_control"}
    assert named <= set(declared_metrics())


@all_texts
def test_every_make_target_that_a_text_names_exists(text: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match.group(1) for code in code_of(text) if (match := re.match(r"make ([a-z-]+)", code))}
    assert named <= targets


@all_texts
def test_every_command_that_a_text_names_exists_with_its_options(text: Path) -> None:
    for code in code_of(text):
        for call in re.findall(r"(?:^|\s)dagy-control ((?:[a-z-]|$).*)", code):
            assert unknown_in(call.partition("#")[0]) is None, f"`dagy-control {call}`"


def unknown_in(call: str) -> str | None:
    """The first word of a call that the program does not know: a command or an option; None when it knows them all.

    `a|b` stands for either; what follows a command are its arguments.
    """
    command: Any = typer.main.get_command(app)  # typer brings its own click: only its attributes can be relied on
    for word in call.split():
        if word in (">", "--help"):
            return None
        if hasattr(command, "commands") and not word.startswith("-"):
            options = [command.commands.get(name) for name in word.split("|")]
            if any(each is None for each in options):
                return word
            command = options[0] or command
        elif word.startswith("--") and word not in options_of(command):
            return word
    return None


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("call", ["nosuch", "runs nosuch", "runs launch x --nosuch 1", "flows register|nosuch"])
def test_an_unknown_command_or_option_is_noticed(call: str) -> None:
    assert unknown_in(call) is not None


@all_texts
def test_every_setting_that_a_text_names_exists(text: Path) -> None:
    sections = "|".join(group.name for group in groups() if group.name)
    known = {setting.key for setting in settings_by_path().values()}
    named = {
        name for code in code_of(text) for name in re.findall(rf"(?<![\w./-])(?:{sections})\.[a-z_]+\b(?!\()", code)
    }
    modules = {name for name in named if (PACKAGE / name.partition(".")[0]).is_dir() and name.endswith((".py", ".md"))}
    assert named - modules <= known


@all_texts
def test_every_relative_link_leads_somewhere(text: Path) -> None:
    for link in LINK.findall(FENCED.sub("", text.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (text.parent / path).resolve() if path else text
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(text: Path) -> set[str]:
    """The anchors of a text's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@all_texts
def test_no_text_holds_a_path_of_the_machine_that_it_was_written_on(text: Path) -> None:
    assert MACHINE_PATH.search(text.read_text()) is None


def test_every_decision_has_its_parts_and_stands_in_the_list() -> None:
    records = sorted(DECISIONS.glob("0*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    listed = (DECISIONS / "README.md").read_text()
    for record in records:
        content = record.read_text()
        assert f"]({record.name})" in listed
        assert content.startswith(f"# {record.name[:4]}: ")
        parts = re.findall(r"^\*\*(\w+)\.\*\*", content, re.MULTILINE)
        assert parts == ["Context", "Decision", "Alternatives", "Consequences"], record.name


def test_every_scenario_that_a_text_names_exists() -> None:
    defined = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = {name for text in TEXTS for code in code_of(text) for name in re.findall(r"\btest_\w{20,}\b", code)}
    assert len(named) > 10
    assert named <= defined


def test_every_document_is_linked_from_the_readme() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")} <= linked


def test_the_flow_in_the_readme_runs_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (source,) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    (tmp_path / "reports.py").write_text(source)
    command = [sys.executable, "reports.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert f"prints `{ran.stdout.strip()}`" in readme


def test_the_guide_shows_the_flow_of_the_readme() -> None:
    shown = [
        re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)[0]
        for path in (ROOT / "README.md", ROOT / "docs" / "writing-flows.md")
    ]
    assert shown[0].partition("\n\n\nif __name__")[0].strip() == shown[1].strip()
