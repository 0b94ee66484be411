"""What the daemon does when it takes a lease."""

from dataclasses import dataclass, field
from typing import Any, cast

from prometheus_client import CollectorRegistry

from dagy_control.config import Settings
from dagy_control.entrypoints.control import _lease_keeper
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.health import Health
from dagy_control.kernel.limiter import Bucket, Limiter
from dagy_control.kernel.supervisor import Supervisor
from dagy_control.kernel.tasks import background
from tests.fakes.clock import VirtualClock
from tests.fakes.leases import FakeLeases


@dataclass
class LeasePorts:
    """Of the daemon's ports those that leases need."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    leases: FakeLeases = field(default_factory=FakeLeases)

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.clock)

    def new_id(self) -> str:
        return f"id-{len(self.leases.writes)}"


async def test_a_daemon_that_takes_a_lease_counts_on_no_burst_that_the_one_before_may_have_spent() -> None:
    ports = LeasePorts()
    supervisor = Supervisor(ports.clock, drain_timeout_s=25)
    keeper = _lease_keeper(Settings(), cast("Any", ports), CollectorRegistry(), Health(ports.clock), supervisor)
    assert keeper is not None
    lease = keeper.keep("dagy/main/launching")
    assert ports.limiter.level(Bucket.RUN_TASK) > 0
    async with background(keeper.run(Drain()), name="leases"):
        await ports.clock.settle()
        assert lease.held
        assert ports.limiter.level(Bucket.RUN_TASK) == 0
