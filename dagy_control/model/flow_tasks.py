"""One task of a flow as data: how it is called, how it is tried again, and who is told."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dagy_control.model.flow_templates import SCALARS, Json, ParamRef, TaskRef, json_problem, references
from dagy_control.model.hashing import hashed_fraction

FLOW_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
TASK_KEY = re.compile(r"[A-Za-z0-9_.-]{1,200}")
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
DAY_S = 86_400


class Isolation(StrEnum):
    """Where a task's attempt runs.

    PROCESS: a child, which a timeout really ends. FRESH: a child that no other attempt uses. THREAD: cheap, and cannot be ended.
    """

    PROCESS = "process"
    FRESH = "fresh"
    THREAD = "thread"


class ResultFormat(StrEnum):
    """How a task's result is kept for the tasks that take it. JSON: plain data only, and anything else is the task's failure."""

    PICKLE = "pickle"
    JSON = "json"


class TaskState(StrEnum):
    """A task of a run. PENDING and RUNNING (also between two attempts) may still change, the others never do."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether the task is over for good."""
        return self is not TaskState.PENDING and self is not TaskState.RUNNING


class HookKind(StrEnum):
    """What a hook is told of: an attempt begins, the task succeeded, it failed for good, an attempt failed and another follows."""

    ON_RUNNING = "on_running"
    ON_COMPLETION = "on_completion"
    ON_FAILURE = "on_failure"
    ON_RETRY = "on_retry"


@dataclass(frozen=True, slots=True)
class TaskHooks:
    """Import paths of the functions to call at each `HookKind`; the fields are named as its values."""

    on_running: tuple[str, ...] = ()
    on_completion: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    on_retry: tuple[str, ...] = ()

    def of(self, kind: HookKind) -> tuple[str, ...]:
        """The functions of one kind, in the order in which they are called."""
        paths: tuple[str, ...] = getattr(self, kind)
        return paths


NO_HOOKS = TaskHooks()


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One call of a task. `key` is unique in the flow; `import_path` ("package.module:attribute") names the callable.

    `retries` counts attempts after the first; `retry_delay_seconds` is the wait before each, or one wait for each in turn, of
    which the last repeats; a wait grows by up to `retry_jitter_factor` of itself. `timeout_seconds` bounds one attempt; None:
    no bound. `concurrency_limit`: most attempts at once of all tasks of this `name` in a run. `retry_condition`: import path
    of a function that is given the exception and says whether to try again.
    """

    key: str
    name: str
    import_path: str
    args: tuple[Json, ...] = ()
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    retries: int = 0
    retry_delay_seconds: float | tuple[float, ...] = 0.0
    timeout_seconds: float | None = None
    isolation: Isolation = Isolation.PROCESS
    retry_jitter_factor: float = 0.0
    concurrency_limit: int | None = None
    retry_condition: str | None = None
    hooks: TaskHooks = NO_HOOKS
    result: ResultFormat = ResultFormat.PICKLE

    def references(self) -> tuple[TaskRef | ParamRef, ...]:
        """Everything that the arguments refer to, in order. Raises `FlowSpecError` for a template that is none."""
        if all(arg.__class__ in SCALARS for arg in (*self.args, *self.kwargs.values())):
            return ()
        return references([*self.args, *self.kwargs.values()])

    def upstream_keys(self) -> tuple[str, ...]:
        """Keys of the tasks whose results this one takes, each once, in order of first use."""
        return tuple(dict.fromkeys(ref.key for ref in self.references() if isinstance(ref, TaskRef)))

    def retry_delay_s(self, attempt: int, salt: str = "") -> float:
        """The wait after the failed `attempt` (from 1), jitter included: always the same for the same task, attempt and salt."""
        delays = self.retry_delays()
        delay_s = delays[min(attempt, len(delays)) - 1]
        if not delay_s or not self.retry_jitter_factor:
            return delay_s
        return delay_s * (1 + self.retry_jitter_factor * hashed_fraction("retry", salt, self.key, attempt))

    def retry_delays(self) -> tuple[float, ...]:
        """The waits before the retries, in seconds; the last repeats."""
        delays = self.retry_delay_seconds
        return delays if isinstance(delays, tuple) else (delays,)

    def problems(self) -> Iterator[str]:
        """What is wrong with this task on its own."""
        for problem in self._problems():
            yield f"task {self.key!r}: {problem}"

    def _problems(self) -> Iterator[str]:
        if not TASK_KEY.fullmatch(self.key):
            yield "a key has 1 to 200 of the characters A-Z a-z 0-9 _ . -"
        if not IMPORT_PATH.fullmatch(self.import_path):
            yield f'the import path {self.import_path!r} must look like "package.module:function"'
        yield from self.setting_problems()
        for name, template in (*enumerate(self.args), *self.kwargs.items()):
            if template.__class__ not in SCALARS and (problem := json_problem(template)):
                yield f"argument {name} cannot be stored: {problem}; pass JSON values, or make the value in a task"

    def setting_problems(self) -> Iterator[str]:
        """What is wrong with what `@task(…)` was given."""
        if not FLOW_NAME.fullmatch(self.name):
            yield f"the name {self.name!r} must have 1 to 128 of the characters A-Z a-z 0-9 _ -; give @task(name=…)"
        if not 0 <= self.retries <= 100:
            yield f"retries must be 0 to 100, not {self.retries}"
        delays = self.retry_delays()
        for delay in delays:
            if not 0 <= delay <= DAY_S:
                yield f"retry_delay_seconds must be 0 to 86400 (a day), not {delay}"
        if not delays or len(delays) > max(self.retries, 1):
            yield f"retry_delay_seconds names {len(delays)} delays for {self.retries} retries; raise retries, or name fewer"
        if not 0 <= self.retry_jitter_factor <= 10:
            yield f"retry_jitter_factor must be 0 to 10, not {self.retry_jitter_factor}"
        if self.timeout_seconds is not None and not 0 < self.timeout_seconds <= 7 * DAY_S:
            yield f"timeout_seconds must be above 0 and at most 604800 (a week), not {self.timeout_seconds}"
        if self.concurrency_limit is not None and self.concurrency_limit < 1:
            yield f"concurrency_limit must be 1 or more, or absent, not {self.concurrency_limit}"
        for what, path in self.function_paths():
            if not IMPORT_PATH.fullmatch(path):
                yield f'the import path {path!r} of {what} must look like "package.module:function"'

    def function_paths(self) -> Iterator[tuple[str, str]]:
        """(what it is, import path) of the functions that go with the task."""
        if self.retry_condition is not None:
            yield "retry_condition_fn", self.retry_condition
        if self.hooks is not NO_HOOKS:
            for kind in HookKind:
                for path in self.hooks.of(kind):
                    yield kind, path
