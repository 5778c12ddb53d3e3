"""Sentences about orders, refusals and what can be said."""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.conversation.intents import (
    CancelOrders,
    Refusal,
    ReplaceOrder,
    StandingInstruction,
    Trigger,
)
from polaris_synapse.agents.conversation.ports import OrderOutcome, OrderPreview, OrderTicket

REFUSALS: Final[dict[Refusal, str]] = {
    Refusal.AUTHORITY: (
        "Messages cannot change the desk's rules or skip a confirmation, whoever writes them. Nothing was done."
    ),
    Refusal.ENCODED: "I do not act on encoded text. Say it in plain words. Nothing was done.",
    Refusal.LIMITS: (
        "Limits, checks and mandates are a risk officer's to change, and not in a conversation. Nothing was done."
    ),
    Refusal.MARGIN: "This desk trades what it holds: no leverage, no borrowing, no derivatives. Nothing was done.",
    Refusal.SECRETS: "I hold no keys or secrets, and I could not show any. Nothing was done.",
    Refusal.TOO_LONG: "That is too long: say it in at most 1000 characters. Nothing was done.",
    Refusal.WITHDRAWAL: (
        "Nothing leaves the desk through a conversation: there are no withdrawals or transfers here. Nothing was done."
    ),
}
HELP: Final = (
    "Ask about balances, exposure, P&L, orders, fills, fees, prices, limits or status; why a decision was made; what "
    "changed overnight; or what -10 % in BTC would do. Order in plain words, such as 'buy 0.01 BTC', 'sell half of my "
    "ETH' or 'buy $500 of BTC at 60000': you see exactly what would be ordered, and nothing happens before you say "
    "yes. 'halt trading' stops your account at once."
)
WITH_MODEL: Final = "(Understood with a model.)"
NOT_UNDERSTOOD: Final = "I did not understand that, and did nothing. Say 'help' for what I know."
SIMULATED: Final = "Simulated: no real market or money stands behind these numbers."


def order_words(ticket: OrderTicket) -> str:
    """A ticket as words: ``BUY 0.1 BTCUSDT LIMIT at 60000``."""
    amount = ticket.quantity or f"{ticket.quote_amount} worth of"
    words = [ticket.side, amount, ticket.symbol, ticket.type.replace("_", " ")]
    if ticket.price:
        words.append(f"at {ticket.price}")
    if ticket.stop_price:
        words.append(f"triggered at {ticket.stop_price}")
    if ticket.trailing_offset:
        words.append(f"trailing by {ticket.trailing_offset}")
    if ticket.trailing_offset_bps:
        words.append(f"trailing by {ticket.trailing_offset_bps // 100}.{ticket.trailing_offset_bps % 100:02} %")
    if ticket.time_in_force is not None:
        words.append(ticket.time_in_force)
    if ticket.post_only:
        words.append("post-only")
    return " ".join(words)


def preview_words(ticket: OrderTicket, preview: OrderPreview) -> str:
    """What an order would do, with every number that counts."""
    return (
        f"{order_words(ticket)} on account {preview.account}: {preview.quantity} at {preview.price} "
        f"({preview.price_source}) is {preview.notional} {preview.notional_asset}, fee {preview.fee} "
        f"{preview.fee_asset}. It pays {preview.pays} {preview.pays_asset} of {preview.free} free, and receives "
        f"{preview.receives} {preview.receives_asset}."
    )


def outcome_words(outcome: OrderOutcome) -> str:
    """What became of an order."""
    if not outcome.known:
        return (
            f"The outcome is not known yet. Ask for the order by its id {outcome.client_order_id}; it is not sent "
            "again."
        )
    text = f"Order {outcome.order_id} is {outcome.state}: {outcome.side} {outcome.symbol} {outcome.type}"
    text += f", {outcome.filled_quantity} filled"
    text += f" at {outcome.average_price} on average" if outcome.average_price else ""
    text += f". {outcome.message}" if outcome.message else "."
    if outcome.how:
        text += f" The fills are simulated: {outcome.how.rstrip('.')}."
    return text


def cancel_words(wanted: CancelOrders, account: str) -> str:
    """What a cancel would touch, as the end of a sentence."""
    if not wanted.everything:
        return f"cancel order {wanted.order_id}"
    side = f"{wanted.side} " if wanted.side is not None else ""
    symbol = f" for {wanted.symbol}" if wanted.symbol else ""
    return f"cancel every open {side}order{symbol} on {f'account {account}' if account else 'all your accounts'}"


def replace_words(wanted: ReplaceOrder) -> str:
    """What a replacement would change, as the end of a sentence."""
    changes = [("quantity", wanted.quantity), ("price", wanted.price), ("stop price", wanted.stop_price)]
    return f"change order {wanted.order_id}: " + ", ".join(f"{name} to {text}" for name, text in changes if text)


def standing_words(wanted: StandingInstruction) -> str:
    """A standing instruction as it was understood."""
    window = f" within {wanted.window_seconds} seconds" if wanted.window_seconds else ""
    when = {
        Trigger.CAP: f"never hold more than {wanted.value} % in {wanted.symbol or 'one asset'}",
        Trigger.FALLS_PERCENT: f"when {wanted.symbol} falls {wanted.value} %{window}",
        Trigger.RISES_PERCENT: f"when {wanted.symbol} rises {wanted.value} %{window}",
        Trigger.PRICE_ABOVE: f"when {wanted.symbol} is at or above {wanted.value}",
        Trigger.PRICE_BELOW: f"when {wanted.symbol} is at or below {wanted.value}",
        Trigger.PRICE_REACHES: f"when {wanted.symbol} reaches {wanted.value}",
        Trigger.RECURRING: wanted.value,
        Trigger.TIME: wanted.value,
        Trigger.OTHER: wanted.value,
    }[wanted.trigger]
    if wanted.order is None:
        return when
    amount = wanted.order.quantity or wanted.order.quote_amount or f"{wanted.order.percent} %"
    return f"{wanted.order.side} {amount} {wanted.order.symbol}, {when}"
