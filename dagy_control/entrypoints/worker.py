"""The worker's process: what a run's ECS task executes."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

import uvloop

from dagy_control.adapters.metadata import own_task_arn
from dagy_control.config import ConfigError, Settings, config_path, load_settings
from dagy_control.config.catalogue import PREFIX
from dagy_control.config.environment import BARE_NAMES, NOT_SETTINGS, STATE_TABLE_NAMES, variable_names
from dagy_control.entrypoints.policies import worker_policy
from dagy_control.entrypoints.wiring import open_ports
from dagy_control.kernel.telemetry import configure_logging, flush_logs, log
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED
from dagy_control.worker.run import Worker, WorkerPorts

_log = log("dagy.worker")


def main() -> None:
    """Run the attempt that DAGY_RUN_ID and DAGY_ATTEMPT name, and exit with its code."""
    environ, strange = known_only(os.environ)
    try:
        settings = load_settings(config_path(environ), environ)
    except ConfigError as error:
        configure_logging(level="INFO")
        _log.error("configuration refused; nothing has run", event_type="claim_failed", error=str(error))
        sys.exit(EXIT_CLAIM_REFUSED)
    configure_logging(level=settings.log_level, json=settings.log_format == "json")
    if strange:
        _log.warning("variables that are no settings are ignored", variables=strange)
    run_id, attempt = os.environ.get("DAGY_RUN_ID", ""), os.environ.get("DAGY_ATTEMPT", "")
    if not run_id or not attempt.isdecimal():
        _log.error(
            "DAGY_RUN_ID and DAGY_ATTEMPT must say which attempt to run; nothing has run", event_type="claim_failed"
        )
        sys.exit(EXIT_CLAIM_REFUSED)
    code = uvloop.run(_work(settings, run_id, int(attempt), os.environ))
    flush_logs()
    sys.exit(code)


def known_only(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment without `DAGY_*` variables that nobody knows, and their names.

    The daemon refuses such a variable as a mistyped setting; a worker must not: its environment holds what others put there.
    The bare names of the orphan scanner (ENVIRONMENT, DRY_RUN, …) are left out in silence: here they are the flow's own.
    """
    known = {*variable_names(), *NOT_SETTINGS}
    strange = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    unread = {*strange, *BARE_NAMES, *STATE_TABLE_NAMES}
    return {name: value for name, value in environ.items() if name not in unread}, strange


async def _work(settings: Settings, run_id: str, attempt: int, environ: Mapping[str, str]) -> int:
    async with open_ports(settings) as ports:
        task_arn = await own_task_arn(environ.get("ECS_CONTAINER_METADATA_URI_V4", ""), ports.clock)
        if task_arn is None:
            _log.error(
                "the metadata endpoint does not say which task this is; nothing has run", event_type="claim_failed"
            )
            return EXIT_CLAIM_REFUSED
        worker = Worker(
            WorkerPorts(ports.runs, ports.task_runs, ports.flows, ports.artifacts, ports.results),
            ports.writer,
            ports.clock,
            worker_policy(settings),
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.request_shutdown)
        return await worker.run(run_id=run_id, attempt=attempt, task_arn=task_arn)


if __name__ == "__main__":
    main()
