"""What each failure class leads to: whether it is retried and against which budget, and the remedy in one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dagy_control.model.runs import ActiveRun, FailureClass


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The bounds of automatic retries; the user's own bound is the run's `max_attempts`."""

    max_infra_failures: int = 3
    retry_delay_s: float = 10.0


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


def next_budget(run: ActiveRun, failure_class: FailureClass, policy: RetryPolicy) -> Budget:
    """The budget that pays for another attempt after this failure; NONE when the failure is final.

    User failures are bounded by the run's `max_attempts`, infrastructure failures by the policy; each counts apart.
    """
    budget = CLASSES[failure_class].budget
    if budget is Budget.USER and run.user_failures + 1 < run.max_attempts:
        return Budget.USER
    if budget is Budget.INFRASTRUCTURE and run.infra_failures < policy.max_infra_failures:
        return Budget.INFRASTRUCTURE
    return Budget.NONE
