"""Orders in plain words: each slot is read once and taken out of the line; what is left over must be harmless."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from polaris_synapse.agents.conversation import numbers
from polaris_synapse.agents.conversation.intents import (
    Ambiguous,
    Base,
    PartialOrder,
    PlaceOrder,
    Unclear,
)
from polaris_synapse.agents.conversation.line import Line, Names
from polaris_synapse.domain.orders import LIMIT_PRICED, OrderType, Side, TimeInForce

_U = Unclear
_TIMES: Final = {
    "gtc": TimeInForce.GTC,
    "ioc": TimeInForce.IOC,
    "fok": TimeInForce.FOK,
    "day only": TimeInForce.DAY,
    "today only": TimeInForce.DAY,
    "for the day": TimeInForce.DAY,
    "day order": TimeInForce.DAY,
}
_VAGUE: Final = re.compile(
    r"\b(?:some|few|little|bit|lots?|bunch|couple|several|more|as much|as many|ape|allin|full send|"
    r"load up|go big|tiny|small|big|rest|remaining|remainder|max(?:imum)?|third|thirds)\b"
)
_ROUGHLY: Final = re.compile(
    r"\b(?:about|around|roughly|approximately|approx|almost|nearly|ish|circa|up to|at least|at most|or so|between)\b"
    r"|\b[NM]\d+ (?:-|or|to) [NM]\d+\b"
)
_AT: Final = r"(?:at (?:a )?(?:limit )?(?:price )?(?:of )?|limit (?:price )?(?:of |at |is )?|price (?:of |at )?)"
_STOP_AT: Final = r"(?:stop (?:loss )?(?:price )?(?:at |of )?(?:a )?|trigger(?:ed)? (?:price )?(?:at )?)"
_TAKE_AT: Final = r"takeprofit(?: price)? (?:at |of )?"
#: What may be left of an order when every slot has been taken out.
_HARMLESS: Final = frozenset({
    "a", "an", "the", "my", "our", "me", "i", "we", "us", "you", "to", "of", "for", "at", "on", "in", "with", "and",
    "from", "into", "by", "using", "via", "it", "this", "that", "some", "please", "now", "is", "want", "would",
    "like", "d", "ll", "place", "put", "order", "market", "limit", "stop", "worth", "right", "away", "immediately",
    "just", "ok", "okay", "lets", "go", "ahead", "can", "could", "will", "quick", "quickly", "hey", "hi",
    "hello", "then", "so", "asap", "quantity", "size", "amount", "price", "new", "more", "here", "as", "today",
    "trade", "desk", "account", "take", "profit", "profits", "trailing", "loss", "s", "get", "give", "make", "do",
    "spend", "use", "invest", "thanks",
})  # fmt: skip


class _Slots(Struct):
    """The line's text as slots are taken out of it, and what they were."""

    text: str
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

    def take(self, pattern: str) -> re.Match[str] | None:
        """Find a pattern once and take it out of the text."""
        found = re.search(pattern, self.text)
        if found is not None:
            self.text = f"{self.text[: found.start()]} ~ {self.text[found.end() :]}"
            self.text = " ".join(self.text.split())
        return found

    @property
    def sized(self) -> bool:
        """Whether it is said how much."""
        return bool(self.quantity or self.quote_amount or self.percent)

    def partial(self) -> PartialOrder:
        """What is known so far."""
        fields = {name: getattr(self, name) for name in PartialOrder.__struct_fields__}
        return PartialOrder(**fields)


def looks_like_order(line: Line) -> bool:
    """Whether a line has a verb of trading, or an order type, in it."""
    return re.search(
        r"\b(?:buy|sell|bid [NM]\d+|short|ape|allin|spend|invest|stop loss|takeprofit|trailing stop)\b"
        r"|\b(?:put|use) .*(?:P\d+|M\d+|half|everything).*\b(?:into|in|buy)\b|\b(?:get|order) me\b.*S\d+",
        line.text,
    ) is not None  # fmt: skip


def read_order(line: Line, names: Names, account: str, *, text: str = "") -> PlaceOrder | Ambiguous:
    """The order that a line asks for, or what has to be asked about it. ``text`` instead of the line's own."""
    slots = _Slots(text=re.sub(r"[?!.,;:\"]", " ", text or line.text), account=account)
    for step in (_numbers_are_clear, _symbol, _price_words, _side, _terms, _amount):
        problem = step(slots, line)
        if problem is not None:
            if problem.question or problem.partial is None:
                return problem
            return replace(problem, question=question_for(problem.about, problem.partial, names))
    return _complete(slots, line, names)


