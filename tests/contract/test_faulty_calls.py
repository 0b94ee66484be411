"""Lost replies, throttles and server errors: what each port says of them, and that the same call repeated is done once.

Where a port says that it would be done again, that is what is asked for. The oracle is the same call without a fault. The table of
calls is in `port_calls`.
"""

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
import pytest_asyncio

from dagy_control.adapters.batches import ROUNDS_MAX
from dagy_control.adapters.session import AwsClients
from dagy_control.errors import Conflict, Transient
from dagy_control.kernel.clock import SystemClock
from dagy_control.model.lifecycle import request_cancel
from tests.builders import NOW
from tests.contract.conftest import Aws, clients_at
from tests.contract.port_calls import CALLS, PortCall, lease
from tests.contract.ports import Mail, Ports, Tables, aws_ports, fake_ports, make_mail, make_tables
from tests.contract.proxy import APPLIED, Fault, FaultKind, FaultyProxy
from tests.fakes.clock import HurriedClock
from tests.fakes.faults import Faulty

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Bed:
    """One server behind the proxy."""

    aws: Aws
    proxy: FaultyProxy
    clients: AwsClients
    tables: Tables
    mail: Mail
    clock: HurriedClock
    _unharmed: dict[str, "Unharmed"] = field(default_factory=dict)

    async def unharmed(self, call: str) -> "Unharmed":
        """The oracle; looked at once."""
        if call not in self._unharmed:
            self._unharmed[call] = await Unharmed.of(await Case.prepared(CALLS[call], await self.ports(call)))
        return self._unharmed[call]

    async def ports(self, call: str = "") -> Ports:
        """The ports through the proxy; for calls that send or receive messages, with queues and a topic of their own."""
        own = call.startswith(("events.", "dead_letters.", "alerts."))
        mail = await make_mail(self.aws) if own else self.mail
        return aws_ports(self.aws, self.clients, self.tables, mail, self.clock)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def behind_proxy(aws: Aws) -> AsyncIterator[Bed]:
    proxy = FaultyProxy(aws.url, clock=SystemClock())
    await proxy.start()
    proxy.page_items = 2
    try:
        async with clients_at(proxy.url) as clients:
            yield Bed(aws, proxy, clients, await make_tables(aws), await make_mail(aws), HurriedClock())
    finally:
        await proxy.stop()


@pytest.fixture
def bed(behind_proxy: Bed) -> Bed:
    behind_proxy.proxy.unmet()
    behind_proxy.clock.slept_s.clear()
    return behind_proxy


@dataclass(frozen=True)
class Ordered:
    """A fault, but for the operation."""

    kind: FaultKind
    code: str = ""

    @property
    def applied(self) -> bool:
        return self.kind in APPLIED

    @property
    def throttled(self) -> bool:
        return self.kind is FaultKind.REFUSED

    def of(self, call: PortCall) -> Fault:
        repeated = self.kind is FaultKind.REPLY_LOST and call.operation in REPEATED_BY_AIOHTTP
        return Fault(self.kind, call.operation, calls=2 if repeated else 1, after=call.after, code=self.code)


REPEATED_BY_AIOHTTP = frozenset({"GetObject", "PutObject"})
"""GET and PUT. aiohttp repeats an idempotent request once, by itself, when a kept connection closes before the reply begins
(`ClientSession._request`, `retry_persistent_connection`): of these the caller sees only the second reply's loss."""

DYNAMODB = ("PutItem", "GetItem", "UpdateItem", "DeleteItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem")
RATE_CODES = {  # what the API references of the services name besides
    "ProvisionedThroughputExceededException": DYNAMODB,
    "RequestLimitExceeded": DYNAMODB,
    "RequestThrottled": ("ReceiveMessage", "DeleteMessageBatch", "SendMessage", "GetQueueAttributes"),
    "Throttling": ("Publish",),
    "KMSThrottling": ("Publish",),
    "KmsThrottled": ("ReceiveMessage", "SendMessage"),
    "SlowDown": ("GetObject", "PutObject"),
}
ONE_EACH = {row.operation: call for call, row in reversed(list(CALLS.items()))}
"""For each AWS call a port's call that makes it."""


