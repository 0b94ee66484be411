"""From a workload profile, or explicit CPU and memory, to a size that Fargate runs. Pure."""

from collections.abc import Mapping

from dagy_control.model.resources import (
    FARGATE_MEMORY_MIB,
    TaskSize,
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
    name = default_profile if profile is None else profile
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
        chosen_cpu = base.cpu if memory is None or profile is not None else smallest_cpu_for(memory)
    if chosen_cpu is None:
        raise RequestRefused("memory", f"no Fargate size has {chosen_memory} MiB; nearest: {_nearest(chosen_memory)}")
    if memory is None and cpu is not None and chosen_memory not in FARGATE_MEMORY_MIB.get(cpu, (chosen_memory,)):
        raise RequestRefused(
            "cpu",
            f"{cpu} CPU units do not go with the {chosen_memory} MiB of profile {name!r}: give memory too; "
            f"nearest: {cpu} CPU / {_nearest_memory(cpu, chosen_memory)} MiB",
        )
    if problem := validate_size(chosen_cpu, chosen_memory):
        raise RequestRefused("memory" if cpu is None else "cpu", problem)
    return TaskSize(chosen_cpu, chosen_memory, ephemeral_storage_gib)


def _nearest_memory(cpu: int, memory_mib: int) -> int:
    """Of the memory sizes that this CPU has, the nearest: the memory was left to us."""
    return min(FARGATE_MEMORY_MIB[cpu], key=lambda memory: abs(memory - memory_mib))


def _nearest(memory_mib: int) -> str:
    """The sizes next below and above this memory, each with the smallest CPU that has it: the CPU was left to us."""
    every = sorted({memory for memories in FARGATE_MEMORY_MIB.values() for memory in memories})
    below = [memory for memory in every if memory < memory_mib][-1:]
    above = [memory for memory in every if memory > memory_mib][:1]
    return " and ".join(f"{smallest_cpu_for(memory)} CPU / {memory} MiB" for memory in (*below, *above))
