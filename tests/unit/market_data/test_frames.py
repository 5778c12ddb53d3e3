"""Frames become messages exactly, and what is no frame is refused with one sentence and without a crash."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.market_data.market_messages import BTCUSDT

from polaris_synapse.domain.messages import BookSnapshotReceived, BookTickerReceived, DepthReceived, TradeReceived
from polaris_synapse.domain.orders import Side
from polaris_synapse.market_data.feeds.frames import FrameError, FrameParser
from polaris_synapse.market_data.feeds.wire import encode_frame

PARSER = FrameParser([BTCUSDT], source="test")

TICKER = {"u": 7, "s": "BTCUSDT", "b": "61837.63000000", "B": "1.54698000", "a": "61837.64000000", "A": "2.00000000"}


def frame(stream: str, data: object) -> bytes:
    """A combined-stream frame."""
    return json.dumps({"stream": stream, "data": data}).encode()


def test_a_trade_is_read_exactly() -> None:
    """Text goes straight to ticks and lots; a buyer who is the maker means that a seller took."""
    data = {"e": "trade", "E": 3, "s": "BTCUSDT", "t": 9, "p": "61837.63000000", "q": "0.02000000", "T": 2, "m": True}
    assert PARSER.stream_frame(frame("btcusdt@trade", data), 5) == TradeReceived(
        time_ns=5,
        symbol="BTCUSDT",
        source="test",
        trade_id=9,
        price_ticks=6_183_763,
        quantity_lots=2000,
        aggressor=Side.SELL,
        trade_time_ns=2_000_000,
    )


def test_numbers_written_another_way_are_read_too() -> None:
    """Fewer decimals than usual are the same number."""
    message = PARSER.stream_frame(frame("btcusdt@bookTicker", TICKER | {"b": "61837.6", "B": "1"}), 5)
    assert isinstance(message, BookTickerReceived)
    assert (message.bid_ticks, message.bid_lots) == (6_183_760, 100_000)


def test_a_quantity_off_the_lot_grid_is_rounded_down_but_not_to_nothing() -> None:
    """Binance's books hold such quantities; the level stays, with less rather than more in it."""
    parser = FrameParser([BTCUSDT], source="test")
    data = {"E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["1.00000000", "25.42618900"]], "a": [["2", "0.000001"]]}
    message = parser.stream_frame(frame("btcusdt@depth@100ms", data), 5)
    assert isinstance(message, DepthReceived)
    assert message.bids == ((100, 2_542_618),)
    assert message.asks == ((200, 1),)
    assert parser.quantities_off_lot == 2


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'{"stream":"btcusdt@trade"}',
        frame("btcusdt@trade", {"s": "BTCUSDT"}),
        frame("ethusdt@bookTicker", TICKER | {"s": "ETHUSDT"}),
        frame("btcusdt@bookTicker", TICKER | {"s": "ETHUSDT"}),
        frame("btcusdt@kline_1m", {}),
        frame("btcusdt@bookTicker", TICKER | {"b": "-1.00000000"}),
        frame("btcusdt@bookTicker", TICKER | {"b": "1e5"}),
        frame("btcusdt@bookTicker", TICKER | {"b": "61837.63500000"}),
        frame("btcusdt@bookTicker", TICKER | {"b": "0.00000000"}),
        frame("btcusdt@bookTicker", TICKER | {"B": "0.00000000"}),
        frame("btcusdt@bookTicker", TICKER | {"b": "\u0661.00000000"}),
        frame("btcusdt@bookTicker", TICKER | {"b": " 1.00000000"}),
        frame("btcusdt@bookTicker", TICKER | {"b": "1_0.00000000"}),
        frame("btcusdt@bookTicker", TICKER | {"b": "9" * 5000 + ".00000000"}),
        frame("btcusdt@bookTicker", TICKER | {"b": 61837.63}),
        frame("btcusdt@bookTicker", TICKER | {"u": "7"}),
        frame("btcusdt@depth@100ms", {"E": 1, "s": "BTCUSDT", "U": 5, "u": 4, "b": [], "a": []}),
        frame("btcusdt@depth@100ms", {"E": 1, "s": "BTCUSDT", "U": 5, "u": 6, "b": [["1"]], "a": []}),
    ],
)
def test_bad_frames_are_refused(bad: bytes) -> None:
    """Whatever is wrong with a frame, the answer is a FrameError."""
    with pytest.raises(FrameError):
        PARSER.stream_frame(bad, 1)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_crash_the_parser(data: bytes) -> None:
    """Random bytes are refused as frames, as snapshots and as trades, and nothing else is raised."""
    reads: list[Callable[[], object]] = [
        lambda: PARSER.stream_frame(data, 1),
        lambda: PARSER.snapshot(data, "BTCUSDT", 1),
        lambda: PARSER.stream_frame(b'{"stream":"btcusdt@trade","data":' + data + b"}", 1),
    ]
    for read in reads:
        with pytest.raises(FrameError):
            read()


LEVELS = st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**12)), max_size=5).map(tuple)
IDS = st.integers(0, 2**60)
MILLISECONDS = st.integers(1, 2**40).map(lambda ms: ms * 1_000_000)
COMMON = {"time_ns": st.just(5), "symbol": st.just("BTCUSDT"), "source": st.just("test")}
MESSAGES = st.one_of(
    st.builds(BookSnapshotReceived, **COMMON, last_update_id=IDS, bids=LEVELS, asks=LEVELS),
    st.builds(
        DepthReceived,
        **COMMON,
        first_update_id=st.just(1),
        last_update_id=IDS.map(lambda i: i + 1),
        bids=LEVELS,
        asks=LEVELS,
        event_time_ns=MILLISECONDS,
    ),
    st.builds(
        TradeReceived,
        **COMMON,
        trade_id=IDS,
        price_ticks=st.integers(1, 10**9),
        quantity_lots=st.integers(1, 10**12),
        aggressor=st.sampled_from(Side),
        trade_time_ns=MILLISECONDS,
    ),
    st.builds(
        BookTickerReceived,
        **COMMON,
        update_id=IDS,
        bid_ticks=st.integers(1, 10**9),
        bid_lots=st.integers(1, 10**12),
        ask_ticks=st.integers(1, 10**9),
        ask_lots=st.integers(1, 10**12),
    ),
)


@given(MESSAGES)
def test_what_is_written_as_a_frame_is_read_back_the_same(
    message: BookSnapshotReceived | DepthReceived | TradeReceived | BookTickerReceived,
) -> None:
    """Writing and reading Binance's format are inverse to each other."""
    encoded = encode_frame(message, BTCUSDT)
    if isinstance(message, BookSnapshotReceived):
        assert PARSER.snapshot(encoded, "BTCUSDT", 5) == message
    else:
        assert PARSER.stream_frame(encoded, 5) == message