def question_for(about: Unclear, partial: PartialOrder, names: Names) -> str:
    """How a missing part of an order is asked for."""
    verb = (partial.side or "buy or sell").lower()
    base = names.bases.get(partial.symbol, "") or "it"
    known = ", ".join(sorted(names.bases)) or "nothing yet"
    return {
        _U.QUANTITY: (
            f"How much {base} do you want to {verb}? Give a quantity such as 0.05, an amount such as $500, or a share "
            "such as 25%."
        ),
        _U.SYMBOL: f"Which instrument do you want to {verb}? This desk trades {known}.",
        _U.SIDE: "Do you want to buy or to sell?",
        _U.PRICE: "At which price?",
    }.get(about, "What exactly do you want to order?")


def _unclear(about: Unclear, slots: _Slots, question: str = "") -> Ambiguous:
    return Ambiguous(about=about, question=question, partial=slots.partial())


def _numbers_are_clear(slots: _Slots, line: Line) -> Ambiguous | None:
    unclear = re.findall(r"\bX\d+\b", slots.text)
    if unclear:
        guess = line.value(unclear[0])
        hint = f" Did you mean {guess}?" if guess else ""
        return Ambiguous(about=_U.NUMBER, question=f"I do not read that number.{hint} Write it as 1234.56.")
    if re.search(r"\bE\d+\b|\bforeigncurrency\b", slots.text):
        return Ambiguous(about=_U.CURRENCY, question="This desk does not hold that currency. Give the amount in USDT.")
    values = [line.value(mark) for mark in re.findall(r"\b[NMP]\d+\b", slots.text)]
    if any(not numbers.above_zero(value) for value in values):
        return Ambiguous(about=_U.NUMBER, question="Amounts and prices are above zero. How much do you mean?")
    return None


def _symbol(slots: _Slots, line: Line) -> Ambiguous | None:
    found = list(dict.fromkeys(line.value(mark) for mark in re.findall(r"\bS\d+\b", slots.text)))
    if len(found) > 1:
        return Ambiguous(about=_U.SEVERAL, question="One instrument at a time, please. Which one first?")
    if found == [""]:
        return _unclear(_U.SYMBOL, slots, "Several instruments go by that name. Give its full name.")
    slots.symbol = found[0] if found else ""
    return None


def _price_words(slots: _Slots, line: Line) -> Ambiguous | None:
    """Prices with their words; the order's type follows from them."""
    value = line.value
    trailing = slots.take(r"\btrailing (?:stop )?(?:loss )?(?:(?:of|at|by|with) )?(?:a )?([PNM]\d+)\b")
    trailing = trailing or slots.take(r"\b([PNM]\d+) trailing(?: stop)?(?: loss)?\b")
    if trailing is not None:
        slots.type = OrderType.TRAILING_STOP
        if trailing.group(1).startswith("P"):
            slots.trailing_percent = value(trailing.group(1))
        else:
            slots.trailing_offset = value(trailing.group(1))
        return None
    if re.search(r"\btrailing\b", slots.text):
        slots.type = OrderType.TRAILING_STOP
        return _unclear(_U.PRICE, slots, "How far should the stop trail? Give a percentage such as 2%.")
    take = slots.take(rf"\b{_TAKE_AT}([NM]\d+)\b")
    if take is None and slots.take(r"\btakeprofit\b"):
        take = slots.take(r"\bat ([NM]\d+)\b")
        if take is None:
            return _unclear(_U.PRICE, slots, "At which price do you want to take profit?")
        slots.type = OrderType.TAKE_PROFIT
    stop = None if take is not None else slots.take(rf"\b{_STOP_AT}([NM]\d+)\b")
    if stop is None and take is None and slots.take(r"\bstop (?:loss|order|limit)\b"):
        stop = slots.take(r"\bat ([NM]\d+)\b")
        if stop is None:
            return _unclear(_U.PRICE, slots, "At which price should the stop trigger?")
    trigger = take or stop
    if trigger is not None:
        slots.type = OrderType.TAKE_PROFIT if take is not None else OrderType.STOP
        slots.stop_price = value(trigger.group(1))
    return _limit_price(slots, line)


