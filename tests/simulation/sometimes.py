"""What must happen now and then in a full run: a rare branch that no seed takes is one that nothing tests.

The names are the transitions of runs, the classes of failures, the rules of judgement and the product's own log lines
(`hearing.branches`); what Chaos does is counted among the faults.
"""

from collections import Counter

from tests.simulation.chaos import ACTS

BRANCHES: tuple[str, ...] = (
    *("QUEUED->LAUNCHING", "LAUNCHING->RUNNING", "LAUNCHING->QUEUED", "LAUNCHING->FAILED", "LAUNCHING->CANCELLED"),
    *("RUNNING->SUCCEEDED", "RUNNING->FAILED", "RUNNING->CANCELLED", "RUNNING->QUEUED", "QUEUED->CANCELLED"),
    *("USER_ERROR", "NO_RESULT", "OUT_OF_MEMORY", "SHUTDOWN", "STOPPED", "TIMED_OUT", "LOST", "LAUNCH_PERMISSION"),
    *(
        "launched: RunTask answered",
        "launched: the token's earlier call had made the task",
        "launched: found by startedBy",
    ),
    *("launch undecided", "launch failed: throttled CAPACITY", "launch failed: retryable CAPACITY"),
    "launch failed: permanent LAUNCH_PERMISSION",
    *("rule claim_refused", "rule worker_result", "rule our_cause", "rule spot", "rule infrastructure"),
    *(
        "rule never_started",
        "rule out_of_memory",
        "rule shutdown",
        "rule stopped_by_somebody",
        "rule died_before_claim",
    ),
    *("rule no_result", "rule exit_code", "rule missing_lost"),
    *("reconciled", "ended by event", "event failed", "reconciling a run failed", "result object unreadable"),
    *("task stopped: CANCELLED", "task stopped: START_TIMEOUT", "cancel acknowledged", "cancel not acknowledged"),
    *("orphans: keep_foreign", "orphans: keep_too_young", "orphans: keep_just_ended", "orphans: keep_healthy"),
    *("orphans: suspect", "orphans: orphan", "orphan not stopped"),
    "orphan stopped: No state record for a running task",
    "orphan stopped: State shows 'SUCCEEDED' but task still running",
    "orphan stopped: State shows 'FAILED' but task still running",
    "orphan stopped: State shows attempt N task is of attempt N",
    "orphan stopped: Exceeded max runtime N > N",
    "orphan scan refused to stop: N orphans are more than orphans.max_stops_per_scan N none is stopped",
    "orphan scan did not see all tasks",
    "result not committed to the table; leaving it in S3",
    "leases taken over within two leases",
    *("Lease held", "Lease lost", "Lease given back", "Lease not given back; the others wait until it expires"),
    "Launch breaker open: runs stay queued until a probe succeeds",
    *("Launch breaker closed", "launch failed: held LAUNCH_PERMISSION"),
    *("Loop works again", "Loop cannot do its work until somebody acts"),
    *(
        "event lost",
        "event duplicated",
        "event late, behind later ones",
        "stall longer than a lease",
        "late surplus",
        "strangers",
    ),
    "same token, other request",
    *ACTS,
)


def missing(sometimes: Counter[str], injected: Counter[str]) -> list[str]:
    """The branches that have not been taken."""
    return sorted(name for name in BRANCHES if not sometimes[name] and not injected[name])
