"""The daemon: every loop, the HTTP server, and their ordered end, in one process."""

import asyncio
import gc
import platform
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack

import uvloop
from prometheus_client import CollectorRegistry, Info

from dagy_control import __version__
from dagy_control.adapters.ecs_admin import EcsAdmin
from dagy_control.api.app import create_app
from dagy_control.api.server import ApiServer
from dagy_control.config import ConfigText, Loaded, Settings
from dagy_control.entrypoints.config_sources import source_of
from dagy_control.entrypoints.configuration import ConfigStores, read_configuration
from dagy_control.entrypoints.live import LiveLoop, LiveProcess, RunningLoop, check_servable
from dagy_control.entrypoints.orphan_scans import HttpScans, orphan_loop
from dagy_control.entrypoints.policies import (
    event_policy,
    launch_policy,
    loop_plans,
    process_plan,
    reconcile_policy,
)
from dagy_control.entrypoints.reloading import ConfigMetrics, Reloader
from dagy_control.entrypoints.wiring import Ports, embedded_metrics, open_ports
from dagy_control.events.effects import EventEffects
from dagy_control.events.loop import DeadLetterLoop, EventLoop
from dagy_control.events.metrics import EventMetrics
from dagy_control.kernel.clock import Clock, SystemClock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.emf import EmbeddedMetrics
from dagy_control.kernel.handover import Handover
from dagy_control.kernel.health import Health
from dagy_control.kernel.lag import LoopLag
from dagy_control.kernel.leases import LeaseHolder, LeaseKeeper, LeaseMetrics
from dagy_control.kernel.supervisor import Supervisor
from dagy_control.kernel.telemetry import LoopMetrics, configure_logging, log, new_registry
from dagy_control.kernel.ticker import Loop, Ticker
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.loop import LaunchingLoop
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.orphans.loop import OrphanLoop
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics

STAGE_LOOPS, STAGE_LEASES, STAGE_HTTP = 0, 1, 2
"""The loops drain first; then their leases are given back; probes are answered until the last."""

_log = log("dagy.control")


def serve(location: str | None, environ: Mapping[str, str]) -> int:
    """Run the daemon until SIGTERM or SIGINT; its exit code.

    The configuration at `location`, if any, is followed while it runs. Raises `ConfigError`, or `Permanent` when the settings do
    not suffice.
    """
    loaded, text = read_configuration(location, environ)
    settings = loaded.settings
    check_servable(settings)
    configure_logging(
        level=settings.log_level,
        json=settings.log_format == "json",
        static={"environment": settings.environment, "installation": settings.installation},
    )
    return uvloop.run(_serve(loaded, text, environ))


async def _serve(loaded: Loaded, text: ConfigText | None, environ: Mapping[str, str]) -> int:
    settings = loaded.settings
    clock = SystemClock()
    registry = new_registry()
    health = Health(clock)
    supervisor = Supervisor(clock, drain_timeout_s=settings.drain_timeout_s)
    supervisor.on_drain(health.begin_drain)
    Info("dagy_build", "Version of this program.", registry=registry).info({"version": __version__})
    async with AsyncExitStack() as stack:
        embedded = embedded_metrics(settings)
        ports = await stack.enter_async_context(open_ports(settings, registry=registry, embedded=embedded))
        if embedded is not None:
            supervisor.add("cloudwatch-metrics", embedded.run, stage=STAGE_HTTP)
        keeper = _lease_keeper(settings, ports, registry, health, supervisor)
        running = _start_loops(settings, ports, registry, keeper, embedded)
        _supervise(running, health, supervisor)
        lag = LoopLag(registry, clock)
        health.register_alive("event-loop", lag.alive)
        supervisor.add("event-loop-lag", lag.run, stage=STAGE_HTTP)
        process = LiveProcess(running, ports.limiter, supervisor, process_plan(settings))
        process.accept(settings)()
        config_metrics = ConfigMetrics(registry)
        config_metrics.taken(settings, clock.now())
        look_again = _nothing_to_read
        if text is not None:
            stores = await stack.enter_async_context(ConfigStores(clock))
            reloader = Reloader(
                source_of(text.name, stores, environ, clock),
                stores.resolve,
                environ,
                (loaded, text),
                accept=process.accept,
                metrics=config_metrics,
                clock=clock,
            )
            look_again = reloader.request
            health.register_state("configuration", reloader.state)
            health.register_degraded("configuration", reloader.refusal)
            supervisor.add("configuration", reloader.run, stage=STAGE_LOOPS)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look_again)
        _register_readiness(health, ports, settings.ecs.cluster_arn, process)
        if settings.api.enabled:
            scans = _http_scans(process, clock)
            app = create_app(registry=registry, health=health, scans=scans.door() if scans else None)
            server = ApiServer(app, settings.api.host, settings.api.port)
            supervisor.add("http", server.run, stage=STAGE_HTTP)
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection need look at it again (a tenth of a large pass)
        _log.info("Started", event_type="STARTED", version=__version__, cluster=settings.ecs.cluster_arn)
        return await supervisor.run()


