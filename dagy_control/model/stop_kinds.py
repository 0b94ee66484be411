"""The kinds of stops within a failure class: what is said of each to a person, and what to do about it.

The words are ECS's own, in `stoppedReason` and in a container's `reason`. Sources: "Stopped tasks error messages",
"CannotPullContainer task errors" and "ResourceInitializationError errors" (Amazon ECS Developer Guide), and public issue
trackers; every kind has real texts in `tests/unit/model/task_shapes.json`. ECS cuts a task's reason at 1,024 characters and a
container's at 255 (1,024 since agent releases of 2025), so a kind must show early in its text or be told by its first words.
"""

import re
from dataclasses import dataclass

from dagy_control.model.failures import CLASSES
from dagy_control.model.runs import FailureClass, Run

NO_ROUTE = (
    "Give the subnet a way out: a NAT gateway, a public address (ecs.assign_public_ip), or VPC endpoints for {services}; "
    "the security group must allow HTTPS out."
)


@dataclass(frozen=True, slots=True)
class StopKind:
    """One kind of stop. `finding` is a clause that names the cause; `{thing}` in it is the image, secret, or file system."""

    name: str
    failure_class: FailureClass
    pattern: re.Pattern[str]
    finding: str
    remedy: str


def _all_of(*patterns: str) -> re.Pattern[str]:
    """Matches, from its start, a text that holds each of the patterns in any order and any case: ECS's own spelling varies."""
    return re.compile("".join(f"(?=.*(?:{pattern}))" for pattern in patterns), re.IGNORECASE | re.DOTALL)


_PULL = "CannotPull"
_INIT = "ResourceInitialization"
_STORED = r"secrets?\b(?! or registry)|\bssm\b|\basm\b|parameter"
_DENIED = (
    r"AccessDenied|not authorized|403 Forbidden|pull access denied|no basic auth|unauthorized|authorization failed"
)
_UNREACHABLE = (
    r"time(?:d )?out|request canceled|RequestCanceled|context (?:ca|deadline)|connection (?:refused|reset|issue)"
    r"|no such host|dial tcp|unreachable|TLS handshake|unexpected EOF|send request failed|failed to do request"
)

