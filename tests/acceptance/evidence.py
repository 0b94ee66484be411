"""What is left after a storm (records, tasks, workers' logs, what user code wrote down), and the invariants read from it.

The numbers are those of the architecture's "What correct means". 3 is read only as far as a task that was stopped tells.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from dagy_control.local.ecs_state import Status, StopCode, Task
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED
from dagy_control.model.runs import ResultStatus, Run, RunStatus, launch_token
from dagy_control.model.tasks import TaskIdentity

Attempt = tuple[str, int]
"""Run id and attempt."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The file that `witness_flow` writes."""

    path: Path

    def lines(self) -> list[dict[str, Any]]:
        """Every line, in the order in which they were written."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def has_begun(self, run_id: str) -> bool:
        """Whether user code of the run has ever begun."""
        return any(line["run_id"] == run_id for line in self.lines())


def log_lines(path: Path) -> list[dict[str, Any]]:
    """What a process logged; a line that its death cut off is left out. FileNotFoundError without a log: it would be no witness."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [each for each in found if isinstance(each, dict)]


def attempt_of(task: Task) -> Attempt:
    """By `startedBy`."""
    identity = TaskIdentity.parse(task.started_by)
    assert identity is not None
    return identity.run_id, identity.attempt


def contested(tasks: Iterable[Task], testimony: Iterable[Mapping[str, Any]]) -> set[Attempt]:
    """The attempts that two tasks went for: one worker was refused, and in another user code ran."""
    refused = {attempt_of(task) for task in tasks if task.exit_code == EXIT_CLAIM_REFUSED}
    return refused & {(line["run_id"], line["attempt"]) for line in testimony if line["what"] == "begin"}


def launched_without_lease(log: Iterable[Mapping[str, Any]]) -> list[str]:
    """The runs that a daemon launched without any lease, by its log."""
    lines = list(log)
    led = any(line.get("event_type") == "LEASE_HELD" for line in lines)
    return [] if led else [line["run_id"] for line in lines if line.get("message") == "launched"]


