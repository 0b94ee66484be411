"""What each failure class leads to: whether it is retried and against which budget, and the remedy in one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dagy_control.model.resources import TaskSize, larger_size
from dagy_control.model.runs import TRANSITIONS_KEPT_UNTIL_VERSION, ActiveRun, FailureClass, Run


class Budget(StrEnum):
    """Which budget a retry is taken from."""

    USER = "user"
    INFRASTRUCTURE = "infrastructure"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ClassPolicy:
    """What follows from a failure class: the budget that pays for a retry, and what a person can do."""

    budget: Budget
    remedy: str


CLASSES: Mapping[FailureClass, ClassPolicy] = {
    FailureClass.USER_ERROR: ClassPolicy(
        Budget.USER, "Read the task's error and trace; fix the flow and register it again."
    ),
    FailureClass.NO_RESULT: ClassPolicy(
        Budget.USER,
        "The process ended by itself before the worker could report; look for os._exit or a killed interpreter in the flow.",
    ),
    FailureClass.OUT_OF_MEMORY: ClassPolicy(
        Budget.USER, "Use the next workload profile or a larger memory, or process the data in chunks."
    ),
    FailureClass.TIMED_OUT: ClassPolicy(
        Budget.USER, "Raise timeout_seconds of the task, or the runtime limit, or find what hangs."
    ),
    FailureClass.ARTIFACT: ClassPolicy(
        Budget.NONE,
        "Check that the flow's artifact_s3_uri exists and that the task role may read it; register the flow again.",
    ),
    FailureClass.DEPENDENCY: ClassPolicy(
        Budget.NONE, "Check the dependency package: it must exist, unpack, and install without the network."
    ),
    FailureClass.IMPORT: ClassPolicy(
        Budget.NONE,
        "The import path of the flow or task does not resolve in the artifact; package the module, with __init__.py.",
    ),
    FailureClass.SHUTDOWN: ClassPolicy(
        Budget.NONE, "The task was told to stop; launch the run again if that was not intended."
    ),
    FailureClass.STOPPED: ClassPolicy(
        Budget.NONE, "Somebody stopped the task; find who in CloudTrail, then retry the run."
    ),
    FailureClass.SPOT_INTERRUPTED: ClassPolicy(
        Budget.INFRASTRUCTURE,
        "Nothing to mend; for runs that cannot bear it, launch with ECS_CAPACITY_PROVIDER=FARGATE.",
    ),
    FailureClass.INFRASTRUCTURE: ClassPolicy(
        Budget.INFRASTRUCTURE, "Nothing to mend in the flow; if it recurs, see the AWS health dashboard."
    ),
    FailureClass.CAPACITY: ClassPolicy(
        Budget.INFRASTRUCTURE,
        "Use a smaller size, subnets in more zones, or on-demand capacity; see the cluster's capacity providers.",
    ),
    FailureClass.IMAGE_PULL: ClassPolicy(
        Budget.INFRASTRUCTURE,
        "Check that the image exists, that the execution role may pull it, and that the subnet reaches the registry.",
    ),
    FailureClass.RESOURCE_INITIALIZATION: ClassPolicy(
        Budget.INFRASTRUCTURE,
        "Check the execution role, the secrets it names, and the subnet's way to ECR, Secrets Manager and CloudWatch Logs.",
    ),
    FailureClass.NETWORK: ClassPolicy(
        Budget.INFRASTRUCTURE, "Check the subnets' free addresses, security groups, and routes."
    ),
    FailureClass.START_TIMEOUT: ClassPolicy(
        Budget.INFRASTRUCTURE,
        "The task did not start in time; check image size, network and capacity, or raise reconciling.start_timeout_s.",
    ),
    FailureClass.LAUNCH_CONFIGURATION: ClassPolicy(
        Budget.NONE, "Check cluster, task definition, subnets, security groups and size; then launch again."
    ),
    FailureClass.LAUNCH_PERMISSION: ClassPolicy(
        Budget.NONE,
        "Grant the daemon ecs:RunTask on the task definition and iam:PassRole on both roles; check that the roles exist.",
    ),
    FailureClass.LOST: ClassPolicy(
        Budget.NONE,
        "The outcome is unknown; look at the worker's log in /ecs/dagy-worker, then retry the run if it is safe to run twice.",
    ),
}


RETRIED_AS_INFRASTRUCTURE = frozenset(
    failure_class for failure_class, policy in CLASSES.items() if policy.budget is Budget.INFRASTRUCTURE
)
"""Classes that are none of the user's doing, and retried unless the configuration takes them out."""


