"""Random commands for order books, the same for the same seed."""

from __future__ import annotations

import random

from polaris_synapse.matching.core.port import BookSettings, CommandRow

LIMIT, MARKET, STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT, TRAILING = range(7)
MID = 100

SETTINGS = {
    "plain": BookSettings(),
    "small": BookSettings(orders_max=12, command_events_max=6),
    "guarded": BookSettings(price_band_ppm=80_000, interruption_ppm=30_000, interruption_ns=7),
    "stepwise": BookSettings(stepwise=True),
}


def submit_row(draw: random.Random, order_id: int) -> CommandRow:
    """An order near the mid, of any type; most are sound, some are not."""
    side = draw.randrange(2)
    type_ = draw.choice(
        (LIMIT, LIMIT, LIMIT, LIMIT, MARKET, STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT, TRAILING)
    )
    force = draw.choice((0, 0, 0, 1, 2))
    post = draw.choice((0, 0, 0, 0, 1, 2)) if force == 0 else 0
    lots = draw.randint(1, 20)
    limit = type_ in (LIMIT, STOP_LIMIT, TAKE_PROFIT_LIMIT)
    price = MID + draw.randint(-8, 8) if limit else 0
    stop = MID + draw.randint(-6, 6) if type_ in (STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT) else 0
    in_bps = type_ == TRAILING and draw.random() < 0.5
    trailing = draw.randint(50, 400) if in_bps else draw.randint(1, 4) if type_ == TRAILING else 0
    display = draw.randint(1, lots) if limit and force == 0 and draw.random() < 0.3 else 0
    minimum = draw.randint(1, lots) if not post and draw.random() < 0.15 else 0
    expire = draw.randint(1, 60) if force == 0 and type_ != MARKET and draw.random() < 0.3 else 0
    budget = 0
    if type_ == MARKET and draw.random() < 0.4:
        budget, lots, display, minimum = draw.randint(1, 3000), 0, 0, 0
    if draw.random() < 0.03:
        price, lots = draw.choice(((0, lots), (-1, lots), (price, 0), (price, -5), (2**40, lots)))
    flags = side | type_ << 1 | force << 4 | (post if limit else 0) << 6 | draw.randrange(5) << 8 | in_bps << 11
    return (0, flags, order_id, draw.randint(1, 4), price, lots, stop, trailing, display, minimum, budget, expire)


def command_rows(seed: int, count: int) -> list[CommandRow]:
    """Random commands over a few accounts and prices, so that they meet each other."""
    draw = random.Random(seed)
    rows: list[CommandRow] = []
    placed: dict[int, tuple[int, int, int]] = {}
    next_id, now = 1, 0
    auctions = draw.random() < 0.5
    for _ in range(count):
        chance = draw.random()
        recent = draw.randint(max(1, next_id - 25), next_id)
        if chance < 0.68:
            row = submit_row(draw, recent if draw.random() < 0.02 else next_id)
            placed[row[2]] = (row[4], row[5], row[6])
            rows.append(row)
            next_id += 1
        elif chance < 0.80:
            rows.append((1, 8000, recent))
        elif chance < 0.90:
            # Half the time only the quantity changes; then it matters whether it goes down.
            price, lots, stop = placed.get(recent, (0, 20, 0))
            if draw.random() < 0.5:
                price = draw.choice((0, MID + draw.randint(-8, 8), MID + draw.randint(-8, 8)))
                stop = draw.choice((0, 0, MID + draw.randint(-6, 6)))
            rows.append((2, 0, recent, 0, price, draw.randint(1, max(lots, 1) + 3), stop))
        elif chance < 0.96:
            now += draw.randint(0, 5)
            rows.append((5, now))
        elif chance < 0.965:
            rows.extend([(7, 0)] * draw.randint(1, 4))
        elif chance < 0.97:
            rows.append((3, 8001, 0, draw.randrange(5), 0, 0, draw.randrange(3)))
        elif chance < 0.98:
            rows.append((6, MID + draw.randint(-3, 3)))
        elif auctions:
            rows.extend([(4, draw.choice((1, 2, 3, 3, 3))), *(submit_row(draw, next_id + n) for n in range(8)), (4, 0)])
            next_id += 8
    return rows