def faults_worth_meeting(call: str) -> Iterator[Ordered]:
    """Every port's call meets what may make it be done twice; what only the client has to understand, one for each AWS call."""
    row = CALLS[call]
    yield Ordered(FaultKind.REPLY_LOST)
    yield Ordered(FaultKind.ERROR)
    yield Ordered(FaultKind.REFUSED, code="ThrottlingException")
    if row.writes:
        yield Ordered(FaultKind.ERROR_APPLIED)
    if ONE_EACH[row.operation] == call:
        yield Ordered(FaultKind.REPLY_BROKEN)
        yield Ordered(FaultKind.GATEWAY_PAGE)
        if row.operation not in REPEATED_BY_AIOHTTP:  # S3's answers have no form by which to tell
            yield Ordered(FaultKind.FIREWALL_PAGE)
            yield Ordered(FaultKind.PORTAL_PAGE)


@dataclass(frozen=True)
class Case:
    """One call on one set of ports, told without the name that makes it its own."""

    call: PortCall
    ports: Ports
    name: str

    @classmethod
    async def prepared(cls, call: PortCall, ports: Ports) -> "Case":
        case = cls(call, ports, f"name-{uuid.uuid4().hex}")
        await call.before(ports, case.name)
        return case

    async def make(self) -> str:
        return self._told(await self.call.call(self.ports, self.name))

    async def left(self) -> str:
        return self._told(await self.call.left(self.ports, self.name))

    def _told(self, value: object) -> str:
        return repr(value).replace(self.name, "NAME")


class Unharmed(NamedTuple):
    """What a call is like when nothing goes wrong: what is there before it, its answer, what is there after it, and when it is repeated."""

    before: str
    answer: str
    after: str
    repeated: str

    @classmethod
    async def of(cls, case: Case) -> "Unharmed":
        """Of a call that writes, only if it does: one that does nothing would agree with itself in every test."""
        before, answer, after = await case.left(), await case.make(), await case.left()
        assert (before != after) is case.call.writes
        assert await case.make() == answer
        repeated = await case.left()
        assert (repeated != after) is case.call.again
        return cls(before, answer, after, repeated)

    def after_all(self, *, applied: bool) -> str:
        """What is there when a call has failed, applied or not, and then succeeded."""
        return self.repeated if applied else self.after


@pytest.mark.parametrize(
    ("call", "ordered"),
    [pytest.param(call, each, id=f"{call}: {each.kind}") for call in CALLS for each in faults_worth_meeting(call)],
)
async def test_a_call_that_met_a_fault_is_transient_and_repeated_it_is_done_once(
    bed: Bed, call: str, ordered: Ordered
) -> None:
    row, unharmed = CALLS[call], await bed.unharmed(call)
    case = await Case.prepared(row, await bed.ports(call))
    bed.proxy.befall(ordered.of(row))
    with pytest.raises(Transient) as met:
        await case.make()
    assert bed.proxy.unmet() == []
    assert met.value.throttled is ordered.throttled
    if not row.in_parts:
        assert await case.left() == (unharmed.after if ordered.applied else unharmed.before)
    assert await case.make() == unharmed.answer
    assert await case.left() == unharmed.after_all(applied=ordered.applied)


@pytest.mark.parametrize(
    ("operation", "code"), [(operation, code) for code, operations in RATE_CODES.items() for operation in operations]
)
async def test_every_code_of_a_refusal_for_rate_is_throttled(bed: Bed, operation: str, code: str) -> None:
    call = ONE_EACH[operation]
    case = await Case.prepared(CALLS[call], await bed.ports(call))
    bed.proxy.befall(Ordered(FaultKind.REFUSED, code).of(case.call))
    with pytest.raises(Transient) as refused:
        await case.make()
    assert refused.value.throttled


@pytest.mark.parametrize(
    "call", ["runs.change", "leases.put_if (renewed)", "flows.put (again, later)", "events.delete"]
)
async def test_several_replies_lost_in_a_row_change_nothing(bed: Bed, call: str) -> None:
    row, unharmed = CALLS[call], await bed.unharmed(call)
    case = await Case.prepared(row, await bed.ports(call))
    bed.proxy.befall(Fault(FaultKind.REPLY_LOST, row.operation, calls=3))
    for _ in range(3):
        with pytest.raises(Transient):
            await case.make()
    assert bed.proxy.unmet() == []
    assert await case.make() == unharmed.answer
    assert await case.left() == unharmed.after