def _supervise(running: Sequence[RunningLoop], health: Health, supervisor: Supervisor) -> None:
    """Let the loops run, and their health be seen."""
    for each in running:
        health.register_alive(each.loop.name, each.ticker.alive)
        if each.lease is not None:
            health.register_state(f"{each.loop.name} lease", each.lease.state)
        if isinstance(each.loop, LaunchingLoop):
            health.register_state("launch breaker", each.loop.describe_breaker)
        supervisor.add(each.loop.name, each.ticker.run, stage=STAGE_LOOPS)


def _start_loops(
    settings: Settings,
    ports: Ports,
    registry: CollectorRegistry,
    keeper: LeaseKeeper | None,
    embedded: EmbeddedMetrics | None,
) -> list[RunningLoop]:
    """Every loop that could work, each with its ticker; those that are switched off stand still until an edit switches them on."""
    plans, metrics = loop_plans(settings), LoopMetrics(registry)
    running = []
    to_reconciling = Handover()
    for plan, loop in _loops(settings, ports, registry, embedded, to_reconciling):
        lease = (
            keeper.keep(lease_name(settings, loop))
            if keeper and not isinstance(loop, EventLoop | DeadLetterLoop)
            else None
        )
        ticker = Ticker(loop, plans[plan].schedule, ports.clock, metrics, seed=ports.new_id(), permit=lease)
        if isinstance(loop, ReconcilingLoop):
            to_reconciling.wake = ticker.trigger
        running.append(RunningLoop(plan, loop, ticker, lease))
    return running


def _loops(
    settings: Settings,
    ports: Ports,
    registry: CollectorRegistry,
    embedded: EmbeddedMetrics | None,
    to_reconciling: Handover,
) -> Iterator[tuple[str, LiveLoop]]:
    """The loops for which there is a cluster, or a queue, each with the name of its plan."""
    if settings.ecs.cluster_arn:
        launching = LaunchingEffects(ports.runs, ports.tasks, ports.writer, ports.clock)
        yield "launching", LaunchingLoop(launch_policy(settings), launching, LaunchingMetrics(registry))
        reconciling = ReconcilingEffects(
            ports.runs, ports.tasks, ports.results, ports.writer, ports.clock, wanted=to_reconciling
        )
        metrics = ReconcilingMetrics(registry, tell_lag=embedded.reconcile_lag if embedded is not None else None)
        yield "reconciling", ReconcilingLoop(reconcile_policy(settings), reconciling, metrics, ports.clock)
        yield "orphans", orphan_loop(settings, ports, registry, embedded=embedded, to_reconciling=to_reconciling)
    if settings.events.queue_url:
        dead_url = settings.events.dead_letter_queue_url
        events = EventEffects(
            ports.runs,
            ports.events(settings.events.queue_url),
            ports.results,
            ports.writer,
            ports.clock,
            dead_letters=ports.events(dead_url) if dead_url else None,
        )
        event_metrics = EventMetrics(registry)
        for number in range(settings.events.receivers):
            name = "events" if number == 0 else f"events-{number + 1}"
            yield "events", EventLoop(name, event_policy(settings), events, event_metrics)
        if dead_url:
            yield "dead-letters", DeadLetterLoop(event_policy(settings), events, event_metrics)
    if not settings.events.queue_url or not settings.events.enabled:
        _log.warning(
            "events are off: a stopped task is known by polling only",
            event_type="EVENTS_OFF",
            setting="events.queue_url",
        )


def _nothing_to_read() -> None:
    """For SIGHUP, whose default is to end the process at once."""
    _log.info("SIGHUP: there is no configuration file to look at", event_type="CONFIG_NO_FILE")


def _http_scans(process: LiveProcess, clock: Clock) -> HttpScans | None:
    """Scans on request, by the loop's own code and settings, whether or not it ticks here; None without a cluster."""
    drain = Drain()
    process.supervisor.on_drain(drain.begin)
    loop = next((each.loop for each in process.loops if isinstance(each.loop, OrphanLoop)), None)
    return HttpScans(loop, clock, drain, token=lambda: process.plan.api_token) if loop else None


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
        name=f"{platform.node()}/{ports.new_id()}",
        lease_s=settings.leases.lease_s,
        new_nonce=ports.new_id,
        on_taken=ports.limiter.empty,  # who had the lease before has used the same account
    )
    keeper = LeaseKeeper(ports.leases, ports.clock, holder, LeaseMetrics(registry))
    health.register_ready("leases", keeper.ready)
    supervisor.add("leases", keeper.run, stage=STAGE_LEASES)
    return keeper


def _register_readiness(health: Health, ports: Ports, cluster: str | None, process: LiveProcess) -> None:
    async def tables_reachable() -> str | None:
        await ports.runs.get("readiness-probe")
        return None

    ecs = EcsAdmin(ports.clients.ecs, ports.calls)

    async def ecs_reachable() -> str | None:
        return await ecs.cluster_problem(cluster or "", providers=process.plan.providers)

    health.register_ready("tables", tables_reachable)
    if cluster:
        health.register_ready("ecs", ecs_reachable)
