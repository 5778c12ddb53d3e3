"""What a message can mean, as types. Numbers stay the decimal text that was written; nothing is rounded or guessed."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from polaris_synapse.domain.orders import OrderType, Side, TimeInForce


class Topic(StrEnum):
    """What a question is about."""

    ACTIVITY = "ACTIVITY"  # what the desk and its agents are doing
    APPROVALS = "APPROVALS"  # orders of agents that wait for a person
    ADVICE = "ADVICE"  # what somebody should do: answered with the agents' views, never with advice
    BALANCES = "BALANCES"
    BEST_TRADE = "BEST_TRADE"
    BOOK = "BOOK"
    CHANGES = "CHANGES"  # what happened since a moment
    DECISIONS = "DECISIONS"
    EQUITY = "EQUITY"
    EXPOSURE = "EXPOSURE"
    FEES = "FEES"
    FILLS = "FILLS"
    INSTRUMENTS = "INSTRUMENTS"
    LIMITS = "LIMITS"
    MANDATE = "MANDATE"
    OPEN_ORDERS = "OPEN_ORDERS"
    ORDER = "ORDER"
    PNL = "PNL"
    POSITIONS = "POSITIONS"
    PRICE = "PRICE"
    SHOCK = "SHOCK"  # what a move of the market would do to the account
    SPREAD = "SPREAD"
    STANDING = "STANDING"  # standing instructions
    STATUS = "STATUS"
    VOLUME = "VOLUME"
    WHY = "WHY"
    WORST_TRADE = "WORST_TRADE"


class Base(StrEnum):
    """What a percentage is taken of."""

    CASH = "CASH"  # the free balance of what the order pays with
    POSITION = "POSITION"  # the free balance of the base asset


class Control(StrEnum):
    """What may be done to trading as a whole."""

    FLATTEN = "FLATTEN"
    HALT = "HALT"
    PAUSE_AGENT = "PAUSE_AGENT"
    RESET_BREAKER = "RESET_BREAKER"
    RESUME = "RESUME"
    RESUME_AGENT = "RESUME_AGENT"
    TRIP_BREAKER = "TRIP_BREAKER"


class Trigger(StrEnum):
    """What a standing instruction waits for."""

    CAP = "CAP"  # a share of the account that must not be passed
    FALLS_PERCENT = "FALLS_PERCENT"
    OTHER = "OTHER"
    SHARE_ABOVE = "SHARE_ABOVE"  # the share of the account that one asset is
    SHARE_BELOW = "SHARE_BELOW"
    PRICE_ABOVE = "PRICE_ABOVE"
    PRICE_BELOW = "PRICE_BELOW"
    PRICE_REACHES = "PRICE_REACHES"  # from whichever side the market stands on
    RECURRING = "RECURRING"
    RISES_PERCENT = "RISES_PERCENT"
    TIME = "TIME"


class Unclear(StrEnum):
    """What has to be asked about."""

    ACTION = "ACTION"
    CONFIRMATION = "CONFIRMATION"
    CURRENCY = "CURRENCY"
    LOOKALIKE = "LOOKALIKE"
    NUMBER = "NUMBER"
    ORDER = "ORDER"
    PRICE = "PRICE"
    QUANTITY = "QUANTITY"
    SEVERAL = "SEVERAL"
    SIDE = "SIDE"
    SYMBOL = "SYMBOL"
    WHOSE = "WHOSE"


class Refusal(StrEnum):
    """What a conversation never does, whoever asks."""

    AUTHORITY = "AUTHORITY"
    ENCODED = "ENCODED"
    LIMITS = "LIMITS"
    MARGIN = "MARGIN"
    SECRETS = "SECRETS"
    TOO_LONG = "TOO_LONG"
    WITHDRAWAL = "WITHDRAWAL"


class Intent(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="intent"):
    """What a message means."""


class Ask(Intent, frozen=True, kw_only=True, tag="ask"):
    """A question. Nothing can come of it but an answer.

    ``since``: ``today``, ``overnight`` or a length such as ``2h``. ``change_percent`` is signed decimal text.
    ``symbol`` is an instrument, ``asset`` a currency or token. ``account`` is empty where none was named.
    """

    topic: Topic
    symbol: str = ""
    asset: str = ""
    side: Side | None = None
    since: str = ""
    change_percent: str = ""
    order_id: int = 0
    decision_id: str = ""
    account: str = ""


class PlaceOrder(Intent, frozen=True, kw_only=True, tag="place_order"):
    """An order as asked for: exactly one of ``quantity``, ``quote_amount`` and ``percent`` (of ``percent_of``).

    ``trailing_percent`` or ``trailing_offset`` go with TRAILING_STOP.
    """

    side: Side
    symbol: str
    type: OrderType = OrderType.MARKET
    quantity: str = ""
    quote_amount: str = ""
    percent: str = ""
    percent_of: Base | None = None
    price: str = ""
    stop_price: str = ""
    trailing_percent: str = ""
    trailing_offset: str = ""
    time_in_force: TimeInForce | None = None
    post_only: bool = False
    account: str = ""


class WhatIfOrder(Intent, frozen=True, kw_only=True, tag="what_if_order"):
    """A question about an order: it is previewed, and there is nothing to confirm."""

    order: PlaceOrder


class CancelOrders(Intent, frozen=True, kw_only=True, tag="cancel_orders"):
    """Cancel one order, or with ``everything`` all that match."""

    order_id: int = 0
    everything: bool = False
    symbol: str = ""
    side: Side | None = None
    account: str = ""


class ReplaceOrder(Intent, frozen=True, kw_only=True, tag="replace_order"):
    """Change an open order; what is empty stays. ``quantity`` is the new total."""

    order_id: int
    quantity: str = ""
    price: str = ""
    stop_price: str = ""
    account: str = ""


class ClosePosition(Intent, frozen=True, kw_only=True, tag="close_position"):
    """Sell what is held of an instrument's base asset, or a share of it. An empty ``symbol``: of every instrument."""

    symbol: str = ""
    percent: str = "100"
    account: str = ""