def launched_as_heir(log: Iterable[Mapping[str, Any]]) -> list[str]:
    """The runs that a daemon launched under a launching lease that it had taken over from another, by its log.

    The lease's first epoch is nobody's heir.
    """
    heir, launched = False, []
    for line in log:
        if line.get("event_type") in ("LEASE_HELD", "LEASE_LOST") and line["lease"].endswith("/launching"):
            heir = line["event_type"] == "LEASE_HELD" and line["epoch"] > 1
        elif heir and line.get("message") == "launched":
            launched.append(line["run_id"])
    return launched


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it.

    `runs` by id, as they are; `seen_ends`: as they were when each was first seen at its end; `cancelled`: the ids of those
    whose cancel was acknowledged; `tasks`: every one ever made; `doubles`: ARNs of those that no daemon has made; `logs`: what
    each worker that was started logged, by task id.
    """

    runs: Mapping[str, Run]
    seen_ends: Mapping[str, Run]
    cancelled: frozenset[str]
    tasks: Sequence[Task]
    doubles: frozenset[str]
    testimony: Sequence[Mapping[str, Any]]
    logs: Mapping[str, Sequence[Mapping[str, Any]]]
    max_launch_tries: int
    max_infra_failures: int

    def run_of(self, task: Task) -> Run:
        """The run of a task, whoever has made it."""
        return self.runs[attempt_of(task)[0]]

    def claimed_at(self, task: Task) -> datetime | None:
        """When the worker logged that it was past its claim; None if it never did."""
        for line in self.logs.get(task.task_id, ()):
            if line.get("event_type") == "run_started":
                return datetime.fromisoformat(line["timestamp"])
        return None

    def testified(self, task: Task, what: str) -> int:
        """How often user code has begun or ended in this task."""
        return sum(line["task_id"] == task.task_id and line["what"] == what for line in self.testimony)

    def past_claim(self) -> list[Task]:
        """The tasks whose workers were past their claim: by their word, or because user code ran."""
        return [task for task in self.tasks if self.claimed_at(task) or self.testified(task, "begin")]

    def surplus(self) -> int:
        """The tasks beyond the first of their attempt, whoever has made them."""
        return len(self.tasks) - len({attempt_of(task) for task in self.tasks})


def violations(evidence: Evidence) -> list[str]:
    """Every invariant that does not hold, in words; empty is good."""
    rules = (
        workers_are_heard,
        one_task_past_its_claim,
        attempts_one_after_the_other,
        one_task_a_launch_try,
        stopped_for_a_cause,
        terminal_never_changes,
        budgets_hold,
        success_has_its_result,
        cancel_is_kept,
        organisations_apart,
    )
    return [problem for rule in rules for problem in rule(evidence)]


def workers_are_heard(evidence: Evidence) -> Iterator[str]:
    """What the other rules rest on: a worker that ended by itself has told how far it came."""
    for task in evidence.tasks:
        told = {line.get("event_type") for line in evidence.logs.get(task.task_id, ())}
        if task.exit_code in (0, 1) and "run_started" not in told:
            yield f"the worker of {task.arn} exited with {task.exit_code} and never said that it had started"
        if task.exit_code == EXIT_CLAIM_REFUSED and told.isdisjoint({"claim_refused", "claim_failed"}):
            yield f"the worker of {task.arn} exited as refused and never said so"
        if evidence.testified(task, "begin") and "run_started" not in told:
            yield f"user code ran in {task.arn}, whose worker never said that it had started"


def one_task_past_its_claim(evidence: Evidence) -> Iterator[str]:
    """1, first half; and a task that was refused has run nothing."""
    of_attempt: defaultdict[Attempt, list[Task]] = defaultdict(list)
    for task in evidence.past_claim():
        of_attempt[attempt_of(task)].append(task)
        begun = evidence.testified(task, "begin")
        if begun > 1:
            yield f"1: user code ran {begun} times in {task.arn}"
        if task.exit_code == EXIT_CLAIM_REFUSED:
            yield f"1: {task.arn} was past its claim and exited as refused"
    for attempt, tasks in of_attempt.items():
        if len(tasks) > 1:
            yield f"1: {len(tasks)} tasks were past the claim of {attempt}"
    for line in evidence.testimony:
        if (line["run_id"], line["attempt"]) not in of_attempt:
            yield f"1: user code ran for an attempt that has no task: {line}"


def attempts_one_after_the_other(evidence: Evidence) -> Iterator[str]:
    """1, second half: no worker was past its claim before that of the earlier attempt was dead."""
    of_run: defaultdict[str, list[tuple[int, datetime, Task]]] = defaultdict(list)
    for task in evidence.past_claim():
        run_id, number = attempt_of(task)
        begun = evidence.claimed_at(task) or task.started_at
        if begun is not None:
            of_run[run_id].append((number, begun, task))
    for run_id, claims in of_run.items():
        for (first, _, earlier), (second, begun, _) in pairwise(sorted(claims, key=lambda claim: claim[0])):
            ended = earlier.execution_stopped_at
            if ended is None or ended > begun:
                yield f"1: attempt {second} of {run_id} began at {begun}, attempt {first} ended at {ended}"


def one_task_a_launch_try(evidence: Evidence) -> Iterator[str]:
    """2: every task of a daemon was made under the token of a launch try, and no two under one."""
    made = Counter(task.client_token for task in evidence.tasks)
    for task in evidence.tasks:
        if task.arn in evidence.doubles:
            continue
        run_id, number = attempt_of(task)
        tries = range(1, evidence.max_launch_tries + 1)
        if task.client_token not in {launch_token(run_id, number, each) for each in tries}:
            yield f"2: {task.arn} was made under a token of no launch try"
        if made[task.client_token] > 1:
            yield f"2: {made[task.client_token]} tasks under the token of {task.arn}"


def stopped_for_a_cause(evidence: Evidence) -> Iterator[str]:
    """3: the only StopTasks are those of cancelled runs, after the cancel was on record."""
    for task in evidence.tasks:
        if task.stop_code is StopCode.USER_INITIATED:
            asked = evidence.run_of(task).cancel_requested_at
            if asked is None or task.stopping_at is None or task.stopping_at < asked:
                yield f"3: {task.arn} was stopped without a cause on record: {task.stopped_reason}"


def _as_ended(run: Run) -> Run:
    """The run without what ECS may say of its task after the worker has ended it."""
    kept = replace(run, evidence=None, stop_code=None, stopped_reason=None, exit_code=None, estimated_cost_usd=None)
    return replace(kept, version=0, op_id=None)


def terminal_never_changes(evidence: Evidence) -> Iterator[str]:
    """4: by the transitions, each from where the last had led, one terminal and last; and by what was seen first."""
    for run in evidence.runs.values():
        path = run.transitions
        if any(before.to_status != after.from_status for before, after in pairwise(path)):
            yield f"4: the transitions of {run.run_id} do not join: {path}"
        if [RunStatus(each.to_status).is_terminal for each in path] != [False] * (len(path) - 1) + [True]:
            yield f"4: {run.run_id} did not end once, and last: {path}"
        if path[-1].to_status != run.status:
            yield f"4: {run.run_id} is {run.status}, its transitions say {path[-1].to_status}"
        if _as_ended(evidence.seen_ends[run.run_id]) != _as_ended(run):
            yield f"4: {run.run_id} was changed after it was {evidence.seen_ends[run.run_id].status}"


def budgets_hold(evidence: Evidence) -> Iterator[str]:
    """5: by the record, and by what user code has really done."""
    failed_itself = Counter(line["run_id"] for line in evidence.testimony if line["what"] == "end")
    for run in evidence.runs.values():
        if not 0 <= run.user_failures < run.max_attempts:
            yield f"5: {run.run_id} had {run.user_failures} user failures before its last attempt"
        if run.infra_failures > evidence.max_infra_failures:
            yield f"5: {run.run_id} had {run.infra_failures} infrastructure failures"
        if run.launch_try > evidence.max_launch_tries:
            yield f"5: {run.run_id} is at launch try {run.launch_try}"
        if failed_itself[run.run_id] > run.max_attempts:
            yield f"5: user code of {run.run_id} ran to its end {failed_itself[run.run_id]} times"
    for task in evidence.tasks:
        run_id, number = attempt_of(task)
        if number > evidence.runs[run_id].attempt:
            yield f"5: {task.arn} is of attempt {number}, which {run_id} never had"


def success_has_its_result(evidence: Evidence) -> Iterator[str]:
    """6: the current attempt's result is on record, and its user code has come to its end in the task on record."""
    for run in evidence.runs.values():
        committed = (run.result_status, run.result_attempt) == (ResultStatus.SUCCEEDED, run.attempt)
        if committed != (run.status is RunStatus.SUCCEEDED) and run.cancel_requested_at is None:
            yield f"6: {run.run_id} is {run.status} with the result {run.result_status} of {run.result_attempt}"
        ends = [task.arn for task in _tasks_of(evidence, run) if evidence.testified(task, "end")]
        if run.status is RunStatus.SUCCEEDED and ends != [run.external_id]:
            yield f"6: {run.run_id} SUCCEEDED by {run.external_id}, but user code came to its end in {ends}"


