"""Fargate task sizes, workload profiles and capacity providers.

Source of the size table: "Task CPU and memory", Amazon ECS Developer Guide for AWS Fargate (Linux platform).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import log2

from dagy_control.model.hashing import hashed_fraction

GIB = 1024
"""MiB in one GiB: ECS counts memory in MiB, 1 GB of its tables being 1,024 of them."""

FARGATE_MEMORY_MIB: Mapping[int, tuple[int, ...]] = {
    256: (512, 1 * GIB, 2 * GIB),
    512: tuple(range(1 * GIB, 4 * GIB + 1, GIB)),
    1024: tuple(range(2 * GIB, 8 * GIB + 1, GIB)),
    2048: tuple(range(4 * GIB, 16 * GIB + 1, GIB)),
    4096: tuple(range(8 * GIB, 30 * GIB + 1, GIB)),
    8192: tuple(range(16 * GIB, 60 * GIB + 1, 4 * GIB)),
    16384: tuple(range(32 * GIB, 120 * GIB + 1, 8 * GIB)),
    32768: (60 * GIB, 120 * GIB, 244 * GIB),
}
"""CPU units → the memory sizes, in MiB, that Fargate accepts with them."""

EPHEMERAL_STORAGE_INCLUDED_GIB = 20
EPHEMERAL_STORAGE_MIN_GIB = 21
EPHEMERAL_STORAGE_MAX_GIB = 200


class CapacityProvider(StrEnum):
    """The two Fargate capacity providers."""

    FARGATE = "FARGATE"
    FARGATE_SPOT = "FARGATE_SPOT"


PROVIDER_VARIABLE = "ECS_CAPACITY_PROVIDER"
"""In a run's environment it chooses the capacity provider, as in the runbook."""


@dataclass(frozen=True, slots=True)
class TaskSize:
    """What a Fargate task is given: CPU units (1,024 a vCPU), memory in MiB, ephemeral storage in GiB (None: the 20 included)."""

    cpu: int
    memory_mib: int
    ephemeral_storage_gib: int | None = None


def validate_size(cpu: int, memory_mib: int) -> str | None:
    """None when Fargate runs `cpu` units with `memory_mib`; otherwise the problem, with the nearest valid pairs."""
    if memory_mib in FARGATE_MEMORY_MIB.get(cpu, ()):
        return None
    pairs = ", ".join(f"{near.cpu} CPU / {near.memory_mib} MiB" for near in nearest_sizes(cpu, memory_mib))
    return f"{cpu} CPU units with {memory_mib} MiB is not a Fargate size; the nearest valid ones are {pairs}"


def nearest_sizes(cpu: int, memory_mib: int, count: int = 3) -> tuple[TaskSize, ...]:
    """The `count` valid sizes nearest to a wish, by the ratios of CPU and of memory together, nearest first."""

    def distance(size: TaskSize) -> float:
        return abs(log2(size.cpu / max(cpu, 1))) + abs(log2(size.memory_mib / max(memory_mib, 1)))

    every = (TaskSize(each_cpu, memory) for each_cpu, memories in FARGATE_MEMORY_MIB.items() for memory in memories)
    return tuple(sorted(every, key=lambda size: (distance(size), size.cpu, size.memory_mib))[:count])


def smallest_cpu_for(memory_mib: int) -> int | None:
    """The smallest CPU size that Fargate accepts with `memory_mib`; None when no size has that memory."""
    return next((cpu for cpu, memories in FARGATE_MEMORY_MIB.items() if memory_mib in memories), None)


def larger_size(
    size: TaskSize, profile: str | None, profiles: Mapping[str, TaskSize]
) -> tuple[str | None, TaskSize] | None:
    """What to give to a task that ran out of memory: (profile, size), or None when it has the largest already.

    A run of a profile gets the next one by memory that has no less CPU. One that was sized by itself keeps its CPU and gets
    the least memory that Fargate has for it of half as much again, or else the most.
    """
    named = profiles.get(profile or "")
    if named is not None and (named.cpu, named.memory_mib) == (size.cpu, size.memory_mib):
        larger = [
            (each.memory_mib, each.cpu, name)
            for name, each in profiles.items()
            if each.memory_mib > size.memory_mib and each.cpu >= size.cpu
        ]
        if not larger:
            return None
        memory_mib, cpu, name = min(larger)
        return name, TaskSize(cpu, memory_mib, size.ephemeral_storage_gib)
    more = [memory for memory in FARGATE_MEMORY_MIB.get(size.cpu, ()) if memory > size.memory_mib]
    if not more:
        return None
    enough = (memory for memory in more if memory >= 1.5 * size.memory_mib)
    return profile, TaskSize(size.cpu, next(enough, more[-1]), size.ephemeral_storage_gib)


def validate_ephemeral_storage(gib: int) -> str | None:
    """None when Fargate can be asked for `gib` of ephemeral storage; otherwise the problem."""
    if EPHEMERAL_STORAGE_MIN_GIB <= gib <= EPHEMERAL_STORAGE_MAX_GIB:
        return None
    return (
        f"ephemeral storage of {gib} GiB is outside {EPHEMERAL_STORAGE_MIN_GIB} to {EPHEMERAL_STORAGE_MAX_GIB}; "
        f"leave it out for the {EPHEMERAL_STORAGE_INCLUDED_GIB} GiB that every task has"
    )


def choose_provider(weights: Mapping[str, int], run_id: str, attempt: int) -> str:
    """The capacity provider of an attempt, by weight, from a hash of its ids: the same answer on every replica and replay.

    ECS applies a strategy's weights within one RunTask call; with one task a call they would never be honoured, so the
    choice is made here and a single provider is named in the call.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("capacity provider weights must sum to more than 0")
    point = hashed_fraction(run_id, attempt) * total
    providers = sorted(provider for provider, weight in weights.items() if weight > 0)
    for provider in providers[:-1]:
        if point < weights[provider]:
            return provider
        point -= weights[provider]
    return providers[-1]
