"""The launching loop: load, decide, apply, record."""

from dagy_control.kernel.ticker import Tick
from dagy_control.launching.decide import LaunchPolicy, decide
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.launching.waits import oldest_wait_s


class LaunchingLoop:
    """Launches queued runs and settles launches whose outcome is unknown."""

    name = "launching"

    def __init__(self, policy: LaunchPolicy, effects: LaunchingEffects, metrics: LaunchingMetrics) -> None:
        self.policy = policy
        self._effects = effects
        self._metrics = metrics

    def describe_breaker(self) -> str:
        """Whether ECS refuses every run, in words: a state for `Health.register_state`."""
        return self._effects.breaker.describe()

    async def tick(self, tick: Tick) -> float | None:
        """One pass over the queue; the next follows at once while this one gets on and leaves runs behind.

        Raises the first error when no run of the tick got through.
        """
        policy = self.policy
        snapshot = await self._effects.load(policy)
        plan = decide(snapshot, policy, tick.now)
        outcomes = await self._effects.apply(plan, policy, tick)
        results = [outcome.value.result if outcome.value else "error" for outcome in outcomes]
        self._metrics.record(plan, snapshot.census.total, results, self._effects.breaker)
        self._metrics.record_waits(self._effects.waits, oldest_wait_s(snapshot.queued, tick.now))
        self._metrics.record_named(policy, self._effects.waits.counts)
        errors = [outcome for outcome in outcomes if outcome.error is not None]
        if errors and len(errors) == len(outcomes) and errors[0].error is not None:
            raise errors[0].error
        if plan.held["next_tick"] and "launched" in results:
            return 0.0
        at_rest = not snapshot.queued and not snapshot.launching
        return policy.idle_interval_s if at_rest else None
