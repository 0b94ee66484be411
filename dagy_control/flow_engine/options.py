"""What the caller of the engine decides."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dagy_control.flow_engine.hooks import HookFailure, say_on_standard_error
from dagy_control.flow_engine.results import ResultLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to run, whatever the flow says.

    `run_id`: told to hooks, and what makes the jitter of this run's retries its own. `max_concurrency`: most attempts at once; the
    flow may ask for fewer. None: the CPUs that this process may use. `stop_grace_s`: from SIGTERM to SIGKILL for a child that is
    ended. `sys_path`: where children look for modules; None: as this process does when the run starts. `cgroup_dir`: where the
    kernel's files about this container's memory lie; None: looked for. `tasks_per_process_max`: a child takes no more attempts than
    this; 1: every attempt has one of its own. `hook_timeout_s`: of one hook. `on_hook_failed`: told of
    hooks that raise, die or take too long.
    """

    run_id: str = ""
    max_concurrency: int | None = None
    stop_grace_s: float = 5.0
    sys_path: tuple[str, ...] | None = None
    results: ResultLimits = field(default_factory=ResultLimits)
    cgroup_dir: Path | None = None
    tasks_per_process_max: int = 100
    hook_timeout_s: float = 30.0
    on_hook_failed: Callable[[HookFailure], None] = say_on_standard_error
