"""From a workload profile, or explicit CPU and memory, to a size that Fargate runs. Pure."""

from collections.abc import Mapping

from dagy_control.model.resources import (
    FARGATE_MEMORY_MIB,
    TaskSize,
    nearest_sizes,
    smallest_cpu_for,
    validate_ephemeral_storage,
    validate_size,
)
from dagy_control.requests.refusals import RequestRefused


def choose_size(
    profiles: Mapping[str, TaskSize],
    default_profile: str,
    *,
    profile: str | None,
    cpu: int | None,
    memory: int | None,
    ephemeral_storage_gib: int | None,
) -> TaskSize:
    """The size of a request. Explicit numbers override those of the profile; memory without CPU takes the smallest CPU that fits."""
    name = profile or default_profile
    base = profiles.get(name)
    if base is None:
        raise RequestRefused(
            "workload_profile", f"there is no workload profile {name!r}; known: {', '.join(sorted(profiles))}"
        )
    if ephemeral_storage_gib is not None and (problem := validate_ephemeral_storage(ephemeral_storage_gib)):
        raise RequestRefused("ephemeral_storage_gib", problem)
    chosen_memory = memory if memory is not None else base.memory_mib
    chosen_cpu = cpu
    if chosen_cpu is None:
        chosen_cpu = base.cpu if memory is None or profile else smallest_cpu_for(memory)
    if chosen_cpu is None:
        near = ", ".join(f"{each.memory_mib} MiB" for each in nearest_sizes(min(FARGATE_MEMORY_MIB), chosen_memory))
        raise RequestRefused("memory", f"no Fargate size has {chosen_memory} MiB; the nearest are {near}")
    if problem := validate_size(chosen_cpu, chosen_memory):
        raise RequestRefused("memory" if cpu is None else "cpu", problem)
    return TaskSize(chosen_cpu, chosen_memory, ephemeral_storage_gib)
