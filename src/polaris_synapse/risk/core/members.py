"""Members of enums that every order is compared with, as plain names.

Python 3.11 takes 40 ns and more to find a member by its class, and a name of a module in 2; one order asks sixty times.
"""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import KillLevel, KycState
from polaris_synapse.domain.orders import (
    Liquidity,
    OrderEvent,
    OrderState,
    OrderType,
    PostOnly,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from polaris_synapse.domain.reasons import Reason

BUY: Final = Side.BUY
SELL: Final = Side.SELL

LIMIT: Final = OrderType.LIMIT
MARKET: Final = OrderType.MARKET
TRAILING_STOP: Final = OrderType.TRAILING_STOP

DAY: Final = TimeInForce.DAY
FOK: Final = TimeInForce.FOK
GTD: Final = TimeInForce.GTD
NOT_POST_ONLY: Final = PostOnly.NO
SELF_TRADES_ALLOWED: Final = SelfTradePrevention.NONE

APPROVED: Final = OrderState.APPROVED
CANCELLED: Final = OrderState.CANCELLED
FILLED: Final = OrderState.FILLED

FILL: Final = OrderEvent.FILL
PARTIAL_FILL: Final = OrderEvent.PARTIAL_FILL
REJECT_CANCEL: Final = OrderEvent.REJECT_CANCEL
REPLACE: Final = OrderEvent.REPLACE

MAKER: Final = Liquidity.MAKER
TRADING: Final = InstrumentStatus.TRADING
KYC_APPROVED: Final = KycState.APPROVED
NOT_STOPPED: Final = KillLevel.OFF
FLATTEN: Final = KillLevel.FLATTEN
NO_REASON: Final = Reason.NONE
