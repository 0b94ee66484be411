"""Retrying a run that is over: a new run of the same, on the same executor, or a refusal. Never a fallback."""

import json

from dagy_control.model.flow_templates import Json
from dagy_control.model.runs import Run
from dagy_control.requests.known_run import known_run
from dagy_control.requests.launch import Launcher
from dagy_control.requests.orders import LaunchOrder
from dagy_control.requests.refusals import RequestRefused


async def retry(launcher: Launcher, run_id: str, *, idempotency_key: str | None = None) -> Run:
    """A new run (`retry_of` the old one) with its flow version, parameters, executor, size, environment, priority and attempts.

    Its correlation id is its own; a child of a batch becomes one more child of it. A deployment is not asked again: what the
    old run had taken from it stands on the old run. With an idempotency key that was used before, the run of that time: see
    its `retry_of`. Raises `RequestRefused`, having written nothing, for a run that is not over, and when executor, flow
    version or size are no longer to be had; `QueueFull` and `Transient` as `Launcher.submit` does.
    """
    run = await known_run(launcher.ports.runs, run_id)
    if not run.status.is_terminal:
        raise RequestRefused(
            "run_id", f"run {run_id} is {run.status}: only a run that is over can be retried; cancel it first, or wait"
        )
    order = LaunchOrder(
        org_id=run.org_id,
        flow_name=run.flow_name,
        deployment_name=run.deployment_name,
        flow_version=run.flow_version,
        parameters=_parameters(run),
        workload_profile=_profile(run, launcher),
        cpu=run.cpu,
        memory=run.memory,
        ephemeral_storage_gib=run.ephemeral_storage_gib,
        extra_env_vars=run.environment,
        executor=run.executor,
        parent_correlation_id=run.parent_correlation_id,
        idempotency_key=idempotency_key,
        priority=run.priority,
        max_attempts=run.max_attempts,
    )
    return await launcher.queue(order, retry_of=run_id, dep_package_slugs=run.dep_package_slugs)


def _profile(run: Run, launcher: Launcher) -> str | None:
    """The profile's name; None once it is no longer configured, if the run says its size in numbers: these are what counts."""
    told = run.cpu is not None and run.memory is not None
    return run.workload_profile if run.workload_profile in launcher.policy.profiles or not told else None


def _parameters(run: Run) -> dict[str, Json]:
    try:
        parameters: Json = json.loads(run.parameters)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise RequestRefused(
            "parameters", f"the parameters of run {run.run_id} are no JSON object: {run.parameters:.80}"
        )
    return parameters
