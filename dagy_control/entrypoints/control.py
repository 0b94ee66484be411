"""The daemon: every loop, the HTTP server, and their ordered end, in one process."""

import platform
from contextlib import AsyncExitStack

import uvloop
from prometheus_client import CollectorRegistry, Info

from dagy_control import __version__
from dagy_control.adapters.ecs_admin import EcsAdmin
from dagy_control.api.app import create_app
from dagy_control.api.server import ApiServer
from dagy_control.config import Settings
from dagy_control.entrypoints.policies import (
    LoopSchedule,
    event_policy,
    launch_policy,
    loop_schedule,
    orphan_policy,
    reconcile_policy,
)
from dagy_control.entrypoints.wiring import Ports, open_ports
from dagy_control.errors import Permanent
from dagy_control.events.effects import EventEffects
from dagy_control.events.loop import EventLoop
from dagy_control.events.metrics import EventMetrics
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.health import Health
from dagy_control.kernel.lag import LoopLag
from dagy_control.kernel.leases import LeaseHolder, LeaseKeeper, LeaseMetrics
from dagy_control.kernel.supervisor import Supervisor
from dagy_control.kernel.telemetry import LoopMetrics, configure_logging, log, new_registry
from dagy_control.kernel.ticker import Loop, Ticker, TickPolicy
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.loop import LaunchingLoop
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.orphans.loop import OrphanLoop
from dagy_control.orphans.metrics import OrphanMetrics
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics

STAGE_LOOPS, STAGE_LEASES, STAGE_HTTP = 0, 1, 2
"""The loops drain first; then their leases are given back; probes are answered until the last."""

_log = log("dagy.control")


def serve(settings: Settings) -> int:
    """Run the daemon until SIGTERM or SIGINT; its exit code. Raises `Permanent` when the settings do not suffice."""
    check_servable(settings)
    configure_logging(
        level=settings.log_level,
        json=settings.log_format == "json",
        static={"environment": settings.environment, "installation": settings.installation},
    )
    return uvloop.run(_serve(settings))


def check_servable(settings: Settings) -> None:
    """Refuse settings under which a loop that is switched on could not work; better now than at its first tick."""
    if settings.launching.enabled and (missing := settings.ecs.missing_for_launch()):
        raise Permanent(
            f"launching needs settings that are not set: {', '.join(missing)}. Set them (or their keys in the configuration "
            "file), or set launching.enabled = false"
        )
    if not settings.ecs.cluster_arn and (settings.reconciling.enabled or settings.orphans.enabled):
        raise Permanent(
            "reconciling and the orphan scanner need ecs.cluster_arn (DAGY_ECS_CLUSTER_ARN); set it, or switch them off"
        )


async def _serve(settings: Settings) -> int:
    clock = SystemClock()
    registry = new_registry()
    health = Health(clock)
    supervisor = Supervisor(clock, drain_timeout_s=settings.drain_timeout_s)
    supervisor.on_drain(health.begin_drain)
    Info("dagy_build", "Version of this program.", registry=registry).info({"version": __version__})
    async with AsyncExitStack() as stack:
        ports = await stack.enter_async_context(open_ports(settings, registry=registry))
        metrics = LoopMetrics(registry)
        keeper = _lease_keeper(settings, ports, registry, health, supervisor)
        for loop, policy in _loops(settings, ports, registry):
            lease = keeper.keep(lease_name(settings, loop)) if keeper and not isinstance(loop, EventLoop) else None
            ticker = Ticker(loop, policy, clock, metrics, permit=lease)
            health.register_alive(loop.name, ticker.alive)
            if lease is not None:
                health.register_state(f"{loop.name} lease", lease.state)
            if isinstance(loop, LaunchingLoop):
                health.register_state("launch breaker", loop.describe_breaker)
            supervisor.add(loop.name, ticker.run, stage=STAGE_LOOPS)
        lag = LoopLag(registry, clock)
        health.register_alive("event-loop", lag.alive)
        supervisor.add("event-loop-lag", lag.run, stage=STAGE_HTTP)
        _register_readiness(health, ports, settings)
        if settings.api.enabled:
            app = create_app(registry=registry, health=health)
            server = ApiServer(app, settings.api.host, settings.api.port)
            supervisor.add("http", server.run, stage=STAGE_HTTP)
        _log.info("Started", event_type="STARTED", version=__version__, cluster=settings.ecs.cluster_arn)
        return await supervisor.run()


