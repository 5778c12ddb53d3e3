"""A witness beside the desk: it follows the journal with cores of its own and notes whatever must never happen."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

from polaris_synapse.bus.journal_reader import JournalReader
from polaris_synapse.desk.cores import durable_cores
from polaris_synapse.desk.journal_replay import Replay
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.instruments import PAPER_VENUE
from polaris_synapse.domain.messages import ExecutionRecorded, LedgerPosted, OrderUpdated, VenueSubmit
from polaris_synapse.domain.orders import TERMINAL_STATES, Order, OrderState
from polaris_synapse.execution.paper.store import PaperStore

#: More violations than this are not told apart any more.
VIOLATIONS_MAX: Final = 50


class Witness:
    """Follows one data directory. ``violations`` has one sentence for each thing that should not have happened."""

    def __init__(self, directory: Path, settings: DeskSettings) -> None:
        self._directory = directory
        self._cores = durable_cores(settings)
        self._replay = Replay(
            self._cores._asdict(),
            {
                OrderUpdated: self._order,
                ExecutionRecorded: self._execution,
                LedgerPosted: self._ledger,
                VenueSubmit: self._submit,
            },
        )
        self.violations: list[str] = []
        self.orders: dict[int, Order] = {}
        self.order_ids: dict[tuple[str, str], int] = {}
        self.trades: dict[int, set[str]] = defaultdict(set)
        self.executions: set[str] = set()
        self.snapshots_compared = 0
        self._submitted: set[str] = set()

    @property
    def offset(self) -> int:
        """The last input that it has seen."""
        return self._replay.offset

    def say(self, violation: str) -> None:
        """Note a violation."""
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(violation)

    def follow(self) -> None:
        """Catch up with the journal. Raises JournalError where it is damaged."""
        with JournalReader(self._directory / "journal") as journal:
            if journal.last_offset < self.offset:
                self.say(f"the journal ends at {journal.last_offset}, but it had {self.offset} messages before")
                return
            report = self._replay.follow(journal)
        self.snapshots_compared += len(report.snapshots)
        for comparison in report.snapshots:
            if comparison.differing:
                self.say(f"at offset {comparison.offset} the desk was in another state: {comparison.differing}")
        for problem in self._cores.risk.check():
            self.say(f"at offset {self.offset}: {problem}")

    def compare_with_paper(self, *, settled: bool) -> None:
        """Compare with the paper venue's own store; the desk must not run. ``settled``: nothing may be on its way."""
        store = PaperStore(self._directory / "paper.sqlite3")
        try:
            for order_id, order in self.orders.items():
                if order.venue != PAPER_VENUE:
                    continue
                client_id = f"ps0-{order_id}"
                theirs = {fill.trade_id: fill.quantity_lots for fill in store.fills(client_id)}
                ours = self.trades.get(order_id, set())
                if not ours <= theirs.keys():
                    self.say(f"order {order_id} has trades that the venue never made: {sorted(ours - theirs.keys())}")
                if settled and ours != theirs.keys():
                    self.say(f"order {order_id} lacks trades of the venue: {sorted(theirs.keys() - ours)}")
                if settled and sum(theirs.values()) != order.filled_lots:
                    self.say(f"order {order_id} has {order.filled_lots} filled lots, the venue {sum(theirs.values())}")
                if settled:
                    self._compare_state(store, client_id, order)
            if settled:
                known = {f"ps0-{order_id}" for order_id in self.orders}
                for stranger in (found for found in store.open_orders() if found.client_id not in known):
                    self.say(f"the venue has an order {stranger.client_id} that the desk does not know")
                self._compare_balances(store.balances())
        finally:
            store.close()

    def _compare_balances(self, held: dict[str, int]) -> None:
        for asset, totals in self._cores.risk._desk.state.ledger.items():
            booked = -totals.get(f"venue:{PAPER_VENUE}", 0) - totals.get(f"fees:{PAPER_VENUE}", 0)
            if booked != held.get(asset, 0):
                self.say(f"the venue holds {held.get(asset, 0)} {asset}, the desk's ledger says {booked}")

    def _compare_state(self, store: PaperStore, client_id: str, order: Order) -> None:
        there = store.order(client_id)
        if order.state is OrderState.UNKNOWN:
            self.say(f"order {order.order_id} is still UNKNOWN")
        elif order.state not in TERMINAL_STATES and (there is None or not there.is_open):
            self.say(f"order {order.order_id} is {order.state} here and not open at the venue")
        elif order.state in TERMINAL_STATES and there is not None and there.is_open:
            self.say(f"order {order.order_id} is {order.state} here and open at the venue")

    def _order(self, _: int, message: OrderUpdated) -> None:
        order = message.order
        self.orders[order.order_id] = order
        self.order_ids[order.request.account, order.request.client_order_id] = order.order_id
        if not order.request.quote_amount_units and order.filled_lots > order.quantity_lots:
            self.say(f"order {order.order_id} has filled {order.filled_lots} of {order.quantity_lots} lots")

    def _execution(self, offset: int, message: ExecutionRecorded) -> None:
        if message.execution_id in self.executions:
            self.say(f"the execution {message.execution_id} was recorded twice, again at offset {offset}")
        self.executions.add(message.execution_id)
        if message.fill.trade_id in self.trades[message.order_id]:
            self.say(f"the trade {message.fill.trade_id} of order {message.order_id} was booked twice")
        self.trades[message.order_id].add(message.fill.trade_id)

    def _ledger(self, offset: int, message: LedgerPosted) -> None:
        sums: dict[str, int] = defaultdict(int)
        for posting in message.postings:
            sums[posting.asset] += posting.units
        if any(sums.values()):
            self.say(f"the ledger entry at offset {offset} does not sum to zero: {dict(sums)}")

    def _submit(self, offset: int, message: VenueSubmit) -> None:
        if message.venue_client_id in self._submitted:
            self.say(f"{message.venue_client_id} was sent to its venue a second time, at offset {offset}")
        self._submitted.add(message.venue_client_id)
