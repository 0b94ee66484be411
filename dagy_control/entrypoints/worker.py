"""The worker's process: what a run's ECS task executes."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path

import uvloop

from dagy_control.adapters.metadata import own_task
from dagy_control.config import ConfigError, Settings, config_location, load_settings
from dagy_control.config.catalogue import PREFIX
from dagy_control.config.environment import BARE_NAMES, NOT_SETTINGS, STATE_TABLE_NAMES, variable_names
from dagy_control.entrypoints.policies import worker_policy
from dagy_control.entrypoints.wiring import embedded_metrics, open_ports
from dagy_control.kernel.telemetry import configure_logging, flush_logs, log
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED
from dagy_control.worker.lines import Redactor
from dagy_control.worker.policy import WorkerPolicy, WorkerPorts
from dagy_control.worker.run import Worker

FLOWS_OWN = frozenset({"DAGY_LOG_LEVEL", "DAGY_RUN_ID", "DAGY_ATTEMPT", "DAGY_CORRELATION_ID"})
"""What a flow may know of us: the variable that its run may set, and which run it is, to name its outputs and its log lines by."""
_log = log("dagy.worker")


def main() -> None:
    """Run the attempt that DAGY_RUN_ID and DAGY_ATTEMPT name, and exit with its code."""
    environ, strange = known_only(os.environ)
    try:
        settings = load_settings(Path(location) if (location := config_location(environ)) else None, environ)
    except ConfigError as error:
        configure_logging(level="INFO")
        _log.error("configuration refused; nothing has run", event_type="claim_failed", error=str(error))
        sys.exit(EXIT_CLAIM_REFUSED)
    redactor = Redactor(settings.worker.redact_keys)
    redactor.learn(os.environ)
    configure_logging(level=settings.log_level, json=settings.log_format == "json", finish=redactor.process)
    if strange:
        _log.warning("variables that are no settings are ignored", event_type="variables_ignored", variables=strange)
    run_id, attempt = os.environ.get("DAGY_RUN_ID", ""), os.environ.get("DAGY_ATTEMPT", "")
    if not run_id or not attempt.isdecimal():
        _log.error(
            "DAGY_RUN_ID and DAGY_ATTEMPT must say which attempt to run; nothing has run", event_type="claim_failed"
        )
        sys.exit(EXIT_CLAIM_REFUSED)
    policy = worker_policy(settings)
    if cgroup_dir := os.environ.get(
        "DAGY_CGROUP_DIR"
    ):  # the embedded cloud's; elsewhere the engine finds the kernel's own
        policy = replace(policy, cgroup_dir=Path(cgroup_dir))
    hide_control_variables(os.environ)
    code = uvloop.run(_work(settings, run_id, int(attempt), redactor, policy))
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


def hide_control_variables(environ: MutableMapping[str, str]) -> None:
    """Take our own variables out of this process's environment, before anything of the flow's inherits it.

    Hygiene, no protection: what runs in the container can read the task role's credentials, and the process's first environment.
    AWS's own variables stay: the flow's clients need region, endpoints and AWS_CONTAINER_CREDENTIALS_RELATIVE_URI as ours do.
    """
    for name in [name for name in environ if name.startswith(PREFIX) and name not in FLOWS_OWN]:
        del environ[name]


def process_age_s(proc: Path = Path("/proc")) -> float | None:
    """Seconds since this process was started; None where no /proc/self tells (proc(5): `stat`, field 22, and `uptime`)."""
    try:
        fields = (proc / "self" / "stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(float((proc / "uptime").read_text().split()[0]) - started_s, 0.0)
    except (OSError, ValueError, IndexError):
        return None


async def _work(settings: Settings, run_id: str, attempt: int, redactor: Redactor, policy: WorkerPolicy) -> int:
    embedded = embedded_metrics(settings)
    async with open_ports(settings, embedded=embedded) as ports:
        task = await own_task(os.environ.get("ECS_CONTAINER_METADATA_URI_V4", ""), ports.clock)
        if task is None:
            _log.error(
                "the metadata endpoint does not say which task this is; nothing has run", event_type="claim_failed"
            )
            return EXIT_CLAIM_REFUSED
        worker = Worker(
            WorkerPorts(
                runs=ports.runs,
                task_runs=ports.task_runs,
                flows=ports.flows,
                packages=ports.dep_packages,
                artifacts=ports.artifacts,
                traces=ports.traces,
                results=ports.results,
            ),
            ports.writer,
            ports.clock,
            policy,
            redactor=redactor,
            process_age_s=process_age_s(),
            pull_s=task.pull_s,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.request_shutdown)
        code = await worker.run(run_id=run_id, attempt=attempt, task_arn=task.arn)
        if embedded is not None:
            embedded.flush(alive=False)
        return code


if __name__ == "__main__":
    main()