class ControlTrading(Intent, frozen=True, kw_only=True, tag="control_trading"):
    """Stop or start. ``scope`` is ``account`` (the speaker's), ``desk``, or an instrument."""

    action: Control
    scope: str = "account"
    account: str = ""


class StandingInstruction(Intent, frozen=True, kw_only=True, tag="standing_instruction"):
    """Something to be done later, or always. ``value`` is the trigger's price or percentage, or its time in words.

    ``order`` is what is to be done, where it is an order. ``window_seconds`` 0: no window was named.
    """

    trigger: Trigger
    value: str = ""
    symbol: str = ""
    window_seconds: int = 0
    order: PlaceOrder | None = None


class DecideRequest(Intent, frozen=True, kw_only=True, tag="decide_request"):
    """Approve or reject an agent's held order: by its request's number, or with a signed ``token``."""

    approval_id: str = ""
    approve: bool = True
    token: str = ""


class ProposeTrade(Intent, frozen=True, kw_only=True, tag="propose_trade"):
    """Let the agent decide on an instrument now; what it proposes goes the way of its mandate."""

    symbol: str


class GiveMandate(Intent, frozen=True, kw_only=True, tag="give_mandate"):
    """A mandate in plain words."""

    text: str


class CancelStanding(Intent, frozen=True, kw_only=True, tag="cancel_standing"):
    """Watch no more for what a standing instruction waits for."""

    standing_id: str


class Briefing(Intent, frozen=True, kw_only=True, tag="briefing"):
    """A summary: in the morning what happened overnight, at the end of the day what the day brought."""

    end_of_day: bool = False
    account: str = ""


class Help(Intent, frozen=True, kw_only=True, tag="help"):
    """What can be said."""


class Confirm(Intent, frozen=True, kw_only=True, tag="confirm"):
    """Yes, to what was shown last, or to what ``code`` names."""

    code: str = ""


class Decline(Intent, frozen=True, kw_only=True, tag="decline"):
    """No, or: do not."""


class Ambiguous(Intent, frozen=True, kw_only=True, tag="ambiguous"):
    """Not enough to act on. ``partial`` holds what was understood of an order; an empty field there is what is "
    "asked."""

    about: Unclear
    question: str = ""
    partial: PartialOrder | None = None


class PartialOrder(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an order that lacks something. ``side`` None and empty texts are not known."""

    side: Side | None = None
    symbol: str = ""
    type: OrderType = OrderType.MARKET
    quantity: str = ""
    quote_amount: str = ""
    percent: str = ""
    percent_of: Base | None = None
    price: str = ""
    stop_price: str = ""
    trailing_percent: str = ""
    trailing_offset: str = ""
    time_in_force: TimeInForce | None = None
    post_only: bool = False
    account: str = ""


class NotUnderstood(Intent, frozen=True, kw_only=True, tag="not_understood"):
    """Nothing that the grammar knows."""


class Refused(Intent, frozen=True, kw_only=True, tag="refused"):
    """Understood, and not done here."""

    why: Refusal


AnyIntent = (
    Ask
    | PlaceOrder
    | WhatIfOrder
    | CancelOrders
    | ReplaceOrder
    | ClosePosition
    | ControlTrading
    | StandingInstruction
    | DecideRequest
    | ProposeTrade
    | GiveMandate
    | CancelStanding
    | Briefing
    | Help
    | Confirm
    | Decline
    | Ambiguous
    | NotUnderstood
    | Refused
)