def cancel_is_kept(evidence: Evidence) -> Iterator[str]:
    """7: an acknowledged cancel is on record and never ends SUCCEEDED; and nothing ends CANCELLED without one."""
    for run in evidence.runs.values():
        acknowledged = run.run_id in evidence.cancelled
        if acknowledged and (run.cancel_requested_at is None or run.status is RunStatus.SUCCEEDED):
            yield f"7: the cancel of {run.run_id} was acknowledged, it is {run.status} ({run.cancel_requested_at})"
        if run.status is RunStatus.CANCELLED and not acknowledged:
            yield f"7: {run.run_id} is CANCELLED, and nobody had asked for it"


def organisations_apart(evidence: Evidence) -> Iterator[str]:
    """8: tags, environment, what the worker logged and fetched: all of the run's own organisation, and none of it left out."""
    past_claim = {task.arn for task in evidence.past_claim()}
    for task in evidence.tasks:
        run = evidence.run_of(task)
        tags = {tag["key"]: tag["value"] for tag in task.tags}
        if (tags or not _may_lack_tags(task, run)) and (tags.get("run_id"), tags.get("org_id")) != (
            run.run_id,
            run.org_id,
        ):
            yield f"8: {task.arn} of {run.run_id} ({run.org_id}) has the tags {tags}"
        (container,) = task.overrides["containerOverrides"]
        environment = {each["name"]: each["value"] for each in container["environment"]}
        if (environment["DAGY_RUN_ID"], int(environment["DAGY_ATTEMPT"])) != attempt_of(task):
            yield f"8: {task.arn}, started by {task.started_by}, is told to run {environment}"
        log = evidence.logs.get(task.task_id, ())
        logged = {line["org_id"] for line in log if "org_id" in line}
        if logged != ({run.org_id} if task.arn in past_claim else set()):
            yield f"8: the worker {task.arn} of {run.run_id} ({run.org_id}) logged the organisations {sorted(logged)}"
        fetched = {line["uri"] for line in log if "uri" in line}
        if evidence.testified(task, "begin") and not fetched:
            yield f"8: nothing says what the worker {task.arn} of {run.run_id} ({run.org_id}) fetched"
        if any(f"/{run.org_id}/" not in uri for uri in fetched):
            yield f"8: the worker {task.arn} of {run.run_id} ({run.org_id}) fetched {sorted(fetched)}"


def _may_lack_tags(task: Task, run: Run) -> bool:
    """StopTask deletes them: also of a task that was ending by itself when its cancelled run's attempt was stopped."""
    cancelled = run.cancel_requested_at is not None and attempt_of(task) == (run.run_id, run.attempt)
    return task.stop_code is StopCode.USER_INITIATED or cancelled


def still_there(tasks: Iterable[Task]) -> list[str]:
    """The tasks that have not ended."""
    return [task.arn for task in tasks if task.last_status is not Status.STOPPED]


def _tasks_of(evidence: Evidence, run: Run) -> list[Task]:
    return [task for task in evidence.tasks if attempt_of(task) == (run.run_id, run.attempt)]