START_KINDS: tuple[StopKind, ...] = (
    StopKind(
        "memory_at_start",
        FailureClass.OUT_OF_MEMORY,
        _all_of("OOM-?killed"),
        "the container was killed due to memory exhaustion while it started",
        CLASSES[FailureClass.OUT_OF_MEMORY].remedy,
    ),
    StopKind(
        "pull_rate_limit",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL, r"toomanyrequests|too many requests|pull rate limit|\b429\b"),
        "the image {thing} could not be pulled: its registry limits the rate of pulls",
        "Keep the image in ECR (a pull-through cache will do), or give the task definition credentials for the registry.",
    ),
    StopKind(
        "pull_no_space",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL, "no space left"),
        "the image {thing} could not be pulled: it does not fit on the task's disk",
        "Launch with a larger ephemeral_storage_gib, or make the image smaller.",
    ),
    StopKind(
        "pull_platform",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL, r"descriptor (?:matching|for) platform|no match for platform|platform .*does not match"),
        "the image {thing} could not be pulled: it has no variant for the task's architecture",
        "Build the image for the architecture of the task definition (docker build --platform), or change its runtimePlatform.",
    ),
    StopKind(
        "pull_denied",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL, _DENIED),
        "the image {thing} could not be pulled: access was denied",
        "Allow the execution role ecr:GetAuthorizationToken, ecr:BatchGetImage and ecr:GetDownloadUrlForLayer on that repository;"
        " for one of another account (GuardDuty's agent too), the repository and its policy must allow it as well.",
    ),
    StopKind(
        "pull_not_found",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL, r"manifest unknown|not found|does not exist|API error \(404\)|name unknown"),
        "the image {thing} could not be pulled: the registry does not have it",
        "Push that image and tag, or point the worker's task definition at one that exists; its repository must be in the URI's region.",
    ),
    StopKind(
        "pull_unreachable",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL, _UNREACHABLE),
        "the image {thing} could not be pulled: its registry did not answer in time",
        NO_ROUTE.format(services="ECR (ecr.api, ecr.dkr) and S3, where ECR keeps the layers"),
    ),
    StopKind(
        "pull_layers",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL, "failed to copy|httpRead(?:er)?Seeker"),
        "the image {thing} could not be pulled: its registry did not deliver it",
        "Look whether its registry limits pulls (Docker Hub does), and keep the image in ECR; there the layers come from S3, so the"
        " subnet needs a way to it: a NAT gateway or an S3 gateway endpoint.",
    ),
    StopKind(
        "pull_other",
        FailureClass.IMAGE_PULL,
        _all_of(_PULL),
        "the image {thing} could not be pulled",
        CLASSES[FailureClass.IMAGE_PULL].remedy,
    ),
    StopKind(
        "network_addresses",
        FailureClass.NETWORK,
        _all_of("InsufficientFreeAddresses|enough free addresses"),
        "the subnet had no free address for the task",
        "Use subnets with more free addresses (ecs.subnets), or run fewer tasks at once (launching.max_concurrent_tasks).",
    ),
    StopKind(
        "network_refused",
        FailureClass.NETWORK,
        _all_of("network interface", "TagPolicyViolation|AuthFailure|UnauthorizedOperation"),
        "EC2 refused the task a network interface",
        "See CloudTrail for CreateNetworkInterface and CreateTags: an organisation's tag or service control policy forbids it.",
    ),
    StopKind(
        "network_interface",
        FailureClass.NETWORK,
        _all_of("network interface"),
        "the task got no network interface",
        CLASSES[FailureClass.NETWORK].remedy,
    ),
    StopKind(
        "capacity",
        FailureClass.CAPACITY,
        re.compile(r"(?s:.*)(?:(?i:capacity is unavailable|insufficient capacity)|RESOURCE:[A-Z])"),
        "AWS had no capacity for the task",
        CLASSES[FailureClass.CAPACITY].remedy,
    ),
    StopKind(
        "entry_point",
        FailureClass.LAUNCH_CONFIGURATION,
        _all_of(
            r"CannotStart|CannotCreateContainer|runtime create failed|runtime task",
            r"exec format error|exec: .*(?:not found|no such file|permission denied|not a directory)",
        ),
        "the container's command could not be started",
        "Check the image: its entry point must exist and be executable, and be built for the task definition's architecture.",
    ),
    StopKind(
        "storage",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of("EphemeralStorage provisioning"),
        "AWS did not provide the task's disk in time",
        "Nothing to mend in the flow; if it recurs, see the AWS health dashboard.",
    ),
    StopKind(
        "efs",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(_INIT, r"\bEFS\b|mount\.nfs"),
        "the file system {thing} could not be mounted",
        "Check the file system's id, its mount target in the task's zone, TCP 2049 from the task's security group to the mount"
        " target's, DNS in the VPC, and that the path or access point exists.",
    ),
    StopKind(
        "log_driver",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(f"{_INIT}|CannotStart", r"logger args|logging driver|log ?group|log ?stream|awslogs"),
        "the log driver could not be set up",
        "Create the log group (/ecs/dagy-worker), allow the execution role logs:CreateLogStream and logs:PutLogEvents on it, and"
        " give the subnet a way to CloudWatch Logs.",
    ),
    StopKind(
        "environment_file",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(_INIT, r"env(?:ironment)? ?files?"),
        "an environment file of the task definition could not be read",
        "Check that the file exists in S3, that the execution role may read it (s3:GetObject), and that the subnet reaches S3.",
    ),
    StopKind(
        "secret_denied",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(_INIT, _STORED, _DENIED),
        "the secret {thing} could not be read: access was denied",
        "Allow the execution role secretsmanager:GetSecretValue or ssm:GetParameters on it, and kms:Decrypt on its key.",
    ),
    StopKind(
        "secret_missing",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(_INIT, _STORED, r"ResourceNotFound|can't find|invalid (?:ssm )?parameters|ParameterNotFound|json key"),
        "the secret {thing} could not be read: it, or its key, does not exist",
        "Check the secret's ARN and key in the worker's task definition; it must exist in that region.",
    ),
    StopKind(
        "secret_unreachable",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(_INIT, _STORED),
        "the secret {thing} could not be read",
        NO_ROUTE.format(services="Secrets Manager or SSM"),
    ),
    StopKind(
        "registry_denied",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(_INIT, "registry auth", _DENIED),
        "the task could not log in to its image registry: access was denied",
        "Allow the execution role ecr:GetAuthorizationToken; an ECR endpoint's policy must allow it too.",
    ),
    StopKind(
        "registry_unreachable",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(_INIT, "registry auth"),
        "the task could not log in to its image registry",
        NO_ROUTE.format(services="ECR (ecr.api, ecr.dkr) and S3"),
    ),
    StopKind(
        "initialization",
        FailureClass.RESOURCE_INITIALIZATION,
        _all_of(f"{_INIT}|CannotCreateVolume"),
        "the task's resources could not be set up",
        CLASSES[FailureClass.RESOURCE_INITIALIZATION].remedy,
    ),
    StopKind(
        "container_start",
        FailureClass.INFRASTRUCTURE,
        _all_of(r"CannotStartContainer|CannotCreateContainer|Could not transition to (?:created|started|running)"),
        "the container runtime did not start the container",
        "If it recurs, start the image locally with the command of the task definition; else see the AWS health dashboard.",
    ),
)
"""Why a task has not started. Ordered, first match: a finer kind stands before the one that takes the rest."""