RETRY_DELAY_GROWTH = 8.0
"""By this each infrastructure failure of a run lengthens the delay after the next: 10 s, 80 s, 640 s.

The first retry is quick, as a Spot reclaim wants it, and three of them outlast ten minutes in which every worker fails at once.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The bounds of automatic retries; the user's own bound is the run's `max_attempts`.

    `retry_delay_s`: before a new attempt; after infrastructure failures it grows (`retry_delay_s()`) up to `retry_delay_max_s`.
    `infra_classes`: those retried at the cost of `max_infra_failures`, of `RETRIED_AS_INFRASTRUCTURE`; the others are final.
    `profiles`: with it, an attempt that ran out of memory is retried, at the same cost, with the next larger size; None: it
    is the user's failure and nothing else.
    """

    max_infra_failures: int = 3
    retry_delay_s: float = 10.0
    retry_delay_max_s: float = 900.0
    infra_classes: frozenset[FailureClass] = RETRIED_AS_INFRASTRUCTURE
    profiles: Mapping[str, TaskSize] | None = None


def next_budget(run: ActiveRun, failure_class: FailureClass, policy: RetryPolicy) -> Budget:
    """The budget that pays for another attempt after this failure; NONE when the failure is final.

    User failures are bounded by the run's `max_attempts`, infrastructure failures by the policy; each counts apart.
    """
    budget = CLASSES[failure_class].budget
    infra_left = run.infra_failures < policy.max_infra_failures
    if infra_left and next_size(run, failure_class, policy) is not None:
        return Budget.INFRASTRUCTURE
    if budget is Budget.USER and run.user_failures + 1 < run.max_attempts:
        return Budget.USER
    if budget is Budget.INFRASTRUCTURE and infra_left and failure_class in policy.infra_classes:
        return Budget.INFRASTRUCTURE
    return Budget.NONE


def next_size(run: ActiveRun, failure_class: FailureClass, policy: RetryPolicy) -> tuple[str | None, TaskSize] | None:
    """(profile, size) of the next attempt when it is to be larger; None for the same. Only the whole record tells a run's size."""
    if failure_class is not FailureClass.OUT_OF_MEMORY or policy.profiles is None or not isinstance(run, Run):
        return None
    if run.cpu is None or run.memory is None:
        return None
    return larger_size(TaskSize(run.cpu, run.memory, run.ephemeral_storage_gib), run.workload_profile, policy.profiles)


def retry_delay_s(run: ActiveRun, failure_class: FailureClass, policy: RetryPolicy) -> float:
    """Seconds until the attempt after this failure, before they are spread.

    They grow with the run's infrastructure failures, when this is another one: what has failed a run twice will hardly be gone
    in seconds. A user's failure, and memory that was too small, do not go away by waiting.
    """
    budget = next_budget(run, failure_class, policy)
    if budget is not Budget.INFRASTRUCTURE or failure_class not in RETRIED_AS_INFRASTRUCTURE:
        return policy.retry_delay_s
    exponent = min(run.infra_failures, 100)  # a float holds no power much beyond
    return min(policy.retry_delay_s * RETRY_DELAY_GROWTH**exponent, policy.retry_delay_max_s)


SHORTAGES = frozenset({FailureClass.CAPACITY, FailureClass.SPOT_INTERRUPTED})
"""Failures that say that a provider has too little capacity."""


def shortages(run: Run) -> int:
    """How often the run's tries and attempts so far have ended for lack of capacity, or by a Spot reclaim.

    Counted in its transitions: every way back to the queue is one, and says the class. A run too old to have all of them
    (`TRANSITIONS_KEPT_UNTIL_VERSION`) counts every failure of its present attempt's launches and of infrastructure instead.
    """
    if run.version >= TRANSITIONS_KEPT_UNTIL_VERSION:
        return run.launch_try - 1 + run.infra_failures
    return sum(step.failure_class in SHORTAGES for step in run.transitions)
