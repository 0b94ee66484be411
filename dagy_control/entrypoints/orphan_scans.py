"""The orphan scanner, put together: one scan for the loop, the command and the HTTP face."""

import json
from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry

from dagy_control.adapters.sns_alerts import SnsAlerts
from dagy_control.api.scans import ScanAnswer, ScanDoor
from dagy_control.config import Settings
from dagy_control.entrypoints.policies import orphan_policy
from dagy_control.entrypoints.wiring import Ports
from dagy_control.errors import DagyError, Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.emf import EmbeddedMetrics
from dagy_control.kernel.handover import Handover
from dagy_control.kernel.telemetry import log
from dagy_control.kernel.ticker import Tick
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.orphans.loop import OrphanLoop
from dagy_control.orphans.metrics import PART, OrphanMetrics
from dagy_control.orphans.report import failure_report
from dagy_control.orphans.request import BadInput, ScanInput, read_input

DRY_RUNS_ONLY = (
    "over HTTP nothing is stopped unless api.token (DAGY_API__TOKEN) is set and sent as 'Authorization: Bearer TOKEN'; "
    "without it only dry runs are possible"
)

NO_REPORT = "the loop of this process has no report now: it has not scanned yet, its last scan failed, or another replica has its lease"

_log = log("dagy.orphans")


def orphan_loop(
    settings: Settings,
    ports: Ports,
    registry: CollectorRegistry,
    *,
    embedded: EmbeddedMetrics | None = None,
    to_reconciling: Handover | None = None,
) -> OrphanLoop:
    """The orphan scanner, for the daemon and for the command alike: a command's standard output has no room for `embedded`."""
    tell = partial(embedded.tell, part=PART, dimensions=("Environment",)) if embedded is not None else None
    effects = OrphanEffects(ports.runs, ports.tasks, ports.state_tables, ports.suspicions, ports.writer, ports.clock)
    alerts = SnsAlerts(ports.clients.sns, ports.calls)
    return OrphanLoop(
        orphan_policy(settings),
        effects,
        OrphanMetrics(registry, tell),
        ports.clock,
        alerts=alerts,
        to_reconciling=to_reconciling,
    )


def scan_input(text: str | bytes) -> ScanInput:
    """The input in a JSON text; nothing at all asks for nothing in particular. Raises `BadInput`."""
    if not text.strip():
        return ScanInput()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the input is not JSON: {error}") from error
    return read_input(document)


def environment_of(environ: Mapping[str, str]) -> str:
    """The environment's name for a report that is made before there are settings."""
    names = ("DAGY_ENVIRONMENT", "ENVIRONMENT")
    return next((environ[name] for name in names if environ.get(name)), Settings().environment)


class HttpScans:
    """Scans on request. `drain` ends one under way: what it has not stopped by then stays. `token`: the one in effect now."""

    def __init__(self, loop: OrphanLoop, clock: Clock, drain: Drain, *, token: Callable[[], str | None]) -> None:
        self._loop = loop
        self._clock = clock
        self._drain = drain
        self._token = token

    def door(self) -> ScanDoor:
        """What the HTTP face needs to know."""
        return ScanDoor(scan=self.scan, last=self.last, refuse=self._failure, token=self._token)

    async def scan(self, body: bytes, authorized: bool) -> ScanAnswer:
        """One scan, one at a time. Whoever has not shown a token gets a dry run, of which nobody is alerted."""
        try:
            policy = scan_input(body).applied(self._loop.policy)
        except BadInput as error:
            return ScanAnswer(400, self._failure(str(error)))
        if not policy.dry_run and not authorized:
            return ScanAnswer(403, self._failure(DRY_RUNS_ONLY))
        if self._loop.busy:
            return ScanAnswer(409, self._failure("a scan is under way in this process; try again in a minute"))
        told = {"dry_run": policy.dry_run, "authorized": authorized}
        _log.info("orphan scan asked for over HTTP", event_type="ORPHAN_SCAN_ASKED", **told)
        try:
            report = await self._loop.scan(
                Tick(now=self._clock.now(), drain=self._drain), policy=policy, alert=authorized
            )
        except DagyError as error:
            return ScanAnswer(503 if isinstance(error, Transient) else 502, self._failure(str(error)))
        return ScanAnswer(200 if report["success"] else 503, report)

    def last(self) -> ScanAnswer:
        """What the loop's own last scan has reported."""
        report = self._loop.last_report
        if report is None:
            return ScanAnswer(404, self._failure(NO_REPORT))
        return ScanAnswer(200, report)

    def _failure(self, error: str) -> dict[str, object]:
        return failure_report(error, self._loop.policy.environment)
