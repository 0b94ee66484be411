"""What an attempt costs, estimated: its size, its architecture, its capacity provider, and the seconds that AWS bills.

Source: "AWS Fargate Pricing". Billed is from the start of the image pull to the task's stop, by the second, a minute at least; 20 GiB
of ephemeral storage are included. An estimate: no savings plan, no tax, no data transfer, no logs. Where a size or a time is
unknown there is no number rather than a wrong one.
"""

from dataclasses import dataclass
from math import ceil

from dagy_control.model.tasks import SeenTask

MINIMUM_BILLED_S = 60
STORAGE_INCLUDED_GIB = 20
CPU_UNITS_PER_VCPU = 1024
MIB_PER_GB = 1024
HOUR_S = 3600
ON_DEMAND, SPOT = "FARGATE", "FARGATE_SPOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices in USD per hour: of a vCPU and of a GB of memory by architecture, of a GB of storage beyond the included ones.

    `spot_discount`: the share that Spot takes off vCPU and memory; storage has no Spot price. The defaults are those of
    us-east-1, Linux ("AWS Fargate Pricing" as quoted in March 2026); Spot's is "up to 70 %" and changes.
    """

    x86_vcpu_hour_usd: float = 0.04048
    x86_memory_gb_hour_usd: float = 0.004445
    arm_vcpu_hour_usd: float = 0.03238
    arm_memory_gb_hour_usd: float = 0.00356
    storage_gb_hour_usd: float = 0.000111
    spot_discount: float = 0.7


def billed_seconds(task: SeenTask) -> int | None:
    """The seconds that AWS bills for an ended task; 0 for one that failed before its image was pulled; None when unknown."""
    if task.pull_started_at is None:
        return 0 if task.stop_code == "TaskFailedToStart" and task.started_at is None else None
    if task.stopped_at is None or task.stopped_at < task.pull_started_at:
        return None
    return max(MINIMUM_BILLED_S, ceil((task.stopped_at - task.pull_started_at).total_seconds()))


def attempt_cost_usd(task: SeenTask, prices: PriceTable) -> float | None:
    """What the ended task costs; None when its size, its times or its price are unknown (Windows, EC2, another provider).

    Without a word about it the architecture is x86_64 and the storage what is included: Fargate's defaults.
    """
    seconds = billed_seconds(task)
    if seconds is None or task.cpu is None or task.memory_mib is None or not _is_linux_on_fargate(task):
        return None
    match task.architecture.lower():
        case "" | "x86_64":
            vcpu_usd, memory_usd = prices.x86_vcpu_hour_usd, prices.x86_memory_gb_hour_usd
        case "arm64":
            vcpu_usd, memory_usd = prices.arm_vcpu_hour_usd, prices.arm_memory_gb_hour_usd
        case _:
            return None
    share = 1 - prices.spot_discount if task.capacity_provider == SPOT else 1
    sized = task.cpu / CPU_UNITS_PER_VCPU * vcpu_usd + task.memory_mib / MIB_PER_GB * memory_usd
    extra_gib = max(0, (task.ephemeral_storage_gib or 0) - STORAGE_INCLUDED_GIB)
    return round(seconds / HOUR_S * (share * sized + extra_gib * prices.storage_gb_hour_usd), 8)


def _is_linux_on_fargate(task: SeenTask) -> bool:
    return (
        task.launch_type in ("", "FARGATE")
        and task.capacity_provider in ("", ON_DEMAND, SPOT)
        and task.platform_family.lower() in ("", "linux")
    )