END_KINDS: tuple[StopKind, ...] = (
    StopKind(
        "retirement",
        FailureClass.INFRASTRUCTURE,
        _all_of("ECS is performing maintenance"),
        "AWS retired the infrastructure under the task",
        "Nothing to mend. Runs of days: the account setting fargateTaskRetirementWaitPeriod gives up to 14 days' notice.",
    ),
    StopKind(
        "host",
        FailureClass.INFRASTRUCTURE,
        _all_of(r"Host EC2 \(instance"),
        "the host under the task went away",
        CLASSES[FailureClass.INFRASTRUCTURE].remedy,
    ),
    StopKind(
        "health_check",
        FailureClass.INFRASTRUCTURE,
        _all_of(r"failed .*health checks?"),
        "a health check failed",
        "Look at the health check in the worker's task definition: a worker needs none, and no load balancer.",
    ),
    StopKind(
        "service_scheduler",
        FailureClass.INFRASTRUCTURE,
        _all_of(r"Scaling activity initiated by|ServiceSchedulerInitiated"),
        "the scheduler of an ECS service stopped it",
        "A run's task belongs to no service: look who runs the worker's task definition as one.",
    ),
)
"""Why a task that ran was ended by AWS."""


@dataclass(frozen=True, slots=True)
class ExitKind:
    """What an exit code says when nothing else does."""

    meaning: str
    remedy: str
    failure_class: FailureClass = FailureClass.USER_ERROR


EXIT_KINDS: dict[int, ExitKind] = {
    75: ExitKind(
        "its claim was refused",
        "Nothing to mend: another task or attempt, a cancel, or a stop was on record first; the worker's log says which.",
        FailureClass.INFRASTRUCTURE,
    ),
    126: ExitKind("its command is not executable", "Check the image's entry point and its permissions."),
    127: ExitKind("its command was not found", "Check the image's entry point and its PATH."),
    134: ExitKind("SIGABRT: native code gave up", "Look in the worker's log for what a native library said last."),
    137: ExitKind(
        "SIGKILL, and ECS does not say that memory was short",
        "Compare the run's peak memory with its size; if it is near, use the next workload profile. Else something in the task"
        " killed it, or it outlived its stop timeout.",
    ),
    139: ExitKind(
        "SIGSEGV: native code crashed", "Look for a native library that does not fit the image or architecture."
    ),
    143: ExitKind(
        "SIGTERM: it was told to stop, and ECS does not say by whom",
        "Look whether another essential container of the task ended first, and at CloudTrail for StopTask.",
    ),
}
"""By "Common exit codes" ("Why is my Amazon ECS task stopped?", AWS re:Post) and signal(7): 128 and the signal's number."""


DIED_BEFORE_CLAIM = (
    'See the worker\'s log in /ecs/dagy-worker: "exec format error" is an image for another architecture, a traceback a broken'
    " image or a missing variable, no log at all a command that is not the worker."
)


def kind_of(words: str, kinds: tuple[StopKind, ...], failure_class: FailureClass | None = None) -> StopKind | None:
    """The first kind that the words show, of one class if one is named; None when they show none."""
    return next(
        (kind for kind in kinds if failure_class in (None, kind.failure_class) and kind.pattern.match(words)), None
    )


def remedy_of(run: Run) -> str:
    """What a person can do about a failed run, by its class and by what ECS said of its last task; "" when it has not failed."""
    if run.failure_class is None:
        return ""
    evidence = run.evidence if run.evidence and run.evidence.get("task_arn") == run.external_id else {}
    reasons = [run.stopped_reason, run.stop_code, *(each.get("reason") for each in evidence.get("containers", ()))]
    words = " ".join(filter(None, reasons))
    if kind := kind_of(words, START_KINDS + END_KINDS, run.failure_class):
        return kind.remedy
    exit_kind = EXIT_KINDS.get(run.exit_code or 0)
    if exit_kind and exit_kind.failure_class is run.failure_class and run.result_status is None:
        return exit_kind.remedy
    if run.failure_class is FailureClass.INFRASTRUCTURE and run.started_at is None and run.exit_code is not None:
        return DIED_BEFORE_CLAIM
    return CLASSES[run.failure_class].remedy
