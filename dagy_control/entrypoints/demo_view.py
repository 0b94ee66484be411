"""What the demo shows while it goes on, and the table at its end."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dagy_control.model.runs import Run, RunStatus

LINES_MAX = 14
BAR = {
    RunStatus.QUEUED: ("·", "cyan"),
    RunStatus.LAUNCHING: (">", "cyan"),
    RunStatus.RUNNING: ("▸", "blue"),
    RunStatus.SUCCEEDED: ("✔", "green"),
    RunStatus.FAILED: ("✘", "red"),
    RunStatus.CANCELLED: ("-", "yellow"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One claim of the demo: what should be, and what is."""

    claim: str
    expected: str
    seen: str
    ok: bool

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


@dataclass(slots=True)
class DemoView:
    """A live picture at a terminal, plain lines elsewhere, nothing at all with `quiet`."""

    console: Console
    quiet: bool = False
    _lines: list[tuple[float, str]] = field(default_factory=list)
    _runs: list[Run] = field(default_factory=list)
    _live: Live | None = None

    def __enter__(self) -> Self:
        if not self.quiet and self.console.is_terminal:
            self._live = Live(self._picture(), console=self.console, refresh_per_second=8)
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.update(self._picture())
            self._live.__exit__(None, None, None)
            self._live = None

    def say(self, elapsed_s: float, text: str) -> None:
        """One more thing has happened."""
        self._lines.append((elapsed_s, text))
        if self._live is not None:
            self._live.update(self._picture())
        elif not self.quiet:
            self.console.print(f"{elapsed_s:6.1f} s  {text}")

    def show_runs(self, runs: Iterable[Run]) -> None:
        """The runs as they are now."""
        self._runs = list(runs)
        if self._live is not None:
            self._live.update(self._picture())

    def _picture(self) -> Group:
        story = Text()
        for elapsed_s, text in self._lines[-LINES_MAX:]:
            story.append(f"{elapsed_s:6.1f} s  ", "dim").append(f"{text}\n")
        bar = Text("  ")
        for run in self._runs:
            mark, colour = BAR[run.status]
            bar.append(f"{mark} ", f"bold {colour}")
        counts = Counter(run.status.value for run in self._runs)
        bar.append("  " + "  ".join(f"{status} {count}" for status, count in sorted(counts.items())), "dim")
        return Group(story, bar)


def result_table(rows: Iterable[Row]) -> Table:
    """Expected against seen."""
    table = Table("", "what", "expected", "seen", title="What the system did", title_justify="left")
    for row in rows:
        mark = Text("✔", "bold green") if row.ok else Text("✘", "bold red")
        table.add_row(mark, row.claim, row.expected, row.seen, style="" if row.ok else "red")
    return table
