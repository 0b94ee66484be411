"""How long a run's start takes, by phase."""

from collections.abc import Mapping

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.telemetry import log

_log = log("dagy.worker")


class StartPhases:
    """Times the phases from the process's start to the first task; `first_task` logs them, once. Seconds.

    `process_age_s`: how old the process is when this is made, if it is known: the phase `interpreter`. `pull_s`: what the pull of the
    image took before that, as ECS tells; told too, and no part of the sum.
    """

    def __init__(self, clock: Clock, process_age_s: float | None = None, pull_s: float | None = None) -> None:
        self._clock = clock
        self._mark_s = clock.monotonic()
        self._seconds: dict[str, float] = {} if process_age_s is None else {"interpreter": process_age_s}
        self._pull = {} if pull_s is None else {"pull_seconds": round(pull_s, 3)}
        self._told = False

    def over(self, phase: str) -> None:
        """The phase ends now; the next one begins."""
        now_s = self._clock.monotonic()
        self._seconds[phase] = now_s - self._mark_s
        self._mark_s = now_s

    def first_task(self) -> None:
        """A task begins: the modules are imported, the start is over. Later calls change nothing."""
        if self._told:
            return
        self._told = True
        self.over("import")
        seconds = self.seconds()
        _log.info(
            f"first task after {seconds['first_task_seconds']:.2f} s",
            event_type="run_start_phases",
            **self._pull,
            **seconds,
        )

    def seconds(self) -> Mapping[str, float]:
        """By field name: `claim_seconds` and so on, and their sum, `first_task_seconds`."""
        named = {f"{phase}_seconds": round(seconds, 3) for phase, seconds in self._seconds.items()}
        return {**named, "first_task_seconds": round(sum(self._seconds.values()), 3)}