def _limit_price(slots: _Slots, line: Line) -> Ambiguous | None:
    bid = slots.take(r"\bbid ([NM]\d+) (?:for|on)\b") or slots.take(r"\bbid ([NM]\d+)\b")
    if bid is not None:
        slots.side = Side.BUY
    found = bid or slots.take(rf"\b{_AT}([NM]\d+)\b") or slots.take(r"\b([NM]\d+) limit\b(?! order)")
    worded = slots.take(r"\b(?:limit order|limit|order limit)\b") is not None
    if found is None and worded:
        # "limit buy 0.1 btc 60000": the number that follows the instrument is the price.
        found = slots.take(r"(?<=S\d) ([NM]\d+)(?= |$)") or slots.take(r"(?<=S\d\d) ([NM]\d+)(?= |$)")
        if found is None:
            return _unclear(_U.PRICE, slots)
    if found is None:
        return None
    slots.price = line.value(found.group(1))
    stops = {OrderType.STOP: OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT: OrderType.TAKE_PROFIT_LIMIT}
    slots.type = stops.get(slots.type, OrderType.LIMIT)
    return None


def _side(slots: _Slots, line: Line) -> Ambiguous | None:
    if slots.take(r"\bshort\b"):
        return _unclear(_U.SIDE, slots, "This desk cannot sell short. Do you want to sell what you hold?")
    sides = set() if slots.side is None else {slots.side}
    while slots.take(r"\b(?:pick up|buy back|buy)\b"):
        sides.add(Side.BUY)
    while slots.take(r"\b(?:get rid of|get out of|sell)\b"):
        sides.add(Side.SELL)
    if slots.take(r"\b(?:ape|allin)\b(?: into| in)?(?: on)?") is not None:
        slots.side = Side.BUY
        return _unclear(_U.QUANTITY, slots)
    if len(sides) > 1:
        slots.text = f"{slots.text} ~"
        several = re.search(r"\band\b|\bthen\b", slots.text) is not None
        return _unclear(_U.SEVERAL if several else _U.SIDE, slots)
    if not sides and slots.take(r"\b(?:get|order|fetch) me\b|\b(?:spend|invest)\b|\b(?:put|use)\b"):
        sides.add(Side.BUY)
    if not sides and slots.type in {OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT,
    OrderType.TRAILING_STOP, OrderType.TAKE_PROFIT_LIMIT}:  # fmt: skip
        # On a desk that only sells what it holds, these protect a holding.
        sides.add(Side.SELL)
    slots.side = next(iter(sides), None)
    return None


def _terms(slots: _Slots, line: Line) -> Ambiguous | None:
    for words, time_in_force in _TIMES.items():
        if slots.take(rf"\b{words}\b"):
            slots.time_in_force = time_in_force
    slots.post_only = slots.take(r"\b(?:post only|maker only|only maker|as maker)\b") is not None
    slots.take(r"\bor better\b")
    slots.take(r"\b(?:at (?:the )?market(?: price)?|market(?: order)?|right now|right away|now)\b")
    return None


#: How an amount may be said, in the order in which they are tried, with what it fills in.
def _amount(slots: _Slots, line: Line) -> Ambiguous | None:
    if _ROUGHLY.search(slots.text):
        return _unclear(_U.QUANTITY, slots, "I need the exact amount. How much, exactly?")
    if slots.side is Side.BUY and slots.quantity == "":
        _spend(slots, line)
    if not slots.sized:
        _share(slots, line)
    if not slots.sized:
        for pattern, fill in _AMOUNTS:
            found = slots.take(pattern)
            if found is not None:
                fill(slots, line, found)
                break
    surplus = re.findall(r"\b[NMP]\d+\b", slots.text)
    if surplus and slots.sized and re.search(rf"\b(?:for|at|worth) (?:just |only )?{surplus[0]}\b", slots.text):
        return _unclear(
            _U.PRICE,
            slots,
            f"Is {line.value(surplus[0])} the price of one, or the amount in all? Say 'at "
            f"{line.value(surplus[0])}' for a "
            "limit price, or give only the amount.",
        )
    if surplus:
        return _unclear(_U.NUMBER, slots, f"What is {line.value(surplus[0])} in your order?")
    if not slots.sized and _VAGUE.search(slots.text):
        return _unclear(_U.QUANTITY, slots)
    return None


