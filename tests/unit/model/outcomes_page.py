"""The tables of `docs/outcomes.md`, made from the shapes: `python -m tests.unit.model.outcomes_page` writes them anew."""

from collections.abc import Iterator
from pathlib import Path

from dagy_control.model.outcomes import MISSING_RULES, TASK_RULES
from dagy_control.model.stop_words import words_of
from dagy_control.model.tasks import unsigned
from tests.unit.model.task_shapes import Shape, load_shapes

PAGE = Path(__file__).parents[3] / "docs" / "outcomes.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
SHOWN_CHARACTERS = 220
RETRIED = {
    "infrastructure": "yes, by `max_infra_failures`",
    "user": "while `max_attempts` lasts",
    "none": "no",
    "": "",
}


def written() -> str:
    """The page as it is."""
    return PAGE.read_text()


def expected() -> str:
    """The page with the tables that the shapes make."""
    head, _, rest = written().partition(BEGIN)
    return "\n".join([head + BEGIN, "", *tables(), END]) + rest.partition(END)[2]


def tables() -> Iterator[str]:
    """A table for each rule, in the order in which the rules are asked."""
    shapes = load_shapes()
    for name, rule in (*TASK_RULES, *MISSING_RULES):
        yield f"### {name}\n"
        yield " ".join((rule.__doc__ or "").split()) + "\n"
        yield "| What ECS says | What we conclude | Retried | What to do | Seen in |\n|---|---|---|---|---|"
        yield from (_line(shape) for shape in shapes if shape.expected.rule == name)
        yield ""


def _line(shape: Shape) -> str:
    wanted = shape.expected
    verdict = f"**{wanted.failure_class or wanted.ending}**: {_finding(shape)}"
    cells = (f"*{shape.name}*: {_says(shape)}", verdict, RETRIED[wanted.retry], wanted.remedy, shape.source)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _says(shape: Shape) -> str:
    task = shape.sighting.task
    if task is None:
        return f"MISSING, {shape.sighting.missing_observations} times in a row"
    parts = [task.last_status] if not task.has_ended else []
    parts += [_code(words_of(task))] if task.stop_code or task.stopped_reason else []
    worker = task.container(shape.sighting.container_name)
    if worker is None:
        parts.append("no container of the worker")
    elif task.has_ended:
        parts.append("no exit code" if worker.exit_code is None else f"exit code {worker.exit_code}")
    return ", ".join(parts)


def _code(text: str) -> str:
    return f"`{text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + '…'}`"


def _finding(shape: Shape) -> str:
    """The sentence without what it quotes of ECS's words: those stand beside it."""
    task = shape.sighting.task
    sentence = unsigned(shape.expected.sentence).removeprefix("Reconciled: ")
    return sentence if task is None else sentence.replace(f" ({words_of(task)})", "")


if __name__ == "__main__":
    PAGE.write_text(expected())
