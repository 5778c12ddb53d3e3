"""Reason codes: why something was refused. Stable numbers in ranges that survive into API, logs, metrics and SQL.

Ranges: 1000 requests, 1100 authentication, 1200 quotas, 1300 look-ups, 2000 risk (in the order of its checks),
3000 compliance, 4000 the order book, 5000 venues and execution, 6000 agents, 7000 the desk itself. A number is never
reused; a new reason is added at the end of its range.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Reason(IntEnum):
    """Why. ``NONE`` means nothing was refused."""

    NONE = 0

    MALFORMED_JSON = 1000
    MISSING_FIELD = 1001
    UNKNOWN_FIELD = 1002
    INVALID_VALUE = 1003
    DUPLICATE_FIELD = 1004
    BODY_TOO_LARGE = 1005
    UNSUPPORTED_MEDIA_TYPE = 1006
    CONTRADICTORY_FIELDS = 1007
    METHOD_NOT_ALLOWED = 1008
    REQUEST_TOO_SLOW = 1009
    HEADERS_TOO_LARGE = 1010
    HOST_NOT_ALLOWED = 1011
    MALFORMED_REQUEST = 1012

    NOT_AUTHENTICATED = 1100
    INVALID_CREDENTIALS = 1101
    TOKEN_EXPIRED = 1102
    SIGNATURE_INVALID = 1103
    TIMESTAMP_OUTSIDE_WINDOW = 1104
    NONCE_REUSED = 1105
    ROLE_NOT_ALLOWED = 1106
    ACCOUNT_NOT_ALLOWED = 1107
    KEY_REVOKED = 1108
    ADDRESS_NOT_ALLOWED = 1109

    RATE_LIMITED = 1200
    TOO_MANY_CONNECTIONS = 1201
    SLOW_CONSUMER = 1202

    NOT_FOUND = 1300
    ORDER_NOT_FOUND = 1301
    ACCOUNT_NOT_FOUND = 1302
    SYMBOL_NOT_FOUND = 1303
    DECISION_NOT_FOUND = 1304
    ORDER_LIST_NOT_FOUND = 1305

    KILL_SWITCH = 2000
    CIRCUIT_BREAKER = 2001
    DUPLICATE_CLIENT_ORDER_ID = 2010
    COMPLIANCE_ACCOUNT_BLOCKED = 2020
    COMPLIANCE_KYC_INCOMPLETE = 2021
    COMPLIANCE_SANCTIONED = 2022
    COMPLIANCE_INSTRUMENT_RESTRICTED = 2023
    INSTRUMENT_NOT_TRADING = 2030
    PRICE_NOT_ON_TICK = 2031
    QUANTITY_NOT_ON_LOT = 2032
    QUANTITY_TOO_SMALL = 2033
    QUANTITY_TOO_LARGE = 2034
    NOTIONAL_TOO_SMALL = 2035
    ORDER_TYPE_NOT_SUPPORTED = 2036
    TIME_IN_FORCE_NOT_SUPPORTED = 2037
    ORDER_FIELDS_INVALID = 2038
    FEATURE_NOT_SUPPORTED = 2039
    MARKET_DATA_STALE = 2040
    MARKET_DATA_MISSING = 2041
    PRICE_OUTSIDE_COLLAR = 2050
    ORDER_QUANTITY_LIMIT = 2060
    ORDER_VALUE_LIMIT = 2061
    MESSAGE_THROTTLE = 2070
    REPEATED_ORDER_THROTTLE = 2071
    OPEN_ORDERS_LIMIT = 2072
    SELF_MATCH = 2080
    INSUFFICIENT_FUNDS = 2090
    POSITION_LIMIT = 2100
    EXPOSURE_LIMIT = 2101
    CONCENTRATION_LIMIT = 2102
    LEVERAGE_LIMIT = 2103
    HOLDING_LIMIT = 2104
    DAILY_LOSS_LIMIT = 2110
    DRAWDOWN_LIMIT = 2111
    MANDATE_SYMBOL = 2120
    MANDATE_ORDER_VALUE = 2121
    MANDATE_DAILY_VALUE = 2122
    MANDATE_REQUIRES_APPROVAL = 2123
    MANDATE_MISSING = 2124
    MANDATE_HOURS = 2125
    MANDATE_LEVERAGE = 2126
    MANDATE_LOSS = 2127
    POSITION_BREAK_OPEN = 2130
    ORDER_NOT_OPEN = 2140
    REPLACE_INVALID = 2141
    ORDER_LIST_INVALID = 2142
    DUPLICATE_CLIENT_LIST_ID = 2143
    AMOUNT_INVALID = 2150
    APPROVAL_NOT_FOUND = 2160
    APPROVAL_ORDER_CHANGED = 2161
    APPROVAL_USED = 2162
    APPROVAL_EXPIRED = 2163
    APPROVAL_REJECTED = 2164
    APPROVER_NOT_ALLOWED = 2165
    APPROVALS_FULL = 2166
    APPROVAL_TOKEN_INVALID = 2167

    ACCOUNT_EXISTS = 3000
    KYC_TRANSITION_NOT_ALLOWED = 3001
    CASE_NOT_FOUND = 3002
    AUDIT_CHAIN_BROKEN = 3003

    BOOK_POST_ONLY_WOULD_TAKE = 4000
    BOOK_FILL_OR_KILL_UNFILLABLE = 4001
    BOOK_NO_LIQUIDITY = 4002
    BOOK_IMMEDIATE_REMAINDER = 4003
    BOOK_SELF_TRADE_PREVENTED = 4004
    BOOK_NOT_OPEN = 4005
    BOOK_PRICE_BAND = 4006
    BOOK_UNKNOWN_ORDER = 4007
    BOOK_DUPLICATE_ORDER = 4008
    BOOK_EXPIRED = 4009
    BOOK_MIN_QUANTITY_UNMET = 4010
    BOOK_TRIGGER_IMMEDIATE = 4011
    BOOK_FULL = 4012
    BOOK_ORDER_LIST = 4013
    BOOK_COMMAND_LIMIT = 4014

    VENUE_REJECTED = 5000
    VENUE_UNKNOWN_OUTCOME = 5001
    VENUE_UNAVAILABLE = 5002
    VENUE_NOT_CONFIGURED = 5003
    REAL_TRADING_DISABLED = 5004
    VENUE_RATE_LIMITED = 5005
    VENUE_ORDER_ABSENT = 5006
    VENUE_OVERFILL = 5007

    AGENT_NO_VIEW = 6000
    AGENT_CONFIDENCE_TOO_LOW = 6001
    AGENT_SIZE_TOO_SMALL = 6002
    AGENT_POSITION_ALREADY_HELD = 6003
    AGENT_COOLING_DOWN = 6004
    AGENT_PAUSED = 6005
    AGENT_PROPOSAL_EXPIRED = 6006
    AGENT_MODEL_UNAVAILABLE = 6007
    AGENT_MODEL_BUDGET = 6008
    AGENT_MODEL_INVALID = 6009
    AGENT_VETOED = 6010
    STANDING_NOT_FOUND = 6100
    STANDING_FULL = 6101
    STANDING_EXPIRED = 6102

    OVERLOADED = 7000
    SHUTTING_DOWN = 7001
    JOURNAL_UNAVAILABLE = 7002
    TIMED_OUT = 7003
    INTERNAL_ERROR = 7004
    NOT_READY = 7005
    CACHE_UNAVAILABLE = 7006

    CANCELLED_BY_USER = 8000
    CANCELLED_BY_KILL_SWITCH = 8001
    CANCELLED_ON_DISCONNECT = 8002
    # 8003 stood for a cancellation by the breaker, which leaves open orders alone.
    FLATTENED = 8004
    CANCELLED_BY_WATCHDOG = 8005


#: One plain sentence a code, for people. The detail of a refusal adds the numbers.
EXPLANATIONS: Final[dict[Reason, str]] = {
    Reason.NONE: "Nothing was refused.",
    Reason.MALFORMED_JSON: "The body is not valid JSON.",
    Reason.MISSING_FIELD: "A required field is missing.",
    Reason.UNKNOWN_FIELD: "The request has a field that does not exist here.",
    Reason.INVALID_VALUE: "A field's value is not allowed.",
    Reason.DUPLICATE_FIELD: "A field is given twice.",
    Reason.BODY_TOO_LARGE: "The body is larger than allowed.",
    Reason.UNSUPPORTED_MEDIA_TYPE: "Send the body as application/json.",
    Reason.CONTRADICTORY_FIELDS: "Two fields contradict each other.",
    Reason.METHOD_NOT_ALLOWED: "This address does not take that method.",
    Reason.REQUEST_TOO_SLOW: "The request took too long to arrive.",
    Reason.HEADERS_TOO_LARGE: "The request's address and headers are larger than allowed.",
    Reason.HOST_NOT_ALLOWED: "The desk does not answer to that host name.",
    Reason.MALFORMED_REQUEST: "The request is not valid HTTP.",
    Reason.NOT_AUTHENTICATED: "Log in or sign the request.",
    Reason.INVALID_CREDENTIALS: "The name or the password is wrong.",
    Reason.TOKEN_EXPIRED: "The login has expired; log in again.",
    Reason.SIGNATURE_INVALID: "The request's signature does not match.",
    Reason.TIMESTAMP_OUTSIDE_WINDOW: "The request's timestamp lies outside the window; check the clock.",
    Reason.NONCE_REUSED: "The nonce was used before.",
    Reason.ROLE_NOT_ALLOWED: "Your role does not allow this.",
    Reason.ACCOUNT_NOT_ALLOWED: "The account is not yours to use.",
    Reason.KEY_REVOKED: "The key was revoked or has expired.",
    Reason.ADDRESS_NOT_ALLOWED: "Requests from this address are not allowed.",
    Reason.RATE_LIMITED: "Too many requests; wait and try again.",
    Reason.TOO_MANY_CONNECTIONS: "Too many connections are open.",
    Reason.SLOW_CONSUMER: "The connection was closed because it read too slowly.",
    Reason.NOT_FOUND: "There is nothing at this address.",
    Reason.ORDER_NOT_FOUND: "There is no such order on this account.",
    Reason.ACCOUNT_NOT_FOUND: "There is no such account.",
    Reason.SYMBOL_NOT_FOUND: "There is no such instrument.",
    Reason.DECISION_NOT_FOUND: "There is no such decision.",
    Reason.ORDER_LIST_NOT_FOUND: "There is no such order list.",
    Reason.KILL_SWITCH: "The kill switch is on: no new risk is taken.",
    Reason.CIRCUIT_BREAKER: "The circuit breaker has tripped.",
    Reason.DUPLICATE_CLIENT_ORDER_ID: "This client order id belongs to a different order already.",
    Reason.COMPLIANCE_ACCOUNT_BLOCKED: "Compliance has blocked the account.",
    Reason.COMPLIANCE_KYC_INCOMPLETE: "The account's identity check is not complete.",
    Reason.COMPLIANCE_SANCTIONED: "The account is under a sanctions hold.",
    Reason.COMPLIANCE_INSTRUMENT_RESTRICTED: "The instrument is restricted for this account.",
    Reason.INSTRUMENT_NOT_TRADING: "The instrument is not open for trading.",
    Reason.PRICE_NOT_ON_TICK: "The price is not a multiple of the tick size.",
    Reason.QUANTITY_NOT_ON_LOT: "The quantity is not a multiple of the lot size.",
    Reason.QUANTITY_TOO_SMALL: "The quantity is below the instrument's minimum.",
    Reason.QUANTITY_TOO_LARGE: "The quantity is above the instrument's maximum.",
    Reason.NOTIONAL_TOO_SMALL: "The order's value is below the instrument's minimum.",
    Reason.ORDER_TYPE_NOT_SUPPORTED: "The venue does not take this order type.",
    Reason.TIME_IN_FORCE_NOT_SUPPORTED: "The venue does not take this time in force.",
    Reason.ORDER_FIELDS_INVALID: "The order's fields do not fit its type.",
    Reason.FEATURE_NOT_SUPPORTED: "The venue does not offer this feature yet.",
    Reason.MARKET_DATA_STALE: "The market data is too old to trade on.",
    Reason.MARKET_DATA_MISSING: "There is no price for the instrument yet.",
    Reason.PRICE_OUTSIDE_COLLAR: "The price is too far from the market.",
    Reason.ORDER_QUANTITY_LIMIT: "The quantity is above the account's limit for one order.",
    Reason.ORDER_VALUE_LIMIT: "The order's value is above the account's limit for one order.",
    Reason.MESSAGE_THROTTLE: "The account sends orders faster than its limit.",
    Reason.REPEATED_ORDER_THROTTLE: "The same order was repeated too often; a risk officer must re-enable the account.",
    Reason.OPEN_ORDERS_LIMIT: "The account has too many open orders.",
    Reason.SELF_MATCH: "The order would trade with the account's own order.",
    Reason.INSUFFICIENT_FUNDS: "The account does not have enough free funds.",
    Reason.POSITION_LIMIT: "The order could take the position over its limit.",
    Reason.EXPOSURE_LIMIT: "The order could take the account's exposure over its limit.",
    Reason.CONCENTRATION_LIMIT: "The order could put too much of the account into one instrument.",
    Reason.LEVERAGE_LIMIT: "The order could take the account's leverage over its limit.",
    Reason.HOLDING_LIMIT: "The order could take one asset over the share that the account set as its most.",
    Reason.DAILY_LOSS_LIMIT: "The account has reached its loss limit for the day.",
    Reason.DRAWDOWN_LIMIT: "The account has reached its drawdown limit.",
    Reason.MANDATE_SYMBOL: "The agent's mandate does not cover this instrument.",
    Reason.MANDATE_ORDER_VALUE: "The order is larger than the agent's mandate allows.",
    Reason.MANDATE_DAILY_VALUE: "The agent's mandate is used up for today.",
    Reason.MANDATE_REQUIRES_APPROVAL: "The agent's mandate asks for a person's approval of this order.",
    Reason.MANDATE_MISSING: "The agent has no mandate on this account.",
    Reason.MANDATE_HOURS: "The agent's mandate does not let it trade at this time.",
    Reason.MANDATE_LEVERAGE: "The order could take the account over the leverage that the agent's mandate allows.",
    Reason.MANDATE_LOSS: "The agent has reached its mandate's loss limit for the day.",
    Reason.POSITION_BREAK_OPEN: "An unexplained difference with the venue is open on this instrument.",
    Reason.ORDER_NOT_OPEN: "The order is no longer open.",
    Reason.REPLACE_INVALID: "The order cannot be replaced with these values.",
    Reason.ORDER_LIST_INVALID: "The orders do not make such a list.",
    Reason.DUPLICATE_CLIENT_LIST_ID: "The client list id belongs to another list.",
    Reason.AMOUNT_INVALID: "The amount is not allowed.",
    Reason.APPROVAL_NOT_FOUND: "There is no such request for approval.",
    Reason.APPROVAL_ORDER_CHANGED: "The order is not the one that the approval is bound to.",
    Reason.APPROVAL_USED: "The request for approval was decided before; an approval works once.",
    Reason.APPROVAL_EXPIRED: "Nobody approved the order in time, so it was not placed.",
    Reason.APPROVAL_REJECTED: "A person rejected the order.",
    Reason.APPROVER_NOT_ALLOWED: "Approving takes a trader of the account or a risk officer, never an agent.",
    Reason.APPROVALS_FULL: "Too many orders of the account wait for approval already.",
    Reason.APPROVAL_TOKEN_INVALID: "The approval link is not genuine or is damaged.",
    Reason.ACCOUNT_EXISTS: "The account exists already.",
    Reason.KYC_TRANSITION_NOT_ALLOWED: "The identity check cannot move to that state from here.",
    Reason.CASE_NOT_FOUND: "There is no such case.",
    Reason.AUDIT_CHAIN_BROKEN: "The audit log does not verify.",
    Reason.BOOK_POST_ONLY_WOULD_TAKE: "A post-only order would have taken liquidity.",
    Reason.BOOK_FILL_OR_KILL_UNFILLABLE: "The book could not fill the whole order at once.",
    Reason.BOOK_NO_LIQUIDITY: "The book had nothing to match the order with.",
    Reason.BOOK_IMMEDIATE_REMAINDER: "The rest of an immediate-or-cancel order was cancelled.",
    Reason.BOOK_SELF_TRADE_PREVENTED: "The order was ended to prevent a self-trade.",
    Reason.BOOK_NOT_OPEN: "The book is not open for this.",
    Reason.BOOK_PRICE_BAND: "The match would lie outside the price band.",
    Reason.BOOK_UNKNOWN_ORDER: "The book does not know this order.",
    Reason.BOOK_DUPLICATE_ORDER: "The book has this order already.",
    Reason.BOOK_EXPIRED: "The order's time ran out.",
    Reason.BOOK_MIN_QUANTITY_UNMET: "The book could not fill the order's minimum quantity.",
    Reason.BOOK_TRIGGER_IMMEDIATE: "The stop price would trigger at once.",
    Reason.BOOK_FULL: "The book holds as many orders as it may.",
    Reason.BOOK_ORDER_LIST: "Another order of its list ended it.",
    Reason.BOOK_COMMAND_LIMIT: "The order met more orders than one command may trade with.",
    Reason.VENUE_REJECTED: "The venue turned the order away.",
    Reason.VENUE_UNKNOWN_OUTCOME: "The venue's answer was lost; the desk is asking again.",
    Reason.VENUE_UNAVAILABLE: "The venue cannot be reached.",
    Reason.VENUE_NOT_CONFIGURED: "The desk has no such venue.",
    Reason.REAL_TRADING_DISABLED: "Real trading is switched off (ENABLE_REAL_TRADING=false).",
    Reason.VENUE_RATE_LIMITED: "The venue's rate limit is used up.",
    Reason.VENUE_ORDER_ABSENT: "The venue has neither the order nor a trade of it.",
    Reason.VENUE_OVERFILL: "The venue filled more than was ordered.",
    Reason.AGENT_NO_VIEW: "The agent has no view.",
    Reason.AGENT_CONFIDENCE_TOO_LOW: "The agent's confidence is below its threshold.",
    Reason.AGENT_SIZE_TOO_SMALL: "The size the mandate allows is below the instrument's minimum.",
    Reason.AGENT_POSITION_ALREADY_HELD: "The account already holds what the agent would buy.",
    Reason.AGENT_COOLING_DOWN: "The agent decided on this instrument a moment ago.",
    Reason.AGENT_PAUSED: "The agent is paused.",
    Reason.AGENT_PROPOSAL_EXPIRED: "The proposal was too old to be placed.",
    Reason.AGENT_MODEL_UNAVAILABLE: "No language model answered in time, so nothing is ordered.",
    Reason.AGENT_MODEL_BUDGET: "The budget for language models is used up, so nothing is ordered.",
    Reason.AGENT_MODEL_INVALID: "The language model's answer did not hold against the facts, so nothing is ordered.",
    Reason.AGENT_VETOED: "The risk agent vetoed the order.",
    Reason.STANDING_NOT_FOUND: "There is no such standing instruction.",
    Reason.STANDING_FULL: "There are as many standing instructions as there may be; cancel one first.",
    Reason.STANDING_EXPIRED: "The standing instruction's time ran out.",
    Reason.OVERLOADED: "The desk has more work than it may queue; try again.",
    Reason.SHUTTING_DOWN: "The desk is shutting down.",
    Reason.JOURNAL_UNAVAILABLE: "The journal cannot be written, so nothing new is accepted.",
    Reason.TIMED_OUT: "The answer took too long; ask for the order by its id.",
    Reason.INTERNAL_ERROR: "Something went wrong inside the desk; the log has the details.",
    Reason.NOT_READY: "The desk is not ready yet.",
    Reason.CACHE_UNAVAILABLE: "What was revoked or used elsewhere cannot be known now, so only stops and cancels pass.",
    Reason.CANCELLED_BY_USER: "Cancelled on request.",
    Reason.CANCELLED_BY_KILL_SWITCH: "Cancelled by the kill switch.",
    Reason.CANCELLED_ON_DISCONNECT: "Cancelled because the client's connection ended.",
    Reason.FLATTENED: "Sent to flatten the account.",
    Reason.CANCELLED_BY_WATCHDOG: "Cancelled by the watchdog, because the desk had died.",
}


def explain(reason: Reason) -> str:
    """The sentence for ``reason``."""
    return EXPLANATIONS[reason]
