"""What every order book must do, written as scripts; each implementation plays all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.matching.books import IMPLEMENTATIONS
from tests.unit.matching.script import play

from polaris_synapse.matching.core.port import BookSettings, OrderBook

SCRIPTS: dict[str, str] = {
    "a limit order rests at its price": """
        buy 1 10@100
            accepted 1 shows 10 of 10@100
        sell 2 4@102
            accepted 2 shows 4 of 4@102
        book
            10@100 | 4@102
    """,
    "the better price trades first, and at equal prices the earlier order": """
        sell 1 5@101
            accepted 1 shows 5 of 5@101
        sell 2 5@100
            accepted 2 shows 5 of 5@100
        sell 3 5@100
            accepted 3 shows 5 of 5@100
        buy 4 12@101
            accepted 4 shows 0 of 12@101
            trade 4x2 5@100 left 7/0
            trade 4x3 5@100 left 2/0
            trade 4x1 2@101 left 0/3
        book
            | 3@101
    """,
    "a taker trades at the maker's price and rests with what is left": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 8@103
            accepted 2 shows 0 of 8@103
            trade 2x1 5@100 left 3/0
            rested 2 shows 3 of 3@103
        book
            3@103 |
    """,
    "a market order that runs out of book ends with what is left": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 8
            accepted 2 shows 0 of 8@0
            trade 2x1 5@100 left 3/0
            expired 2 with 3: NO_LIQUIDITY
        sell 3 1
            accepted 3 shows 0 of 1@0
            expired 3 with 1: NO_LIQUIDITY
    """,
    "a market order by quote amount buys what it can pay": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        sell 2 5@110
            accepted 2 shows 5 of 5@110
        buy 3 budget=730
            accepted 3 shows 0 of 0@0
            trade 3x1 5@100 left 2/0
            trade 3x2 2@110 left 0/3
        buy 4 budget=109
            accepted 4 shows 0 of 0@0
            expired 4 with 0: IMMEDIATE_REMAINDER
        buy 5 budget=1000
            accepted 5 shows 0 of 0@0
            trade 5x2 3@110 left 6/0
            expired 5 with 0: NO_LIQUIDITY
    """,
    "a market sell by quote amount stops where one more lot would raise too much": """
        buy 1 5@100
            accepted 1 shows 5 of 5@100
        sell 2 budget=250
            accepted 2 shows 0 of 0@0
            trade 2x1 2@100 left 0/3
    """,
    "immediate-or-cancel takes what is there and ends": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 8@100 ioc
            accepted 2 shows 0 of 8@100
            trade 2x1 5@100 left 3/0
            expired 2 with 3: IMMEDIATE_REMAINDER
        buy 3 8@100 ioc
            accepted 3 shows 0 of 8@100
            expired 3 with 8: IMMEDIATE_REMAINDER
    """,
    "fill-or-kill fills whole, hidden lots counted, or not at all": """
        sell 1 5@100 show=1
            accepted 1 shows 1 of 5@100
        buy 2 6@100 fok
            accepted 2 shows 0 of 6@100
            expired 2 with 6: FILL_OR_KILL_UNFILLABLE
        sell 3 4@101
            accepted 3 shows 4 of 4@101
        buy 4 6@100 fok
            accepted 4 shows 0 of 6@100
            expired 4 with 6: FILL_OR_KILL_UNFILLABLE
        buy 5 3 fok
            accepted 5 shows 0 of 3@0
            trade 5x1 1@100 left 2/4
            refilled 1 shows 1 of 4@100
            trade 5x1 1@100 left 1/3
            refilled 1 shows 1 of 3@100
            trade 5x1 1@100 left 0/2
            refilled 1 shows 1 of 2@100
        buy 6 budget=2000 fok
            accepted 6 shows 0 of 0@0
            expired 6 with 0: FILL_OR_KILL_UNFILLABLE
    """,
    "a minimum quantity fills at once or the order ends; the rest behaves as usual": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 10@100 min=6
            accepted 2 shows 0 of 10@100
            expired 2 with 10: MIN_QUANTITY_UNMET
        buy 3 10@100 min=5
            accepted 3 shows 0 of 10@100
            trade 3x1 5@100 left 5/0
            rested 3 shows 5 of 5@100
    """,
    "post-only turns away an order that would take": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 3@100 post
            rejected 2 with 3: POST_ONLY_WOULD_TAKE
        buy 3 3@99 post
            accepted 3 shows 3 of 3@99
        book
            3@99 | 5@100
    """,
    "post-only reprice puts an order one tick behind the far side": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 3@104 reprice
            accepted 2 shows 0 of 3@104
            repriced 2 from 104 to 99
            rested 2 shows 3 of 3@99
        sell 3 2@98 reprice
            accepted 3 shows 0 of 2@98
            repriced 3 from 98 to 100
            rested 3 shows 2 of 2@100
        book
            3@99 | 7@100
    """,
    "post-only reprice below the lowest price is turned away": """
        sell 1 5@1
            accepted 1 shows 5 of 5@1
        buy 2 3@1 reprice
            accepted 2 shows 0 of 3@1
            rejected 2 with 3: POST_ONLY_WOULD_TAKE
    """,
    "an iceberg shows a slice, and goes to the back when it shows the next": """
        sell 1 10@100 show=3
            accepted 1 shows 3 of 10@100
        sell 2 4@100
            accepted 2 shows 4 of 4@100
        book
            | 7@100
        buy 3 5@100
            accepted 3 shows 0 of 5@100
            trade 3x1 3@100 left 2/7
            refilled 1 shows 3 of 7@100
            trade 3x2 2@100 left 0/2
        buy 4 3@100
            accepted 4 shows 0 of 3@100
            trade 4x2 2@100 left 1/0
            trade 4x1 1@100 left 0/6
        book
            | 2@100
    """,
    "the last slice of an iceberg is what is left": """
        sell 1 4@100 show=3
            accepted 1 shows 3 of 4@100
        buy 2 3@100
            accepted 2 shows 0 of 3@100
            trade 2x1 3@100 left 0/1
            refilled 1 shows 1 of 1@100
        cancel 1
            cancelled 1 with 1
    """,
    "self-trade prevention EXPIRE_TAKER ends the taker, after what it traded before": """
        sell 1 2@100
            accepted 1 shows 2 of 2@100
        sell 2 5@101 acct=7
            accepted 2 shows 5 of 5@101
        buy 3 9@101 acct=7 stp=TAKER
            accepted 3 shows 0 of 9@101
            trade 3x1 2@100 left 7/0
            expired 3 with 7: SELF_TRADE_PREVENTED
        book
            | 5@101
    """,
    "self-trade prevention EXPIRE_MAKER ends the makers and goes on": """
        sell 1 5@100 acct=7
            accepted 1 shows 5 of 5@100
        sell 2 5@101
            accepted 2 shows 5 of 5@101
        buy 3 6@101 acct=7 stp=MAKER
            accepted 3 shows 0 of 6@101
            expired 1 with 5: SELF_TRADE_PREVENTED
            trade 3x2 5@101 left 1/0
            rested 3 shows 1 of 1@101
    """,
    "self-trade prevention EXPIRE_BOTH ends both": """
        sell 1 5@100 acct=7
            accepted 1 shows 5 of 5@100
        buy 2 6@101 acct=7 stp=BOTH
            accepted 2 shows 0 of 6@101
            expired 1 with 5: SELF_TRADE_PREVENTED
            expired 2 with 6: SELF_TRADE_PREVENTED
        book
            |
    """,
    "self-trade prevention DECREMENT takes the smaller quantity off both": """
        sell 1 5@100 acct=7
            accepted 1 shows 5 of 5@100
        buy 2 8@100 acct=7 stp=DECREMENT
            accepted 2 shows 0 of 8@100
            expired 1 with 5: SELF_TRADE_PREVENTED
            decremented 2 by 5 to 3
            rested 2 shows 3 of 3@100
        sell 3 1@100 acct=7 stp=DECREMENT
            accepted 3 shows 0 of 1@100
            decremented 2 by 1 to 2
            expired 3 with 1: SELF_TRADE_PREVENTED
        sell 4 2@100 acct=7 stp=DECREMENT
            accepted 4 shows 0 of 2@100
            expired 2 with 2: SELF_TRADE_PREVENTED
            expired 4 with 2: SELF_TRADE_PREVENTED
    """,
    "self-trade prevention NONE lets an account trade with itself": """
        sell 1 5@100 acct=7
            accepted 1 shows 5 of 5@100
        buy 2 5@100 acct=7 stp=NONE
            accepted 2 shows 0 of 5@100
            trade 2x1 5@100 left 0/0
    """,
    "the taker's prevention mode decides, not the maker's": """
        sell 1 5@100 acct=7 stp=NONE
            accepted 1 shows 5 of 5@100
        buy 2 5@100 acct=7 stp=TAKER
            accepted 2 shows 0 of 5@100
            expired 2 with 5: SELF_TRADE_PREVENTED
    """,
    "fill-or-kill counts no lots that prevention would keep it from": """
        sell 1 5@100 acct=7
            accepted 1 shows 5 of 5@100
        sell 2 3@101
            accepted 2 shows 3 of 3@101
        buy 3 4@101 fok acct=7 stp=MAKER
            accepted 3 shows 0 of 4@101
            expired 3 with 4: FILL_OR_KILL_UNFILLABLE
        buy 4 3@101 fok acct=7 stp=MAKER
            accepted 4 shows 0 of 3@101
            expired 1 with 5: SELF_TRADE_PREVENTED
            trade 4x2 3@101 left 0/0
    """,
    "cancel takes an order off, once": """
        buy 1 5@100
            accepted 1 shows 5 of 5@100
        cancel 1
            cancelled 1 with 5
        cancel 1
            cancel_refused 1: UNKNOWN_ORDER
    """,
    "cancel-all chooses by account and side, in order of arrival": """
        buy 1 5@100 acct=7
            accepted 1 shows 5 of 5@100
        sell 2 5@110 acct=7
            accepted 2 shows 5 of 5@110
        buy 3 5@99 acct=8
            accepted 3 shows 5 of 5@99
        sell 4 1 stop=90 acct=7
            armed 4 at 90
        cancel_all acct=7 side=sell
            cancelled 2 with 5
            cancelled 4 with 1
        cancel_all
            cancelled 1 with 5
            cancelled 3 with 5
    """,
    "an amendment that only takes lots off keeps its place": """
        buy 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 5@100
            accepted 2 shows 5 of 5@100
        amend 1 3@100
            reduced 1 to 3@100
        sell 3 4@100
            accepted 3 shows 0 of 4@100
            trade 3x1 3@100 left 1/0
            trade 3x2 1@100 left 0/4
    """,
    "an amendment that adds lots goes to the back": """
        buy 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 5@100
            accepted 2 shows 5 of 5@100
        amend 1 6@100
            replaced 1 to 6@100
            rested 1 shows 6 of 6@100
        sell 3 6@100
            accepted 3 shows 0 of 6@100
            trade 3x2 5@100 left 1/0
            trade 3x1 1@100 left 0/5
    """,
    "an amendment of the price moves the order, and it may take": """
        sell 1 5@102
            accepted 1 shows 5 of 5@102
        buy 2 8@100
            accepted 2 shows 8 of 8@100
        amend 2 8@102
            replaced 2 to 8@102
            trade 2x1 5@102 left 3/0
            rested 2 shows 3 of 3@102
        amend 2 5@101
            amend_refused 2: REPLACE_INVALID
        amend 2 6@101
            replaced 2 to 1@101
            rested 2 shows 1 of 1@101
        amend 9 6@101
            amend_refused 9: UNKNOWN_ORDER
        amend 2 7@0
            amend_refused 2: REPLACE_INVALID
    """,
    "a post-only order is not amended into taking": """
        sell 1 5@102
            accepted 1 shows 5 of 5@102
        buy 2 8@100 post
            accepted 2 shows 8 of 8@100
        amend 2 8@102
            amend_refused 2: POST_ONLY_WOULD_TAKE
    """,
    "stops wait for the last price and then enter": """
        buy 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 5@98
            accepted 2 shows 5 of 5@98
        sell 3 2 stop=100
            armed 3 at 100
        sell 4 2@99 stop=99
            armed 4 at 99
        sell 5 1@100
            accepted 5 shows 0 of 1@100
            trade 5x1 1@100 left 0/4
            triggered 3 at 100
            trade 3x1 2@100 left 0/2
        sell 6 3@98
            accepted 6 shows 0 of 3@98
            trade 6x1 2@100 left 1/0
            trade 6x2 1@98 left 0/4
            triggered 4 at 99
            rested 4 shows 2 of 2@99
    """,
    "a triggered order can set off the next": """
        buy 1 1@100
            accepted 1 shows 1 of 1@100
        buy 2 1@99
            accepted 2 shows 1 of 1@99
        buy 3 1@98
            accepted 3 shows 1 of 1@98
        sell 4 1 stop=100
            armed 4 at 100
        sell 5 1 stop=99
            armed 5 at 99
        sell 6 1
            accepted 6 shows 0 of 1@0
            trade 6x1 1@100 left 0/0
            triggered 4 at 100
            trade 4x2 1@99 left 0/0
            triggered 5 at 99
            trade 5x3 1@98 left 0/0
        book
            |
    """,
    "equal stops fire in the order they were armed, lower buy stops first": """
        sell 1 1@100
            accepted 1 shows 1 of 1@100
        buy 2 1 stop=100
            armed 2 at 100
        buy 3 1 stop=99
            armed 3 at 99
        buy 4 1 stop=100
            armed 4 at 100
        buy 5 1
            accepted 5 shows 0 of 1@0
            trade 5x1 1@100 left 0/0
            triggered 3 at 99
            expired 3 with 1: NO_LIQUIDITY
            triggered 2 at 100
            expired 2 with 1: NO_LIQUIDITY
            triggered 4 at 100
            expired 4 with 1: NO_LIQUIDITY
    """,
    "a take-profit fires on the other side of the market": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        buy 2 1
            accepted 2 shows 0 of 1@0
            trade 2x1 1@100 left 0/4
        sell 3 1 tp=101
            armed 3 at 101
        buy 4 1@97 tp=98
            armed 4 at 98
        sell 5 1 tp=99
            rejected 5 with 1: TRIGGER_IMMEDIATE
        buy 6 1 stop=100
            rejected 6 with 1: TRIGGER_IMMEDIATE
        buy 7 1 tp=101
            rejected 7 with 1: TRIGGER_IMMEDIATE
    """,
    "a take-profit takes when the market has come to it, with a limit no worse than that": """
        sell 1 1@101
            accepted 1 shows 1 of 1@101
        sell 2 4 tp=101
            armed 2 at 101
        sell 3 2@100 tp=101
            armed 3 at 101
        buy 4 3@98
            accepted 4 shows 3 of 3@98
        buy 5 1
            accepted 5 shows 0 of 1@0
            trade 5x1 1@101 left 0/0
            triggered 2 at 101
            trade 2x4 3@98 left 1/0
            expired 2 with 1: NO_LIQUIDITY
            triggered 3 at 101
            rested 3 shows 2 of 2@100
        book
            | 2@100
        buy 6 2@97 tp=97
            armed 6 at 97
        buy 7 1@97
            accepted 7 shows 1 of 1@97
        sell 8 1@97
            accepted 8 shows 0 of 1@97
            trade 8x7 1@97 left 0/0
            triggered 6 at 97
            rested 6 shows 2 of 2@97
        book
            2@97 | 2@100
    """,
    "a trailing stop follows the market and fires when it turns": """
        sell 1 1@100
            accepted 1 shows 1 of 1@100
        buy 2 1
            accepted 2 shows 0 of 1@0
            trade 2x1 1@100 left 0/0
        sell 3 1 trail=3
            armed 3 at 97
        sell 4 1@105
            accepted 4 shows 1 of 1@105
        buy 5 1
            accepted 5 shows 0 of 1@0
            trade 5x4 1@105 left 0/0
        buy 6 2@102
            accepted 6 shows 2 of 2@102
        sell 7 1@102
            accepted 7 shows 0 of 1@102
            trade 7x6 1@102 left 0/1
            triggered 3 at 0
            trade 3x6 1@102 left 0/0
    """,
    "a trailing distance in basis points is taken from the best price": """
        sell 1 1@10000
            accepted 1 shows 1 of 1@10000
        buy 2 1
            accepted 2 shows 0 of 1@0
            trade 2x1 1@10000 left 0/0
        sell 3 1 trailbps=100
            armed 3 at 9900
        buy 4 1 trailbps=50
            armed 4 at 10050
    """,
    "a trailing stop before the first trade starts with it": """
        sell 1 1 trail=3
            armed 1 at 0
        sell 2 1@100
            accepted 2 shows 1 of 1@100
        buy 3 1
            accepted 3 shows 0 of 1@0
            trade 3x2 1@100 left 0/0
        buy 4 2@97
            accepted 4 shows 2 of 2@97
        sell 5 1
            accepted 5 shows 0 of 1@0
            trade 5x4 1@97 left 0/1
            triggered 1 at 0
            trade 1x4 1@97 left 0/0
    """,
    "a waiting order can be amended and cancelled": """
        sell 1 3@95 stop=97
            armed 1 at 97
        amend 1 4@94 stop=96
            replaced 1 to 4@94
        amend 1 4@0 stop=96
            amend_refused 1: REPLACE_INVALID
        cancel 1
            cancelled 1 with 4
    """,
    "a stop that would fire at once is not amended so": """
        buy 1 1@100
            accepted 1 shows 1 of 1@100
        sell 2 1
            accepted 2 shows 0 of 1@0
            trade 2x1 1@100 left 0/0
        sell 3 3 stop=97
            armed 3 at 97
        amend 3 3 stop=101
            amend_refused 3: TRIGGER_IMMEDIATE
    """,
    "orders end when their time runs out, resting or waiting": """
        buy 1 5@100 until=10
            accepted 1 shows 5 of 5@100
        sell 2 5 stop=90 until=5
            armed 2 at 90
        buy 3 5@99 until=10
            accepted 3 shows 5 of 5@99
        time 4
        time 12
            expired 2 with 5: EXPIRED
            expired 1 with 5: EXPIRED
            expired 3 with 5: EXPIRED
        buy 4 5@99 until=12
            rejected 4 with 5: EXPIRED
    """,
    "a halted book takes nothing and lets nothing out, but time goes on": """
        buy 1 5@100 until=9
            accepted 1 shows 5 of 5@100
        status HALTED
            status HALTED
        buy 2 5@100
            rejected 2 with 5: NOT_OPEN
        cancel 1
            cancel_refused 1: NOT_OPEN
        cancel_all
        amend 1 4@100
            amend_refused 1: NOT_OPEN
        time 9
            expired 1 with 5: EXPIRED
    """,
    "a cancel-only book lets orders out": """
        buy 1 5@100
            accepted 1 shows 5 of 5@100
        status CANCEL_ONLY
            status CANCEL_ONLY
        buy 2 5@100
            rejected 2 with 5: NOT_OPEN
        amend 1 4@100
            amend_refused 1: NOT_OPEN
        cancel 1
            cancelled 1 with 5
    """,
    "before a call orders rest, crossed or not, and what must trade at once is turned away": """
        status AUCTION
            status AUCTION
        buy 1 5@105
            accepted 1 shows 5 of 5@105
        sell 2 5@95
            accepted 2 shows 5 of 5@95
        buy 3 5@105 ioc
            rejected 3 with 5: NOT_OPEN
        buy 4 5
            rejected 4 with 5: NOT_OPEN
        buy 5 5@100 min=1
            rejected 5 with 5: NOT_OPEN
        book
            5@105 | 5@95
    """,
    "the call trades at the price with the most volume": """
        status AUCTION
            status AUCTION
        buy 1 10@103
            accepted 1 shows 10 of 10@103
        buy 2 10@101
            accepted 2 shows 10 of 10@101
        sell 3 12@100
            accepted 3 shows 12 of 12@100
        sell 4 8@101 show=1
            accepted 4 shows 1 of 8@101
        sell 5 5@104
            accepted 5 shows 5 of 5@104
        status TRADING
            auction_trade 3x1 10@101 left 2/0
            auction_trade 3x2 2@101 left 0/8
            auction_trade 4x2 8@101 left 0/0
            status TRADING after 20@101
        book
            | 5@104
    """,
    "a call with buyers left over takes the highest of equal prices": """
        status AUCTION
            status AUCTION
        buy 1 20@103
            accepted 1 shows 20 of 20@103
        sell 2 10@100
            accepted 2 shows 10 of 10@100
        status TRADING
            auction_trade 2x1 10@103 left 0/10
            status TRADING after 10@103
    """,
    "a call with sellers left over takes the lowest of equal prices": """
        status AUCTION
            status AUCTION
        buy 1 10@103
            accepted 1 shows 10 of 10@103
        sell 2 20@100
            accepted 2 shows 20 of 20@100
        status TRADING
            auction_trade 2x1 10@100 left 10/0
            status TRADING after 10@100
    """,
    "a balanced call takes the price nearest to the last": """
        sell 1 1@102
            accepted 1 shows 1 of 1@102
        buy 2 1
            accepted 2 shows 0 of 1@0
            trade 2x1 1@102 left 0/0
        status AUCTION
            status AUCTION
        buy 3 10@105
            accepted 3 shows 10 of 10@105
        sell 4 10@100
            accepted 4 shows 10 of 10@100
        status TRADING
            auction_trade 4x3 10@102 left 0/0
            status TRADING after 10@102
    """,
    "a balanced call without a last price takes the middle": """
        status AUCTION
            status AUCTION
        buy 1 10@105
            accepted 1 shows 10 of 10@105
        sell 2 10@100
            accepted 2 shows 10 of 10@100
        status TRADING
            auction_trade 2x1 10@102 left 0/0
            status TRADING after 10@102
    """,
    "the call keeps an account from trading with itself and stops get its price": """
        status AUCTION
            status AUCTION
        buy 1 10@105 acct=7
            accepted 1 shows 10 of 10@105
        sell 2 4@100 acct=7
            accepted 2 shows 4 of 4@100
        sell 3 4@101
            accepted 3 shows 4 of 4@101
        buy 4 1@100 stop=104
            armed 4 at 104
        status TRADING
            expired 2 with 4: SELF_TRADE_PREVENTED
            auction_trade 3x1 4@105 left 0/6
            status TRADING after 4@105
            triggered 4 at 104
            rested 4 shows 1 of 1@100
    """,
    "an order is known once": """
        buy 1 5@100
            accepted 1 shows 5 of 5@100
        buy 1 5@100
            rejected 1 with 5: DUPLICATE_ORDER
        sell 2 1 stop=90
            armed 2 at 90
        sell 2 1@120
            rejected 2 with 1: DUPLICATE_ORDER
    """,
}

GUARDED = BookSettings(price_band_ppm=100_000, interruption_ppm=30_000, interruption_ns=10)

GUARDED_SCRIPTS: dict[str, str] = {
    "nothing is priced outside the band, and a market order stops at its edge": """
        reference 100
        buy 1 5@89
            rejected 1 with 5: PRICE_BAND
        sell 2 5@111
            rejected 2 with 5: PRICE_BAND
        sell 3 5@110
            accepted 3 shows 5 of 5@110
        reference 90
        buy 4 5
            accepted 4 shows 0 of 5@0
            expired 4 with 5: PRICE_BAND
    """,
    "a jump stops trading for a call, which ends by itself": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        sell 2 5@104
            accepted 2 shows 5 of 5@104
        buy 3 2@100
            accepted 3 shows 0 of 2@100
            trade 3x1 2@100 left 0/3
        buy 4 5@104
            accepted 4 shows 0 of 5@104
            trade 4x1 3@100 left 2/0
            status AUCTION
            rested 4 shows 2 of 2@104
        buy 5 1
            rejected 5 with 1: NOT_OPEN
        time 9
        time 10
            auction_trade 4x2 2@104 left 0/3
            status TRADING after 2@104
        book
            | 3@104
    """,
    "a market order that would jump ends and leaves the book to the call": """
        sell 1 1@100
            accepted 1 shows 1 of 1@100
        sell 2 5@104
            accepted 2 shows 5 of 5@104
        buy 3 1
            accepted 3 shows 0 of 1@0
            trade 3x1 1@100 left 0/0
        buy 4 5@104 fok
            accepted 4 shows 0 of 5@104
            expired 4 with 5: FILL_OR_KILL_UNFILLABLE
        buy 5 5
            accepted 5 shows 0 of 5@0
            status AUCTION
            expired 5 with 5: PRICE_BAND
        status TRADING
            status TRADING
    """,
}

