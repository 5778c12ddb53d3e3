"""Seeded streams through everything that is compiled; prints digests. Run in either form: ``python -X plain-cores``."""

from __future__ import annotations

import random
import sys
from hashlib import sha256

import msgspec

from polaris_synapse.compiled import plain_packages
from polaris_synapse.domain.instruments import INTERNAL_VENUE, Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Order, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.order_params import OrderParams
from polaris_synapse.order_gateway.order_parsing import parse_order
from polaris_synapse.order_gateway.viewing import order_view
from polaris_synapse.testing.simulation.runner import run_seed
from polaris_synapse.web.bodies import decode_json
from polaris_synapse.web.errors import ApiError

SEEDS = range(8)
STEPS = 60
BODIES = 3_000
INSTRUMENT = Instrument(
    symbol="BTCUSDT.INT",
    base=Asset(code="BTC", decimals=8),
    quote=Asset(code="USDT", decimals=8),
    tick_units=1_000_000,
    lot_units=1_000,
    venue=INTERNAL_VENUE,
)
#: Values of an order's fields, right ones and wrong ones.
FIELDS: dict[str, tuple[object, ...]] = {
    "symbol": ("BTCUSDT.INT",),
    "side": ("BUY", "SELL"),
    "type": ("LIMIT", "LIMIT", "LIMIT", "MARKET", "STOP", "STOP_LIMIT", "TRAILING_STOP", "NONE"),
    "quantity": ("0.001", "1", "0", "0.000001", "1e3", None),
    "quote_amount": (None, None, None, "100"),
    "price": ("60000", "60000.01", "60000.001", "-1", None),
    "stop_price": (None, None, None, "59000"),
    "trailing_offset": (None, None, None, "5"),
    "trailing_offset_bps": (None, None, 50, 0),
    "time_in_force": ("GTC", "IOC", "GTD", None),
    "expire_time": (None, None, "2027-01-01T00:00:00Z", "soon"),
    "post_only": (None, "REJECT"),
    "display_quantity": (None, None, "0.001", "2"),
    "min_quantity": (None, None, "0.001"),
}


def gateway_digest() -> str:
    """A digest of what becomes of seeded bodies: the order in ticks and lots and its answer, or the refusal."""
    chance, digest = random.Random(1), sha256()  # a reproducible stream, nothing secret
    for number in range(BODIES):
        drawn = {name: chance.choice(values) for name, values in FIELDS.items()}
        body = msgspec.json.encode({name: value for name, value in drawn.items() if value is not None})
        try:
            request = parse_order(
                decode_json(body, OrderParams), INSTRUMENT, account="alice", client_order_id=f"c-{number}"
            )
        except ApiError as error:
            digest.update(f"{error.reason} {error}".encode())
            continue
        order = Order(
            order_id=number,
            request=request,
            venue=INTERNAL_VENUE,
            state=chance.choice(tuple(OrderState)),
            quantity_lots=request.quantity_lots,
            price_ticks=request.price_ticks,
            stop_price_ticks=request.stop_price_ticks,
            filled_lots=number % 3,
            filled_notional_units=number % 3 * 6_000_001,
            reason=chance.choice((Reason.NONE, Reason.INSUFFICIENT_FUNDS)),
            created_time_ns=number * 10**15,
        )
        digest.update(msgspec.json.encode((request, order_view(order, INSTRUMENT))))
    return digest.hexdigest()


def main() -> None:
    """How many packages are plain, and a digest of each stream."""
    digests = [*(run_seed(seed, STEPS).fingerprint for seed in SEEDS), gateway_digest()]
    sys.stdout.write("\n".join([str(len(plain_packages())), *digests]))


if __name__ == "__main__":
    main()
