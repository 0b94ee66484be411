"""How an edited configuration reaches what runs: prepared and checked as a whole, then swapped in one step between two awaits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dagy_control.config import Settings
from dagy_control.entrypoints.policies import LoopPlan, ProcessPlan, loop_plans, process_plan
from dagy_control.errors import Permanent
from dagy_control.kernel.leases import KeptLease
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.supervisor import Supervisor
from dagy_control.kernel.telemetry import set_log_level
from dagy_control.kernel.ticker import Loop, Ticker


class LiveLoop(Loop, Protocol):
    """A loop that takes its policy anew at the start of each tick."""

    policy: Any
    """A policy of the loop's own type, as `policies.loop_plans` makes it."""


@dataclass(frozen=True, slots=True)
class RunningLoop:
    """A loop of this process, its ticker, and its lease if it needs one. `plan`: the name of its plan in `policies.loop_plans`."""

    plan: str
    loop: LiveLoop
    ticker: Ticker
    lease: KeptLease | None

    def follow(self, plan: LoopPlan) -> None:
        """Work by this plan from the next tick on. A loop that is switched off gives its lease to another replica."""
        self.loop.policy = plan.policy
        self.ticker.policy = plan.schedule
        if self.lease is not None:
            self.lease.wanted = plan.enabled
        if plan.enabled:
            self.ticker.resume()
        else:
            self.ticker.pause()


@dataclass(slots=True)
class LiveProcess:
    """Everything in this process that follows the configuration while it runs.

    `plan`: what is in effect; whoever needs something of it asks anew each time.
    """

    loops: Sequence[RunningLoop]
    limiter: Limiter
    supervisor: Supervisor
    plan: ProcessPlan

    def accept(self, settings: Settings) -> Callable[[], None]:
        """Make every plan of these settings, and give what puts them all in place at once and cannot fail.

        Raises `Permanent` when the process could not work under them; then nothing has changed.
        """
        check_servable(settings)
        plans, process = loop_plans(settings), process_plan(settings)

        def swap() -> None:
            for running in self.loops:
                running.follow(plans[running.plan])
            self.limiter.resize(share=process.account_share, scale=process.rate_scale)
            self.supervisor.drain_timeout_s = process.drain_timeout_s
            set_log_level(process.log_level)
            self.plan = process

        return swap


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
