"""What every order passes through: accounts are followed, and orders that are nobody's decision leave at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from polaris_synapse.agents.core.accounts import ACCOUNTS_MAX, HOLDINGS_MAX, AccountBook, Holding, Position
from polaris_synapse.agents.core.standing import CLIENT_ORDER_ID_PREFIX
from polaris_synapse.agents.core.state import AgentsState
from polaris_synapse.bus.core import NOTHING, Handler, dispatch
from polaris_synapse.domain.messages import (
    AccountMetrics,
    BalanceChanged,
    ExecutionRecorded,
    Message,
    OrderUpdated,
    PositionChanged,
)

_NAME: Final = "agents"


class Following:
    """The part of the agents core that orders pass through; ``AgentsCore`` adds its decisions.

    It is no abstract class in Python's sense, since a compiled class cannot have a metaclass.
    """

    __slots__ = ("_handlers", "_state")

    def __init__(self, state: AgentsState) -> None:
        self._state = state
        self._handlers: dict[type[Message], Handler] = {
            BalanceChanged: self._balance_changed,
            PositionChanged: self._position_changed,
            AccountMetrics: self._account_metrics,
            OrderUpdated: self._order_updated,
            ExecutionRecorded: self._execution_recorded,
        }

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Fold one message. The core's clock is the latest time of all it has folded."""
        state = self._state
        if message.time_ns > state.clock_ns:
            state.clock_ns = message.time_ns
        handler = self._handlers.get(type(message))
        # The table's own look-up, since this is called six times an order; what is not in it is a bug.
        return dispatch(self._handlers, message, _NAME) if handler is None else handler(message)

    def _balance_changed(self, message: BalanceChanged) -> Sequence[Message]:
        account = book_of(self._state, message.account)
        if account is None:
            return NOTHING
        holding: Holding | None = account.holdings.get(message.asset)
        if holding is not None:
            holding.total_units = message.total_units
            holding.reserved_units = message.reserved_units
            holding.time_ns = message.time_ns
        elif len(account.holdings) < HOLDINGS_MAX:
            account.holdings[message.asset] = Holding(
                total_units=message.total_units, reserved_units=message.reserved_units, time_ns=message.time_ns
            )
        return NOTHING

    def _position_changed(self, message: PositionChanged) -> Sequence[Message]:
        account = book_of(self._state, message.account)
        if account is None:
            return NOTHING
        position: Position | None = account.positions.get(message.symbol)
        if position is not None:
            position.quantity_lots = message.quantity_lots
            position.cost_units = message.cost_units
            position.time_ns = message.time_ns
        elif len(account.positions) < HOLDINGS_MAX:
            account.positions[message.symbol] = Position(
                quantity_lots=message.quantity_lots, cost_units=message.cost_units, time_ns=message.time_ns
            )
        return NOTHING

    def _account_metrics(self, message: AccountMetrics) -> Sequence[Message]:
        account = book_of(self._state, message.account)
        if account is not None:
            account.equity_units = message.equity_units
            account.metrics_time_ns = message.time_ns
        return NOTHING

    def _order_updated(self, message: OrderUpdated) -> Sequence[Message]:
        request = message.order.request
        # Most orders are nobody's decision and nobody's instruction.
        if not request.decision_id and not request.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
            return NOTHING
        return self._own_order_updated(message)

    def _execution_recorded(self, message: ExecutionRecorded) -> Sequence[Message]:
        return self._own_execution(message) if message.decision_id else NOTHING

    def _own_order_updated(self, message: OrderUpdated) -> Sequence[Message]:
        """An order that may be an agent's changed."""
        raise NotImplementedError

    def _own_execution(self, message: ExecutionRecorded) -> Sequence[Message]:
        """An order that may be an agent's was executed."""
        raise NotImplementedError


def book_of(state: AgentsState, name: str) -> AccountBook | None:
    """What is known of an account. Those without an agent have a book too, so that one set up later knows its own."""
    account: AccountBook | None = state.accounts.get(name)
    if account is not None:
        return account
    if len(state.accounts) >= ACCOUNTS_MAX and not is_traded(state, name):
        return None
    account = state.accounts[name] = AccountBook()
    return account


def is_traded(state: AgentsState, account: str) -> bool:
    """Whether some agent trades the account."""
    return any(agent.settings.account == account for agent in state.agents.values())
