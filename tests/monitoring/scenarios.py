"""Two replicas that are well for two and a half hours, and what goes wrong in one story for each alert.

A story says which series differ from the healthy ones, as promtool writes series (`a+bxn`: from a, b more each minute, n times),
and which alerts fire at its end. None but these may.
"""

from dataclasses import dataclass, field

LOOPS = {"launching": ("a", 1), "reconciling": ("a", 30), "orphans": ("b", 900)}
"""Each loop's holder, and its interval in seconds. `events` runs in both."""

MINUTES = 150
END = f"{MINUTES}m"


def steady(value: float) -> str:
    """The same value all the time."""
    return f"{value:g}x{MINUTES}"


def growing(by: float) -> str:
    """A counter, or a time that goes on, by so much each minute."""
    return f"0+{by:g}x{MINUTES}"


def of(metric: str, instance: str = "a", **labels: str) -> str:
    """A series."""
    inner = ", ".join(f'{name}="{value}"' for name, value in {"job": "dagy", "instance": instance, **labels}.items())
    return f"{metric}{{{inner}}}"


def lease(loop: str, instance: str) -> str:
    """The series that tells who holds the loop's lease."""
    return of("dagy_lease_held", instance, lease=f"dagy/main/{loop}")


def success(loop: str, instance: str) -> str:
    """The series that tells when the loop did well."""
    return of("dagy_loop_last_success_timestamp_seconds", instance, loop=loop)


def on(loop: str, instance: str) -> str:
    """The series that tells whether the loop is switched on."""
    return of("dagy_loop_enabled", instance, loop=loop)


def healthy() -> dict[str, str]:
    """Everything well. The replica that stands by keeps the alarming figures of its last tick: they are history."""
    series: dict[str, str] = {}
    for each in ("a", "b"):
        series |= {
            of("up", each): steady(1),
            of("dagy_build_info", each, version="0.1.0"): steady(1),
            of("process_start_time_seconds", each): steady(0),
            of("dagy_event_loop_lag_seconds", each): steady(0.02),
            of("dagy_config_last_reload_successful", each): steady(1),
            of("dagy_config_hash", each): steady(281474976710655),
            of("dagy_events_queue_available", each): steady(1),
            of("dagy_events_dead_letters", each): steady(0),
            on("events", each): steady(1),
            success("events", each): growing(60),
            of("dagy_loop_interval_seconds", each, loop="events"): steady(1),
        }
        for loop, (holder, interval_s) in LOOPS.items():
            series |= {
                on(loop, each): steady(1),
                lease(loop, each): steady(holder == each),
                of("dagy_lease_lost_total", each, lease=f"dagy/main/{loop}"): steady(0),
                of("dagy_loop_interval_seconds", each, loop=loop): steady(interval_s),
                of("dagy_loop_consecutive_errors", each, loop=loop): steady(0),
                of("dagy_loop_ticks_total", each, loop=loop, outcome="bug"): steady(0),
                of("dagy_loop_ticks_total", each, loop=loop, outcome="permanent"): steady(0),
                of("dagy_loop_ticks_total", each, loop=loop, outcome="transient"): growing(0.1),
            }
    return series | {
        success("launching", "a"): growing(60),
        success("reconciling", "a"): growing(60),
        success("orphans", "b"): "0x15 900x15 1800x15 2700x15 3600x15 4500x15 5400x15 6300x15 7200x15 8100x15",
        of("dagy_queue_held", reason="no_room"): steady(40),
        of("dagy_queue_held", "b", reason="breaker_open"): steady(7),
        of("dagy_queue_oldest_wait_seconds"): steady(90),
        of("dagy_queue_oldest_wait_seconds", "b"): steady(99999),
        of("dagy_launch_breaker_open", cause="permission"): steady(0),
        of("dagy_launch_breaker_open", "b", cause="permission"): steady(1),
        of("dagy_launches_total", result="launched"): growing(10),
        of("dagy_launches_total", result="retryable"): growing(0.3),
        of("dagy_launches_total", result="unresolved"): growing(0.1),
        of("dagy_runs_ended_total", status="FAILED", failure_class="LOST"): growing(0.5),
        of("dagy_reconcile_held"): steady(0),
        of("dagy_reconcile_held", "b"): steady(1),
        of("dagy_reconcile_lag_seconds"): steady(2),
        of("dagy_reconcile_lag_seconds", "b"): steady(9999),
        of("dagy_orphans_refused", "a"): steady(1),
        of("dagy_orphans_refused", "b"): steady(0),
        of("dagy_orphans_incomplete", "a"): steady(1),
        of("dagy_orphans_incomplete", "b"): steady(0),
        of("dagy_orphans_tasks", "a", verdict="orphan"): steady(3),
        of("dagy_orphans_tasks", "b", verdict="keep_healthy"): steady(3),
        of("dagy_aws_calls_total", operation="RunTask", outcome="ok"): growing(60),
        of("dagy_aws_calls_total", operation="RunTask", outcome="throttled"): growing(1),
    }