def _loops(settings: Settings, ports: Ports, registry: CollectorRegistry) -> list[tuple[Loop, TickPolicy]]:
    """The loops that are switched on, each with its schedule."""
    schedule: LoopSchedule = loop_schedule(settings)
    loops: list[tuple[Loop, TickPolicy]] = []
    if settings.launching.enabled:
        launching = LaunchingEffects(ports.runs, ports.tasks, ports.writer, ports.clock)
        loops.append(
            (LaunchingLoop(launch_policy(settings), launching, LaunchingMetrics(registry)), schedule.launching)
        )
    if settings.reconciling.enabled:
        reconciling = ReconcilingEffects(ports.runs, ports.tasks, ports.results, ports.writer, ports.clock)
        loop = ReconcilingLoop(reconcile_policy(settings), reconciling, ReconcilingMetrics(registry), ports.clock)
        loops.append((loop, schedule.reconciling))
    if settings.orphans.enabled:
        loops.append((orphan_loop(settings, ports, registry), schedule.orphans))
    if settings.events.enabled and settings.events.queue_url:
        events = EventEffects(
            ports.runs, ports.events(settings.events.queue_url), ports.results, ports.writer, ports.clock
        )
        event_metrics = EventMetrics(registry)
        for number in range(settings.events.receivers):
            name = "events" if number == 0 else f"events-{number + 1}"
            loops.append((EventLoop(name, event_policy(settings), events, event_metrics), schedule.events))
    else:
        _log.warning("events are off: a stopped task is known by polling only", setting="events.queue_url")
    return loops


def lease_name(settings: Settings, loop: Loop) -> str:
    """The lease of a loop: one for each installation and cluster."""
    cluster = (settings.ecs.cluster_arn or "").rsplit("/", 1)[-1]
    return f"{settings.installation}/{cluster}/{loop.name}"


def _lease_keeper(
    settings: Settings, ports: Ports, registry: CollectorRegistry, health: Health, supervisor: Supervisor
) -> LeaseKeeper | None:
    """What keeps the leases of the loops; None when they are off: then every replica runs every loop.

    The event loops need none (`events/loop.py`), and neither do commands run by hand: leases only save effort.
    """
    if not settings.leases.enabled:
        return None
    holder = LeaseHolder(
        name=f"{platform.node()}/{ports.new_id()}", lease_s=settings.leases.lease_s, new_nonce=ports.new_id
    )
    keeper = LeaseKeeper(ports.leases, ports.clock, holder, LeaseMetrics(registry))
    health.register_ready("leases", keeper.ready)
    supervisor.add("leases", keeper.run, stage=STAGE_LEASES)
    return keeper


def orphan_loop(
    settings: Settings,
    ports: Ports,
    registry: CollectorRegistry,
    *,
    dry_run: bool | None = None,
    max_runtime_hours: float | None = None,
) -> OrphanLoop:
    """The orphan scanner, for the daemon and for the command alike."""
    effects = OrphanEffects(ports.runs, ports.tasks, ports.state_tables, ports.suspicions, ports.writer, ports.clock)
    policy = orphan_policy(settings, dry_run=dry_run, max_runtime_hours=max_runtime_hours)
    return OrphanLoop(policy, effects, OrphanMetrics(registry), ports.clock)


def _register_readiness(health: Health, ports: Ports, settings: Settings) -> None:
    async def tables_reachable() -> str | None:
        await ports.runs.get("readiness-probe")
        return None

    ecs = EcsAdmin(ports.clients.ecs, ports.calls)

    providers = [name for name, weight in settings.ecs.capacity_providers.items() if weight > 0]

    async def ecs_reachable() -> str | None:
        launched = providers if settings.launching.enabled else ()
        return await ecs.cluster_problem(settings.ecs.cluster_arn or "", providers=launched)

    health.register_ready("tables", tables_reachable)
    if settings.ecs.cluster_arn:
        health.register_ready("ecs", ecs_reachable)