async def test_a_change_whose_reply_was_lost_and_that_another_has_followed_is_a_conflict(bed: Bed) -> None:
    case = await Case.prepared(CALLS["runs.change"], await bed.ports())
    bed.proxy.befall(Fault(FaultKind.REPLY_LOST, "UpdateItem"))
    with pytest.raises(Transient):
        await case.make()
    stored = await case.ports.runs.get(case.name)
    assert stored is not None
    cancel = request_cancel(stored, now=NOW, by="api")
    assert cancel is not None
    followed = await case.ports.runs.change(cancel, "op-3")
    with pytest.raises(Conflict) as conflict:
        await case.make()
    assert conflict.value.current == followed == await case.ports.runs.get(case.name)


async def test_a_lease_whose_renewal_was_lost_and_that_another_has_taken_is_a_conflict(bed: Bed) -> None:
    case = await Case.prepared(CALLS["leases.put_if (renewed)"], await bed.ports())
    bed.proxy.befall(Fault(FaultKind.REPLY_LOST, "PutItem"))
    with pytest.raises(Transient):
        await case.make()
    taken = replace(lease(case.name, "n3"), holder="b", epoch=2)
    await case.ports.leases.put_if(taken, seen_nonce="n2")
    with pytest.raises(Conflict) as conflict:
        await case.make()
    assert conflict.value.current == taken == await case.ports.leases.get(case.name)


IN_BATCHES = [call for call, row in CALLS.items() if row.operation.startswith("Batch")]


@pytest.mark.parametrize("call", IN_BATCHES)
async def test_what_dynamodb_leaves_of_a_batch_is_sent_again_after_a_wait(bed: Bed, call: str) -> None:
    row, unharmed = CALLS[call], await bed.unharmed(call)
    case = await Case.prepared(row, await bed.ports())
    bed.clock.slept_s.clear()
    bed.proxy.befall(Fault(FaultKind.LEFT_OVER, row.operation, calls=2, after=row.after))
    assert await case.make() == unharmed.answer
    assert bed.proxy.unmet() == []
    assert await case.left() == unharmed.after
    assert len(bed.clock.slept_s) == 2
    assert min(bed.clock.slept_s) > 0


@pytest.mark.parametrize(
    ("call", "throttled"),
    [("suspicions.get_many", True), ("state_tables.read", True), ("suspicions.put_many (the second batch)", False)],
)
async def test_a_batch_that_is_never_done_whole_is_given_up_rather_than_answered_in_part(
    bed: Bed, call: str, throttled: bool
) -> None:
    row = CALLS[call]
    case = await Case.prepared(row, await bed.ports())
    bed.proxy.befall(Fault(FaultKind.LEFT_ALL, row.operation, calls=ROUNDS_MAX))
    seen = bed.proxy.seen[row.operation]
    with pytest.raises(Transient) as given_up:
        await case.make()
    assert given_up.value.throttled is throttled
    assert bed.proxy.seen[row.operation] == seen + ROUNDS_MAX
    assert bed.proxy.unmet() == []


async def test_messages_that_sqs_did_not_delete_are_deleted_by_the_next_try(bed: Bed) -> None:
    case = await Case.prepared(CALLS["events.delete"], await bed.ports("events.delete"))
    bed.proxy.befall(Fault(FaultKind.LEFT_OVER, "DeleteMessageBatch"))
    with pytest.raises(Transient, match="SQS did not delete 2 messages"):
        await case.make()
    assert await case.left() == "2"
    await case.make()
    assert await case.left() == "0"


@pytest.mark.parametrize("fault", ["lost", "not applied", "refused for rate"])
@pytest.mark.parametrize("call", [call for call, row in CALLS.items() if row.after == 0])
async def test_the_fakes_do_the_same(call: str, fault: str) -> None:
    row, applied = CALLS[call], fault == "lost"
    unharmed = await Unharmed.of(await Case.prepared(row, fake_ports()))
    case = await Case.prepared(row, fake_ports())
    port, method = call.split()[0].split(".")
    fake: Faulty = getattr(case.ports, port)
    fake.next_error(method, Transient(fault, throttled=fault == "refused for rate"), applied=applied)
    with pytest.raises(Transient):
        await case.make()
    assert await case.left() == (unharmed.after if applied else unharmed.before)
    assert await case.make() == unharmed.answer
    assert await case.left() == unharmed.after_all(applied=applied)