BOUNDED = BookSettings(orders_max=2, command_events_max=3)

BOUNDED_SCRIPTS: dict[str, str] = {
    "a full book refuses what would stay and takes what would not": """
        sell 1 5@100
            accepted 1 shows 5 of 5@100
        sell 2 5 stop=90
            armed 2 at 90
        sell 3 5@101
            rejected 3 with 5: FULL
        buy 4 1 stop=120
            rejected 4 with 1: FULL
        buy 5 1@100 ioc
            accepted 5 shows 0 of 1@100
            trade 5x1 1@100 left 0/4
    """,
    "a taker that meets too many orders ends with what is left": """
        sell 1 4@100 show=1
            accepted 1 shows 1 of 4@100
        buy 2 4@100
            accepted 2 shows 0 of 4@100
            trade 2x1 1@100 left 3/3
            refilled 1 shows 1 of 3@100
            expired 2 with 3: COMMAND_LIMIT
    """,
    "fired orders beyond the bound wait for the next command": """
        sell 1 1@100
            accepted 1 shows 1 of 1@100
        buy 2 1 stop=100
            armed 2 at 100
        buy 3 1
            accepted 3 shows 0 of 1@0
            trade 3x1 1@100 left 0/0
            triggered 2 at 100
            expired 2 with 1: NO_LIQUIDITY
        buy 4 1 stop=101
            armed 4 at 101
        sell 5 3@101 show=1
            accepted 5 shows 1 of 3@101
        buy 6 2@101 ioc
            accepted 6 shows 0 of 2@101
            trade 6x5 1@101 left 1/2
            refilled 5 shows 1 of 2@101
            expired 6 with 1: COMMAND_LIMIT
        time 1
            triggered 4 at 101
            trade 4x5 1@101 left 0/1
            refilled 5 shows 1 of 1@101
    """,
}

ALL = [
    pytest.param(settings, script, id=name)
    for settings, scripts in ((BookSettings(), SCRIPTS), (GUARDED, GUARDED_SCRIPTS), (BOUNDED, BOUNDED_SCRIPTS))
    for name, script in scripts.items()
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in IMPLEMENTATIONS.items()])
@pytest.mark.parametrize("settings,script", ALL)
def test_the_book_plays_the_script(
    make: Callable[[BookSettings], OrderBook], settings: BookSettings, script: str
) -> None:
    """Each command gives exactly the events under it, and the invariants hold after it."""
    play(make(settings), script)