@dataclass(frozen=True)
class Story:
    """`differs`: series to their values, None: there is no such series. `fires`: the alerts at the end, and how many of each."""

    name: str
    differs: dict[str, str | None]
    fires: dict[str, int] = field(default_factory=dict)


def without_leases(series: dict[str, str]) -> dict[str, str | None]:
    """Every series of a lease is away."""
    return {name: None for name in series if name.startswith("dagy_lease_")}


STOPPED = f"0+60x100 6000x{MINUTES - 100}"
"""A time that stood still fifty minutes ago."""

SILENT = [
    Story("everything is well", {}),
    Story(
        "launching is switched off by an edit: nothing is wrong",
        {
            on("launching", "a"): f"1x100 0x{MINUTES - 100}",
            on("launching", "b"): f"1x100 0x{MINUTES - 100}",
            lease("launching", "a"): f"1x100 0x{MINUTES - 100}",
            success("launching", "a"): STOPPED,
            of("dagy_launches_total", result="launched"): f"0+10x100 1000x{MINUTES - 100}",
        },
    ),
    Story(
        "the other replica has taken the lease: its success counts",
        {
            success("launching", "a"): STOPPED,
            success("launching", "b"): f"_x100 6000+60x{MINUTES - 100}",
            lease("launching", "a"): f"1x100 0x{MINUTES - 100}",
            lease("launching", "b"): f"0x100 1x{MINUTES - 100}",
            of("dagy_launch_breaker_open", "b", cause="permission"): f"1x100 0x{MINUTES - 100}",
            of("dagy_queue_held", "b", reason="breaker_open"): None,
            of("dagy_queue_oldest_wait_seconds", "b"): steady(30),
        },
    ),
    Story(
        "a daemon that has just been started has had no time for a success",
        {success("launching", "a"): None, of("process_start_time_seconds"): steady(60 * MINUTES - 60)},
    ),
    Story("there is no event queue", {on("events", each): None for each in ("a", "b")}),
    Story("nothing is launched, and nothing waits", {
        of("dagy_launches_total", result="launched"): steady(0),
        of("dagy_queue_held", reason="no_room"): None,
        of("dagy_runs_ended_total", status="FAILED", failure_class="LOST"): steady(0),
        of("dagy_launches_total", result="retryable"): steady(0),
    }),
    Story(
        "AWS is away, and there was a bug two hours ago: it will pass by itself",
        {
            of("dagy_loop_consecutive_errors", loop="reconciling"): "0x140 1+1x9",
            of("dagy_loop_ticks_total", loop="reconciling", outcome="bug"): "0x30 1x119",
            of("dagy_loop_ticks_total", loop="reconciling", outcome="transient"): "0x140 1+1x9",
        },
    ),
    Story(
        "a replica that stands by ended its last ticks in bugs: another has the loop now",
        {
            of("dagy_loop_consecutive_errors", "b", loop="reconciling"): steady(2),
            of("dagy_loop_ticks_total", "b", loop="reconciling", outcome="bug"): "0x30 2x119",
            of("dagy_loop_ticks_total", loop="reconciling", outcome="transient"): steady(0),
        },
    ),
    Story(
        "a new daemon has launched much before it was first asked, and few failed",
        {
            of("process_start_time_seconds"): steady(60 * 129),
            of("dagy_launches_total", result="launched"): "_x130 300+1x20",
            of("dagy_launches_total", result="retryable"): "_x130 0x20",
            of("dagy_runs_ended_total", status="FAILED", failure_class="LOST"): "_x130 8+1x20",
        },
    ),
    Story("a few refusals of many launches", {of("dagy_launches_total", result="retryable"): growing(9)}),
]  # fmt: skip

