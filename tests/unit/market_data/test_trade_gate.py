"""Live trades wait while missed ones are fetched, and come out in the order of their ids."""

from __future__ import annotations

from tests.unit.market_data.market_messages import trade

from polaris_synapse.domain.messages import Message
from polaris_synapse.market_data.feeds.trade_gate import MissedTrades, TradeGate


def ids(messages: list[Message]) -> list[int]:
    """The trade ids."""
    return [message.trade_id for message in messages]  # type: ignore[attr-defined]  # only trades come here


def test_fetched_trades_come_before_those_that_waited() -> None:
    """A jump closes the gate until what was missed has been let through."""
    out: list[Message] = []
    gate = TradeGate("BTCUSDT", out.append, held_max=100)
    assert gate.live(trade(1)) is None
    assert gate.live(trade(4)) == MissedTrades("BTCUSDT", 2, 3)
    assert gate.live(trade(5)) is None
    assert ids(out) == [1]
    gate.fetched(trade(2))
    gate.fetched(trade(3))
    assert gate.open() is None
    assert ids(out) == [1, 2, 3, 4, 5]
    assert gate.live(trade(6)) is None


def test_a_second_jump_while_waiting_is_found_on_opening() -> None:
    """What was missed in the meantime is asked for next, and the order still holds."""
    out: list[Message] = []
    gate = TradeGate("BTCUSDT", out.append, held_max=100)
    for trade_id in (1, 4, 5, 9, 10):
        gate.live(trade(trade_id))
    assert gate.open() == MissedTrades("BTCUSDT", 6, 8)
    assert ids(out) == [1, 4, 5]
    assert gate.open() is None
    assert ids(out) == [1, 4, 5, 9, 10]


def test_waiting_trades_are_bounded() -> None:
    """When too many wait, the gate opens without the missed ones: late prices are worse than a hole."""
    out: list[Message] = []
    gate = TradeGate("BTCUSDT", out.append, held_max=3)
    for trade_id in (1, 5, 6, 7, 8):
        gate.live(trade(trade_id))
    assert ids(out) == [1, 5, 6, 7, 8]


def test_the_first_trade_ever_is_no_jump() -> None:
    """A feed that starts has missed nothing that it knew of."""
    out: list[Message] = []
    assert TradeGate("BTCUSDT", out.append, held_max=3).live(trade(1_000_000)) is None
    assert ids(out) == [1_000_000]