def _spend(slots: _Slots, line: Line) -> None:
    """Shares of the cash: they buy, whatever the instrument."""
    cash = r"(?:(?:my|the|our|available|free) )*(?:cash|balance|account|quote)"
    share = slots.take(rf"\b(P\d+|half|quarter|threequarters|everything) (?:of )?{cash}\b")
    if share is not None:
        _percent(slots, line, share.group(1), Base.CASH)
    elif slots.take(r"\bwith everything\b|\beverything (?:on|in|into)\b|\b(?:with|for) (?:everything )?my cash\b"):
        _percent(slots, line, "everything", Base.CASH)


def _share(slots: _Slots, line: Line) -> None:
    """Shares of what is held: they are sold. ``half a bitcoin`` is a quantity and no share."""
    if re.search(r"\b(?:half|quarter|threequarters) (?:of )?(?:a|an|one) S\d+", slots.text):
        return
    held = (
        r"(?: (?:of )?(?:the |my |our |it|what )*(?:i (?:have|own|hold|got) )?(?:in )?"
        r"(?:position|bag|stash|holding|stack)?)?"
    )
    share = slots.take(rf"\b(P\d+|half|quarter|threequarters|everything){held}\b")
    if share is not None:
        base = Base.POSITION if slots.side is not Side.BUY else Base.CASH
        _percent(slots, line, share.group(1), base)
        slots.take(r"\b(?:i )?(?:have|own|hold|got)\b")
        slots.take(r"\b(?:position|bag|stash|holding|stack)\b")


def _percent(slots: _Slots, line: Line, said: str, base: Base) -> None:
    worded = {"half": "50", "quarter": "25", "threequarters": "75", "everything": "100"}
    slots.percent = worded.get(said) or line.value(said)
    slots.percent_of = base


def _fraction_of_one(slots: _Slots, line: Line, found: re.Match[str]) -> None:
    shares = {"half": "0.5", "quarter": "0.25", "threequarters": "0.75"}
    slots.quantity = shares[found.group(1)]


def _money(slots: _Slots, line: Line, found: re.Match[str]) -> None:
    slots.quote_amount = line.value(found.group(1))


def _quantity(slots: _Slots, line: Line, found: re.Match[str]) -> None:
    slots.quantity = line.value(found.group(1))


def _one(slots: _Slots, line: Line, found: re.Match[str]) -> None:
    slots.quantity = "1"


_AMOUNTS: Final[tuple[tuple[str, Callable[[_Slots, Line, re.Match[str]], None]], ...]] = (
    (r"\b(half|quarter|threequarters) (?:of )?(?:a|an|one)\b", _fraction_of_one),
    (r"\b(N\d+)(?= (?:of )?(?:whole )?S\d+)", _quantity),
    (r"\b(N\d+)(?= (?:cash )?(?:worth|of))", _money),
    (r"\b(M\d+)(?: (?:worth|in))?\b", _money),
    (r"\b(?:quantity|size|amount) (?:of |is )?(N\d+)\b", _quantity),
    (r"\b(N\d+)\b", _quantity),
    (r"\b(?:a|an|another|one more)(?= (?:whole )?S\d+)", _one),
)


def _complete(slots: _Slots, line: Line, names: Names) -> PlaceOrder | Ambiguous:
    """The order, when nothing is missing and nothing that was said is left over."""
    left = [word for word in re.findall(r"\b[a-z][a-z0-9]*\b", slots.text) if word not in _HARMLESS]
    unknown = [word for word in left if word in line.unknown]
    about = None
    if not slots.symbol:
        about = _U.SYMBOL
    elif slots.side is None:
        about = _U.SIDE
    elif not slots.sized:
        about = _U.QUANTITY
    if about is not None:
        partial = slots.partial()
        return Ambiguous(about=about, question=question_for(about, partial, names), partial=partial)
    if left:
        return Ambiguous(
            about=_U.ACTION,
            question=f"I do not know what {(unknown or left)[0]!r} means for an order. Say the order again without it.",
        )
    assert slots.side is not None
    if slots.percent and slots.percent_of is Base.CASH and slots.side is Side.SELL:
        return _unclear(_U.QUANTITY, slots)
    if numbers.above_zero(slots.percent or "1") and slots.percent and not numbers.at_most(slots.percent, "100"):
        return _unclear(_U.QUANTITY, slots, "More than 100 % of what is there cannot be traded. How much do you mean?")
    if slots.post_only and slots.type not in LIMIT_PRICED:
        return _unclear(_U.PRICE, slots, "A post-only order needs a limit price. At which price?")
    known = slots.partial()
    return PlaceOrder(**{**asdict(known), "side": slots.side})