FIRING = [
    Story("no daemon", dict.fromkeys(healthy()), {"DagyDown": 1}),
    Story(
        "one replica does not answer",
        {
            **{name: None for name in healthy() if 'instance="b"' in name and "orphans" not in name},
            of("up", "b"): steady(0),
        },
        {"DagyReplicaDown": 1},
    ),
    Story("too little CPU", {of("dagy_event_loop_lag_seconds", "b"): steady(2.5)}, {"DagyEventLoopLag": 1}),
    Story("launching hangs", {success("launching", "a"): STOPPED}, {"DagyLoopStalled": 1}),
    Story(
        "reconciling fails from the start",
        {success("reconciling", "a"): None},
        {"DagyLoopStalled": 1},
    ),
    Story(
        "both receivers of events hang",
        {success("events", "a"): STOPPED, success("events", "b"): STOPPED},
        {"DagyLoopStalled": 1},
    ),
    Story("no scan for more than three intervals", {success("orphans", "b"): "0+60x60 3600x90"}, {"DagyLoopStalled": 1}),
    Story(
        "the daemon hangs, and leases are off",
        {**without_leases(healthy()), **{name: None for name in healthy() if 'instance="b"' in name}, success("launching", "a"): STOPPED,
         on("orphans", "a"): steady(0), of("up", "b"): None},
        {"DagyLoopStalled": 1},
    ),
    Story(
        "a bug in each pass",
        {of("dagy_loop_ticks_total", loop="reconciling", outcome="bug"): growing(2)},
        {"DagyLoopBroken": 1},
    ),
    Story(
        "orphan scans every quarter of an hour lack a permission",
        {
            of("dagy_loop_consecutive_errors", "b", loop="orphans"): "0x131 1x14 2x4",
            of("dagy_loop_ticks_total", "b", loop="orphans", outcome="permanent"): "0x131 1x14 2x4",
            of("dagy_loop_ticks_total", "b", loop="orphans", outcome="transient"): "0x60 2x89",
            success("orphans", "b"): f"0+60x117 {60 * 117}x33",
        },
        {"DagyLoopBroken": 1},
    ),
    Story(
        "ECS refuses every run",
        {
            of("dagy_launch_breaker_open", cause="permission"): f"0x100 1x{MINUTES - 100}",
            of("dagy_launches_total", result="launched"): f"0+10x100 1000x{MINUTES - 100}",
        },
        {"DagyLaunchBreakerOpen": 1, "DagyQueueStuck": 1},
    ),
    Story(
        "runs wait, none is launched",
        {of("dagy_launches_total", result="launched"): f"0+10x100 1000x{MINUTES - 100}"},
        {"DagyQueueStuck": 1},
    ),
    Story("a run waits for an hour", {of("dagy_queue_oldest_wait_seconds"): steady(3600)}, {"DagyQueueOld": 1}),
    Story(
        "answers of RunTask are lost",
        {of("dagy_launches_total", result="unresolved"): growing(1)},
        {"DagyLaunchesUndecided": 1},
    ),
    Story("no capacity", {of("dagy_launches_total", result="retryable"): growing(20)}, {"DagyCapacityShort": 1}),
    Story("passes take too long", {of("dagy_reconcile_lag_seconds"): steady(301)}, {"DagyReconcileLag": 1}),
    Story("most tasks are missing", {of("dagy_reconcile_held"): steady(1)}, {"DagyReconcileHeld": 1}),
    Story(
        "one replica cannot read the queue",
        {of("dagy_events_queue_available", "b"): steady(0)},
        {"DagyEventsQueueUnavailable": 1},
    ),
    Story("dead letters", {of("dagy_events_dead_letters", each): steady(2) for each in ("a", "b")}, {"DagyDeadLetters": 1}),
    Story(
        "every third launch fails outside its worker",
        {of("dagy_runs_ended_total", status="FAILED", failure_class="LOST"): growing(3.4)},
        {"DagyRunsFailing": 1},
    ),
    Story(
        "very many runs fail at once, the first of their class",
        {of("dagy_runs_ended_total", status="FAILED", failure_class="IMAGE_PULL"): "0x100 150x49"},
        {"DagyRunsFailing": 1},
    ),
    Story(
        "a new daemon finds very many runs lost, before it is first asked",
        {
            of("process_start_time_seconds"): steady(60 * 129),
            of("dagy_launches_total", result="launched"): "_x130 0+10x20",
            of("dagy_runs_ended_total", status="FAILED", failure_class="LOST"): "_x130 150x20",
        },
        {"DagyRunsFailing": 1},
    ),
    Story("more orphans than may be", {of("dagy_orphans_refused", "b"): steady(1)}, {"DagyOrphanScanRefused": 1}),
    Story("scans that are not whole", {of("dagy_orphans_incomplete", "b"): steady(1)}, {"DagyOrphanScanIncomplete": 1}),
    Story("orphans in dry run", {of("dagy_orphans_tasks", "b", verdict="orphan"): steady(2)}, {"DagyOrphansRunning": 1}),
    Story(
        "throttled without end",
        {of("dagy_aws_calls_total", operation="RunTask", outcome="throttled"): growing(15)},
        {"DagyThrottled": 1},
    ),
    Story(
        "the lease table does not answer",
        {
            **{lease(loop, holder): f"1x100 0x{MINUTES - 100}" for loop, (holder, _) in LOOPS.items()},
            success("launching", "a"): STOPPED,
            success("reconciling", "a"): STOPPED,
            of("dagy_launches_total", result="launched"): f"0+10x100 1000x{MINUTES - 100}",
        },
        {"DagyLeaseUnheld": 3, "DagyLoopStalled": 2},
    ),
    Story(
        "a lease goes to and fro",
        {of("dagy_lease_lost_total", each, lease="dagy/main/launching"): growing(0.05) for each in ("a", "b")},
        {"DagyLeaseFlapping": 1},
    ),
    Story("a bad edit", {of("dagy_config_last_reload_successful", "b"): steady(0)}, {"DagyConfigRefused": 1}),
    Story("replicas read different files", {of("dagy_config_hash", "b"): steady(7)}, {"DagyConfigDiffers": 1}),
]  # fmt: skip
