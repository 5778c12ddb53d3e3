"""Crashes between the journal and a venue, many of them: nothing is sent twice, and everything is found out.

Works on the real cores without a host, so that a thousand crashes take seconds. Each round sends an order, and crashes
at one of the instants around the send; the cores are made again from snapshot and journal, ask the venue, and must
come to the venue's own truth.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from polaris_synapse.bus.cascade import Cascade, Output
from polaris_synapse.bus.core import decode_message, encode_message
from polaris_synapse.desk.cores import DurableCores, durable_cores
from polaris_synapse.desk.reference_data import instruments_of
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.messages import (
    Answer,
    CancelOrder,
    ConfigureVenues,
    HostStarted,
    KycState,
    ListInstrument,
    Mark,
    Message,
    MoveFunds,
    OpenAccount,
    OrderUpdated,
    ReviewKyc,
    SubmitOrder,
    Tick,
    VenueCancel,
    VenueListing,
    VenueQuery,
    VenueSubmit,
)
from polaris_synapse.domain.orders import TERMINAL_STATES, Order, OrderRequest, OrderState, OrderType, Side
from polaris_synapse.execution.venues.port import VenueError
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.venues import ScriptedVenue

ACCOUNT: Final = "crash"
SYMBOL: Final = "BTCUSDT"
PRICE_TICKS: Final = 6_000_000
#: An order must be found out within this many seconds of logical time after the restart.
RESOLVED_SECONDS_MAX: Final = 120
_SNAPSHOT_ROUNDS: Final = 50
_HEARD: Final[frozenset[type[Message]]] = frozenset({VenueSubmit, VenueCancel, VenueQuery, OrderUpdated, Answer})


class Instant(StrEnum):
    """When the process dies."""

    BEFORE_SEND = "journaled, not sent"
    IN_FLIGHT = "sent, no answer"
    BEFORE_JOURNAL = "answered, the answer not journaled"
    AFTER_FILL = "filled, the fill not journaled"
    BEFORE_CANCEL = "cancel journaled, not sent"
    CANCEL_IN_FLIGHT = "cancel sent, no answer"


class SendReport(Struct, frozen=True, kw_only=True):
    """What the crashes came to. ``resolve_seconds`` are of logical time, ascending."""

    seed: int
    crashes: int
    instants: dict[str, int]
    outcomes: dict[str, int]
    sent_twice: int
    resolve_seconds: list[int]
    journal_messages: int
    seconds: float
    violations: list[str]


class _World:
    """One desk's cores, its journal, and a venue that outlives them."""

    def __init__(self, settings: DeskSettings, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # a reproducible run
        self.clock = ManualClock()
        self.venue = ScriptedVenue(name="paper", clock=self.clock)
        self.violations: list[str] = []
        self.orders: dict[int, Order] = {}
        self.journaled = 0
        self._settings = settings
        self._tail: list[bytes] = []
        self._snapshots: dict[str, bytes] = {}
        #: Commands to the venue that have not left yet.
        self.outgoing: deque[Message] = deque()
        self._make_cores()

    def _make_cores(self) -> None:
        self.cores: DurableCores = durable_cores(self._settings)
        self._cascade = Cascade(self.cores._asdict())

    def say(self, message: Message) -> None:
        """Journal an input and fold it."""
        line = encode_message(message)
        self._tail.append(line)
        self.journaled += 1
        self._fold(line, self.outgoing)

    def _fold(self, line: bytes, outgoing: deque[Message]) -> None:
        outputs: list[Output] = []
        self._cascade.run(decode_message(line), _HEARD, outputs, [])
        for _, _, output in outputs:
            if isinstance(output, OrderUpdated):
                self.orders[output.order.order_id] = output.order
            elif not isinstance(output, Answer):
                outgoing.append(output)
            elif output.reason:
                self.violations.append(f"refused: {output.reason.name}: {output.detail}")

    def snapshot(self) -> None:
        """Shorten the replay."""
        self._snapshots = {core.name: core.snapshot() for core in self.cores}
        self._tail.clear()

    def crash(self) -> None:
        """Lose all but journal, snapshot and venue; come back, and be in the state of before."""
        before = {core.name: core.state_hash() for core in self.cores}
        self.outgoing.clear()
        self.venue.stream.clear()
        self._make_cores()
        for core in self.cores:
            if core.name in self._snapshots:
                core.restore(self._snapshots[core.name])
        for line in self._tail:
            # What replay says to the world again is not sent again.
            self._fold(line, deque())
        for core in self.cores:
            if core.state_hash() != before[core.name]:
                self.violations.append(f"{core.name} is in another state after the replay")
        self.tick(1)
        self.say(HostStarted(time_ns=self.clock.now_ns()))

    def tick(self, seconds: int) -> None:
        """Time passes, and prices stay fresh."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.say(Tick(time_ns=self.clock.now_ns()))
        prices = dict.fromkeys(("mark_ticks", "bid_ticks", "ask_ticks", "last_ticks"), PRICE_TICKS)
        self.say(Mark(time_ns=self.clock.now_ns(), symbol=SYMBOL, source="test", healthy=True, **prices))

    def send_one(self) -> None:
        """Let the oldest command reach the venue."""
        command = self.outgoing.popleft()
        if isinstance(command, VenueQuery):
            self.say(self.venue.query_now(command))
            return
        try:
            if isinstance(command, VenueSubmit):
                self.venue.submit_now(command)
            elif isinstance(command, VenueCancel):
                self.venue.cancel_now(command)
        except VenueError as error:
            self.violations.append(f"{type(command).__name__} of order {command.order_id}: {error}")  # type: ignore[attr-defined]  # both have one

    def deliver(self) -> None:
        """Let everything reach its end."""
        while self.outgoing or self.venue.stream:
            while self.venue.stream:
                self.say(self.venue.stream.popleft())
            if self.outgoing:
                self.send_one()


def run_sends(
    settings: DeskSettings, *, rounds: int, seed: int, progress: Callable[[str, float], None] = lambda *_: None
) -> SendReport:
    """Crash ``rounds`` times."""
    began = time.monotonic()
    world = _World(settings, seed)
    _open(world)
    instants: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    resolve_seconds: list[int] = []
    for number in range(rounds):
        progress(f"{number} crashes, {len(world.violations)} violations", number / rounds)
        if number % _SNAPSHOT_ROUNDS == 0:
            world.snapshot()
        world.tick(1)
        world.deliver()
        instant = world.chance.choice(list(Instant))
        instants[instant.value] += 1
        order_id = _until_the_crash(world, number, instant)
        world.crash()
        resolve_seconds.append(_until_resolved(world, order_id))
        outcomes[f"{instant}: {_compare(world, order_id)}"] += 1
        _clear_away(world, order_id)
        for problem in world.cores.risk.check():
            world.violations.append(f"after crash {number}: {problem}")
    progress("done", 1.0)
    twice = sum(count > 1 for count in world.venue.submits.values())
    return SendReport(
        seed=seed,
        crashes=rounds,
        instants=dict(instants),
        outcomes=dict(sorted(outcomes.items())),
        sent_twice=twice,
        resolve_seconds=sorted(resolve_seconds),
        journal_messages=world.journaled,
        seconds=round(time.monotonic() - began, 2),
        violations=world.violations,
    )


def _open(world: _World) -> None:
    now_ns = world.clock.now_ns()
    world.say(HostStarted(time_ns=now_ns))
    world.say(ConfigureVenues(time_ns=now_ns, venues=(VenueListing(name="paper", simulated=True),)))
    for instrument in instruments_of(world._settings):
        world.say(ListInstrument(time_ns=now_ns, instrument=instrument))
    world.say(OpenAccount(time_ns=now_ns, account=ACCOUNT, holder_name="Crash", country="CH"))
    world.say(ReviewKyc(time_ns=now_ns, account=ACCOUNT, state=KycState.APPROVED))
    world.say(MoveFunds(time_ns=now_ns, account=ACCOUNT, asset="USDT", amount_units=10**16, reference="paid in"))
    world.tick(1)


def _until_the_crash(world: _World, number: int, instant: Instant) -> int:
    """Send an order up to the instant of the crash; its id."""
    order = OrderRequest(
        account=ACCOUNT, client_order_id=f"c{number}", symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT,
        quantity_lots=1_000 + number % 97, price_ticks=PRICE_TICKS - 1 - number % 89,
    )  # fmt: skip
    world.say(SubmitOrder(time_ns=world.clock.now_ns(), order=order))
    (command,) = world.outgoing
    assert isinstance(command, VenueSubmit)
    if instant is Instant.BEFORE_SEND:
        return command.order_id
    world.send_one()
    if instant is Instant.IN_FLIGHT or instant is Instant.BEFORE_JOURNAL:
        return command.order_id
    world.deliver()
    if instant is Instant.AFTER_FILL:
        lots = command.quantity_lots if world.chance.random() < 0.5 else command.quantity_lots // 3
        world.venue.fill(command.venue_client_id, lots, command.price_ticks)
        return command.order_id
    world.say(CancelOrder(time_ns=world.clock.now_ns(), account=ACCOUNT, order_id=command.order_id))
    if instant is Instant.CANCEL_IN_FLIGHT:
        world.send_one()
    return command.order_id


def _until_resolved(world: _World, order_id: int) -> int:
    """Go on until the desk knows what became of the order; the seconds that took."""
    world.deliver()
    for seconds in range(RESOLVED_SECONDS_MAX):
        order, there = world.orders[order_id], world.venue.orders.get(f"ps0-{order_id}")
        if order.state not in (OrderState.UNKNOWN, OrderState.APPROVED, OrderState.PENDING_CANCEL):
            lots = there.filled_lots if there is not None else 0
            if lots == order.filled_lots:
                return seconds
        world.tick(1)
        world.deliver()
    world.violations.append(f"order {order_id} is {world.orders[order_id].state} after {RESOLVED_SECONDS_MAX} s")
    return RESOLVED_SECONDS_MAX


def _compare(world: _World, order_id: int) -> str:
    """The order's state, which must be the venue's."""
    order, there = world.orders[order_id], world.venue.orders.get(f"ps0-{order_id}")
    ended_there = there is None or there.state in TERMINAL_STATES
    if (order.state in TERMINAL_STATES) is not ended_there:
        world.violations.append(
            f"order {order_id} is {order.state} here and {there.state if there else 'absent'} there"
        )
    if there is None and order.state is not OrderState.REJECTED:
        world.violations.append(f"order {order_id} never reached the venue and is {order.state}")
    return order.state.value


def _clear_away(world: _World, order_id: int) -> None:
    """End what is still open, so that rounds do not add up."""
    if world.orders[order_id].state not in TERMINAL_STATES:
        world.say(CancelOrder(time_ns=world.clock.now_ns(), account=ACCOUNT, order_id=order_id))
        world.deliver()
