"""The risk core: it folds one ordered inbox into orders, a ledger, positions and stops.

Risk owns the public order and the ledger. It alone says what an order's state is, what was executed, and what
anybody holds. Nothing here knows a clock: time is the time of the message at hand, and a clock that jumps back neither
starts a day twice nor makes an old price fresh.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from polaris_synapse.bus.core import decode_state, encode_state, hash_state
from polaris_synapse.domain.messages import (
    AccountStanding,
    ActivateBreaker,
    Approval,
    BookStatusChanged,
    BreakChanged,
    CancelAll,
    CancelOrder,
    CancelOrderList,
    DecideApproval,
    HostStarted,
    KillLevel,
    LimitBreached,
    ListInstrument,
    Mandate,
    Mark,
    Message,
    MoveFunds,
    OrderReport,
    ReenableAccount,
    ReplaceOrder,
    ResetBreaker,
    RiskLimits,
    SetFeeTiers,
    SetHoldingLimit,
    SetInstrumentStatus,
    SetKillLevel,
    SetLimits,
    SetMandate,
    SubmitOrder,
    SubmitOrderList,
    SymbolStopped,
    Tick,
)
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import (
    administration,
    approvals,
    fees,
    kill_switch,
    order_lists,
    orders,
    replacements,
    reports,
    reservations,
    text,
)
from polaris_synapse.risk.core.approval_records import expire_due, number_of
from polaris_synapse.risk.core.breakers import trip
from polaris_synapse.risk.core.folding import Folding, Handlers
from polaris_synapse.risk.core.losses import watch_losses
from polaris_synapse.risk.core.mandates import mandate_used, mandates_used
from polaris_synapse.risk.core.state import (
    CLOSED_ORDERS_MAX,
    FLATTEN_PREFIX,
    PARTITIONS_MAX,
    Breaker,
    Desk,
    Market,
    RiskState,
)
from polaris_synapse.risk.core.valuation import metrics_of, take_mark

SNAPSHOT_VERSION: Final = 1


def _tick(desk: Desk, message: Tick) -> None:
    """A second has passed: value every account, watch its losses, keep what is stopped stopped."""
    for name in desk.account_names():
        account = desk.state.accounts[name]
        metrics = metrics_of(desk, account, message.time_ns)
        if account.mandates:
            metrics = structs.replace(metrics, mandates=mandates_used(desk, account))
        watch_losses(desk, account)
        before = account.metrics
        if before is None or not _same_metrics(before, metrics):
            account.metrics = metrics
            desk.out.append(metrics)
    expire_due(desk)
    kill_switch.keep_stopped(desk)


def _same_metrics(before: Message, after: Message) -> bool:
    """Whether two metrics say the same of an account, whenever they were said."""
    return all(getattr(before, name) == getattr(after, name) for name in before.__struct_fields__ if name != "time_ns")


def _host_started(desk: Desk, _: HostStarted) -> None:
    """After a restart no old price may be traded on, however recent it was: the next mark opens its market again."""
    for market in desk.state.markets.values():
        market.healthy = False


def _mark(desk: Desk, mark: Mark) -> None:
    """A price. One that jumps trips the breakers of its symbol and of the symbols measured by it."""
    market = desk.state.markets.get(mark.symbol)
    if market is None:
        return
    # The desk's own thin book may well jump; where a reference measures it, the reference's jumps count.
    jump_ppm = 0 if market.instrument.reference_symbol else desk.state.default_limits.breaker_mark_jump_ppm
    before = market.price_ticks
    if not take_mark(desk, market, mark, jump_ppm):
        return
    note = (
        f"The mark of {market.symbol} jumped from {text.price(market, before)} to "
        f"{text.price(market, mark.mark_ticks)}, more than {text.percent(jump_ppm)}"
    )
    for symbol in sorted(_measured_by(desk, market)):
        if trip(desk, f"symbol:{symbol}", Reason.PRICE_OUTSIDE_COLLAR, note=note, actor="desk"):
            desk.out.append(
                LimitBreached(
                    time_ns=mark.time_ns,
                    account="*",
                    reason=Reason.PRICE_OUTSIDE_COLLAR,
                    detail=f"{note}.",
                    symbol=symbol,
                )
            )


def _measured_by(desk: Desk, market: Market) -> set[str]:
    followers = (m.symbol for m in desk.state.markets.values() if m.instrument.reference_symbol == market.symbol)
    return {market.symbol, *followers}


_HANDLERS: Final[Handlers] = {
    SubmitOrder: orders.submit,
    OrderReport: reports.take_report,
    CancelOrder: orders.cancel,
    ReplaceOrder: replacements.replace,
    Mark: _mark,
    Tick: _tick,
    CancelAll: orders.cancel_all,
    HostStarted: _host_started,
    ListInstrument: administration.list_instrument,
    SetInstrumentStatus: administration.set_instrument_status,
    AccountStanding: administration.take_standing,
    BreakChanged: administration.take_break,
    MoveFunds: administration.move_funds,
    SetLimits: administration.set_limits,
    SetMandate: administration.set_mandate,
    ActivateBreaker: administration.activate_breaker,
    ResetBreaker: administration.reset_breaker,
    SetKillLevel: kill_switch.set_level,
    ReenableAccount: administration.reenable_account,
    SubmitOrderList: order_lists.submit,
    CancelOrderList: order_lists.cancel_list,
    BookStatusChanged: administration.take_book_status,
    SetFeeTiers: fees.set_fee_tiers,
    DecideApproval: approvals.decide,
    SetHoldingLimit: administration.set_holding_limit,
    SymbolStopped: administration.take_stop,
}


class RiskCore(Folding):
    """The core of the risk room for one partition of accounts.

    ``closed_orders_max`` bounds the ended orders kept for late fills (plus a tenth, they leave in batches). It and
    ``valuation_asset`` are part of what the log means: a replay needs the values that the log was made with.
    """

    name = "risk"

    def __init__(
        self, partition: int = 0, valuation_asset: str = "USDT", *, closed_orders_max: int = CLOSED_ORDERS_MAX
    ) -> None:
        if not 0 <= partition < PARTITIONS_MAX:
            raise ValueError(f"partition {partition} is not between 0 and {PARTITIONS_MAX - 1}")
        self._closed_orders_max = closed_orders_max
        super().__init__(
            Desk(RiskState(partition=partition, valuation_asset=valuation_asset), closed_orders_max), _HANDLERS
        )

    def snapshot(self) -> bytes:
        """The whole state, versioned."""
        desk = self._desk
        state = desk.state
        state.time_ns = desk.time_ns
        state.orders = [desk.orders[order_id] for order_id in sorted(desk.orders)]
        try:
            return encode_state(SNAPSHOT_VERSION, state)
        finally:
            state.orders = []

    def restore(self, snapshot: bytes, /) -> None:
        """Replace the state by a snapshot's. Raises SnapshotError when it is not one of ours."""
        self._desk = Desk(decode_state(SNAPSHOT_VERSION, RiskState, snapshot), self._closed_orders_max)

    def state_hash(self) -> str:
        """A hash of the state, equal for equal states in every process."""
        return hash_state(self.snapshot())

    def limits_of(self, account: str) -> RiskLimits | None:
        """The limits in force for an account, ``"*"`` for the default; None where there is no such account."""
        if account == "*":
            return self._desk.state.default_limits
        known = self._desk.state.accounts.get(account)
        return known.limits if known is not None else None

    def valuation_asset(self) -> tuple[str, int | None]:
        """The asset that limits are counted in, and its decimals once an instrument has named it."""
        code = self._desk.state.valuation_asset
        return code, self._desk.state.decimals.get(code)

    def mandates(self) -> list[Mandate]:
        """Every mandate, by account and agent; those taken back too."""
        accounts = self._desk.state.accounts
        return [
            accounts[name].mandates[agent].mandate
            for name in sorted(accounts)
            for agent in sorted(accounts[name].mandates)
        ]

    def mandate_use(self, account: str, agent: str) -> tuple[int, int]:
        """What is used of a mandate's day, and what the agent's trades gained (or lost) today, in minor units."""
        desk = self._desk
        known = desk.state.accounts.get(account)
        use = known.mandates.get(agent) if known is not None else None
        if use is None:
            return 0, 0
        used = mandate_used(desk, use)
        return used.used_units, used.profit_units

    def approvals(self) -> list[Approval]:
        """Every request for approval that is remembered, oldest first."""
        found = self._desk.state.approvals
        return [found[approval_id] for approval_id in sorted(found, key=number_of)]

    def approval(self, approval_id: str) -> Approval | None:
        """One request for approval."""
        return self._desk.state.approvals.get(approval_id)

    def holding_limits(self, account: str) -> dict[str, int]:
        """The largest shares of equity an account set for itself, by asset in ppm."""
        known = self._desk.state.accounts.get(account)
        return dict(known.holding_limits_ppm) if known is not None else {}

    def fee_standing(self, account: str) -> fees.FeeStanding | None:
        """What an account pays and why, "*" for the tiers of all others; None where there is no such account."""
        if account == fees.EVERYBODY:
            return fees.default_standing(self._desk)
        known = self._desk.state.accounts.get(account)
        return fees.standing_of(self._desk, known) if known is not None else None

    def breakers(self) -> dict[str, Breaker]:
        """The tripped scopes."""
        return dict(self._desk.state.breakers)

    def kill_levels(self) -> dict[str, KillLevel]:
        """The desk's kill level under ``"*"``, and those of accounts where they are not OFF."""
        state = self._desk.state
        levels = {name: state.accounts[name].kill_level for name in self._desk.account_names()}
        return {"*": state.kill_level, **{name: level for name, level in levels.items() if level}}

    def keeps_back(self, request: OrderRequest) -> bool:
        """Whether the kill switch keeps an approved order from leaving for its venue. Its own orders may leave."""
        account = self._desk.state.accounts.get(request.account)
        level = self._desk.state.kill_level if account is None else kill_switch.level_of(self._desk, account)
        return level >= KillLevel.CANCEL_ALL and not (
            level is KillLevel.FLATTEN and request.client_order_id.startswith(FLATTEN_PREFIX)
        )

    def keeps_stopped(self, scope: str) -> bool:
        """Whether the kill switch of an account, or of all for ``"*"``, cancels what is open."""
        state = self._desk.state
        account = state.accounts.get(scope)
        level = state.kill_level if account is None else kill_switch.level_of(self._desk, account)
        return level >= KillLevel.CANCEL_ALL

    def stopped_accounts(self) -> tuple[str, ...]:
        """Accounts that the repeated-order throttle stopped."""
        return tuple(name for name in self._desk.account_names() if self._desk.state.accounts[name].stopped)

    def open_order_ids(self, account: str) -> tuple[int, ...]:
        """The open orders of an account, or of all for ``"*"``."""
        accounts = self._desk.state.accounts
        names = self._desk.account_names() if account == "*" else [name for name in (account,) if name in accounts]
        return tuple(sorted(order_id for name in names for order_id in accounts[name].open_orders))

    def check(self) -> list[str]:
        """Where the state breaks its own invariants, one sentence each; empty when it is sound.

        Reservations equal what open orders need; every asset's ledger sums to zero; every client's ledger equals their
        balance. Costs a walk over all accounts and open orders.
        """
        found = reservations.problems(self._desk) + order_lists.problems(self._desk)
        state = self._desk.state
        for asset, totals in sorted(state.ledger.items()):
            if sum(totals.values()):
                found.append(f"the ledger of {asset} sums to {sum(totals.values())}")
        for name in self._desk.account_names():
            for asset, balance in state.accounts[name].balances.items():
                posted = state.ledger.get(asset, {}).get(f"client:{name}", 0)
                if posted != balance.total_units:
                    found.append(f"{name} has {balance.total_units} {asset}, the ledger says {posted}")
        return found
