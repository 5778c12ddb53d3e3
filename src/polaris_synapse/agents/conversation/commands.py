"""Commands about what exists already, about trading as a whole, and about what is to be done later."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from polaris_synapse.agents.conversation.intents import (
    Ambiguous,
    CancelOrders,
    ClosePosition,
    Control,
    ControlTrading,
    PlaceOrder,
    ReplaceOrder,
    StandingInstruction,
    Trigger,
    Unclear,
)
from polaris_synapse.agents.conversation.line import Line, Names
from polaris_synapse.domain.orders import Side

_SHARES: Final = {"half": "50", "quarter": "25", "threequarters": "75"}

_FLATTEN: Final = re.compile(r"\bflatten\b|\bgo flat\b|\bget me flat\b|\bpanic sell\b")
_HALT: Final = re.compile(
    r"^(?:please )?(?:halt|stop|emergency)(?: (?:trading|everything|the desk|desk|all trading|now|stop|it all"
    r"|it))*[ !.]*$"
    r"|\bkillswitch\b.*\b(?:on|pull|hit|activate)\b|\b(?:hit|pull|activate|press) (?:the )?killswitch\b"
    r"|\b(?:halt|stop) (?:all )?(?:the )?trading(?: now)?[ !.]*$"
)
_HALT_SYMBOL: Final = re.compile(r"^(?:halt|stop)(?: all)? (?:trading )?(?:in |on |with )?S\d+(?: trading)?[ !.]*$")
_RESUME: Final = re.compile(
    r"\b(?:resume|unhalt|reenable)\b(?: (?:trading|the desk|desk|everything|account|my account|all))*[ !.]*$"
    r"|\bstart trading(?: again)?\b|\bkillswitch off\b|\b(?:turn|switch) off (?:the )?killswitch\b"
    r"|\brelease (?:the )?killswitch\b"
)
_BREAKER: Final = re.compile(r"\bbreaker\b")
_BREAKER_RESET: Final = re.compile(r"\b(?:reset|close|untrip|clear|resume|switch back|rearm)\b")
_BREAKER_TRIP: Final = re.compile(r"\b(?:trip|activate|pull|hit|throw|open|trigger)\b")
_AGENT_PAUSE: Final = re.compile(
    r"\b(?:pause|stop|halt|disable|mute) (?:the )?agent\b|\b(?:turn|switch|shut) (?:the )?agent (?:off|down)\b"
    r"|\b(?:turn|switch|shut) (?:off|down) (?:the )?agent\b|^agent (?:stop|pause|off)[ !.]*$"
)
_AGENT_RESUME: Final = re.compile(
    r"\b(?:resume|start|enable|unpause|wake) (?:up )?(?:the )?agent\b|\blet (?:the )?agent (?:go on|trade"
    r"|continue|run)\b"
    r"|\b(?:turn|switch) (?:the )?agent (?:back )?on\b|\b(?:turn|switch) (?:back )?on (?:the )?agent\b"
)

_ORDER_MARK: Final = r"(?:(?:order )?(O\d+)|order (?:number |no |id )?(N\d+))"
_CANCEL: Final = re.compile(r"^(?:\w+ ){0,3}?cancel\b")

_CAP: Final = re.compile(
    r"\b(?:never|do not(?: ever)?|don't)\b.*\b(?:hold|have|own|be|keep|holding|put)\b.*\bmore than\b|\b(?:keep"
    r"|hold|cap|"
    r"limit|stay)\b.*\b(?:below|at most|no more than|max(?:imum)?|less than|to|at)\b.*P\d+"
    r"|\b(?:at most|no more than|max(?:imum)?(?: of)?) P\d+ (?:in|of)\b"
)
_RECURRING: Final = re.compile(
    r"\b(?:every|each) (?!time)(?:N\d+ )?\w+|\b(?:daily|hourly|weekly|monthly)\b|\bdca\b|\bon (?:mon|tues|wednes|thurs"
    r"|fri|satur|sun)days\b"
)
_TIME: Final = re.compile(
    r"\b(?:tomorrow|tonight|next (?:week|month|day|hour|monday|tuesday|wednesday|thursday|friday|saturday"
    r"|sunday)|later)\b"
    r"|\b(?:at|by|before|after|until) T\d+\b|\bin (?:an?|N\d+) (?:hour|minute|day|week|second)s?\b"
    r"|\bon (?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
    r"|\b(?:after|before|at) (?:the )?(?:close|open|midnight|noon)\b"
)
#: Conditions that wait for something to happen once, and those that wait again and again.
_ONCE: Final = frozenset({"if", "when", "once", "as soon as", "in case", "should it"})
_REPEATED: Final = frozenset({"every time", "each time", "any time", "whenever"})
#: What a condition on a price may consist of, besides its values.
_CONDITION_WORDS: Final = frozenset({
    "it", "the", "its", "price", "market", "is", "at", "to", "by", "goes", "go", "gets", "get", "drop", "rise",
    "below", "above", "hit", "break", "trade", "down", "up", "lower", "higher", "then",
})  # fmt: skip
_CONDITION: Final = re.compile(
    r"\b(?:(?:every|each|any) time|if|when|whenever|once|as soon as|unless|in case"
    r"|should it|while|until|after|before)\b"
)
_WINDOW: Final = re.compile(
    r"\b(?:in|within|over|during) (?:(?:an?|the next|one|(N\d+)) )?(hour|minute|day|week|h|m|d)\b"
)
_WINDOW_SECONDS: Final = {"minute": 60, "m": 60, "hour": 3_600, "h": 3_600, "day": 86_400, "d": 86_400, "week": 604_800}
#: A share of the account that one asset is: "it is more than 30% of my account".
_SHARE: Final = re.compile(
    r"(?:it|S\d+) (?:is|gets to|becomes|makes up) (above|more than|below|less than) (P\d+) of (?:my |the |our )?"
    r"(?:account|portfolio|equity)"
)
_DOWN: Final = r"\b(?:drop|down|lower|below|decline|loses?)\b"
_UP: Final = r"\b(?:rise|up|higher|above)\b"


def read_control(line: Line, account: str) -> ControlTrading | None:
    """Stopping or starting; None where it is neither."""

    def control(action: Control, scope: str = "account") -> ControlTrading:
        return ControlTrading(action=action, scope=scope, account=account)

    text = re.sub(r"\b(?:please|now|immediately|right)\b", " ", line.text)
    text = " ".join(text.split())
    symbols = line.symbols()
    scope = symbols[0] if len(symbols) == 1 and symbols[0] else "desk"
    if _BREAKER.search(text):
        if _BREAKER_RESET.search(text):
            return control(Control.RESET_BREAKER, scope)
        if _BREAKER_TRIP.search(text):
            return control(Control.TRIP_BREAKER, scope)
    if _AGENT_PAUSE.search(text):
        return control(Control.PAUSE_AGENT)
    if _AGENT_RESUME.search(text):
        return control(Control.RESUME_AGENT)
    if _FLATTEN.search(text):
        return control(Control.FLATTEN)
    if _HALT_SYMBOL.search(text) and scope != "desk":
        return control(Control.TRIP_BREAKER, scope)
    whole = "desk" if re.search(r"\b(?:the|whole|entire) desk\b|\bfor everyone\b", text) else "account"
    if _HALT.search(text):
        return control(Control.HALT, whole)
    if _RESUME.search(text):
        if re.search(r"\bS\d+\b", text):
            return control(Control.RESET_BREAKER, scope)
        return control(Control.RESUME, whole)
    return None


def read_cancel(line: Line, account: str) -> CancelOrders | Ambiguous | None:
    """Cancelling orders; None where nothing is to be cancelled."""
    text = line.text
    if not _CANCEL.match(text):
        return None
    if re.search(r"\b(?:and|then)\b.*\b(?:buy|sell|close|flatten|halt)\b", text):
        return Ambiguous(about=Unclear.SEVERAL, question="One thing at a time, please. What first?")
    one = re.search(_ORDER_MARK, text) or re.search(r"\bcancel (?:number )?(N\d+)\b", text)
    symbols = line.symbols()
    if len(symbols) > 1:
        return Ambiguous(about=Unclear.SEVERAL, question="One instrument at a time, please. Which one first?")
    if one is not None:
        number = line.value(next(group for group in one.groups() if group))
        if len(re.findall(r"\b[NO]\d+\b", text)) > 1:
            return Ambiguous(about=Unclear.SEVERAL, question="One order at a time, please. Which one first?")
        if number.isdigit():
            return CancelOrders(order_id=int(number), account=account)
    side = {Side.BUY for _ in re.findall(r"\bbuy\b", text)} | {Side.SELL for _ in re.findall(r"\bsell\b", text)}
    if re.search(r"\b(?:everything|every|any|both)\b", text):
        return CancelOrders(
            everything=True,
            symbol=symbols[0] if symbols else "",
            side=next(iter(side)) if len(side) == 1 else None,
            account=account,
        )
    return Ambiguous(about=Unclear.ORDER, question="Which order? Give its number, such as: cancel order 2048. Or say: "
                     "cancel everything.")  # fmt: skip


def read_replace(line: Line, account: str) -> ReplaceOrder | Ambiguous | None:
    """Changing an order; None where none is to be changed."""
    text = line.text
    found = re.search(rf"\b(?:change|lower|raise|set|make|increase|decrease|reduce)\b.*?{_ORDER_MARK}", text)
    if found is None:
        return None
    if line.marks("X"):
        return Ambiguous(about=Unclear.NUMBER, question="I do not read that number. Write it as 1234.56.")
    order_id = line.value(found.group(1) or found.group(2))
    rest = text[found.end() :]
    stop = re.search(r"\b(?:stop|trigger)(?: price)?(?: to| at)? ([NM]\d+)\b", rest)
    if stop is not None:
        rest = rest[: stop.start()] + rest[stop.end() :]
    quantity = re.search(r"\b(?:quantity|size|amount)(?: to| at)? (N\d+)\b|\bto (N\d+) S\d+", rest)
    if quantity is not None:
        rest = rest[: quantity.start()] + rest[quantity.end() :]
    price = re.search(r"\b(?:price |limit )?(?:to|at) ([NM]\d+)\b|\b(?:price|limit) ([NM]\d+)\b", rest)
    if not order_id.isdigit() or (stop is None and quantity is None and price is None):
        return Ambiguous(about=Unclear.PRICE, question="What should be changed to what? Such as: change order 2048 "
                         "price to 61000.")  # fmt: skip

    def value(match: re.Match[str] | None) -> str:
        return line.value(next(group for group in match.groups() if group)) if match is not None else ""

    return ReplaceOrder(
        order_id=int(order_id), quantity=value(quantity), price=value(price), stop_price=value(stop), account=account
    )


def read_close(line: Line, account: str) -> ClosePosition | Ambiguous | None:
    """Closing a position; None where none is to be closed."""
    text = line.text
    if not re.match(r"^(?:\w+ ){0,3}?close\b|^get (?:me )?out of\b", text) or re.search(r"\border\b", text):
        return None
    symbols = line.symbols()
    if len(symbols) > 1:
        return Ambiguous(about=Unclear.SEVERAL, question="One position at a time, please. Which one first?")
    if symbols == [""]:
        return Ambiguous(about=Unclear.SYMBOL, question="Several instruments go by that name. Give its full name.")
    share = re.search(r"\b(P\d+|half|quarter|threequarters)\b", text)
    percent = _SHARES.get(share.group(1), "") or line.value(share.group(1)) if share is not None else "100"
    if line.marks("N") or line.marks("X"):
        return Ambiguous(
            about=Unclear.QUANTITY, question="Say how much as a share, such as 50%, or sell an exact quantity."
        )
    if not symbols and not re.search(r"\beverything\b", text):
        return Ambiguous(
            about=Unclear.SYMBOL, question="Which position? Name the instrument, or say: close all positions."
        )
    return ClosePosition(symbol=symbols[0] if symbols else "", percent=percent, account=account)


def read_standing(
    line: Line, names: Names, order: Callable[[str], PlaceOrder | Ambiguous]
) -> StandingInstruction | Ambiguous | None:
    """What is to be done later or always; None where a message is neither. ``order`` reads an order out of a text."""
    text = line.text
    symbols = [symbol for symbol in line.symbols() if symbol]
    symbol = symbols[0] if len(symbols) == 1 else ""
    percents = line.marks("P")
    if percents and _CAP.search(text):
        return StandingInstruction(trigger=Trigger.CAP, value=line.value(percents[0]), symbol=symbol)
    found = _conditional(line, order) or _timed(line, order)
    if found is None or isinstance(found, Ambiguous):
        return found
    trigger, value, window, wanted = found
    return StandingInstruction(
        trigger=trigger, value=value, symbol=wanted.symbol or symbol, window_seconds=window, order=wanted
    )


_Found = tuple[Trigger, str, int, PlaceOrder]


def _timed(line: Line, order: Callable[[str], PlaceOrder | Ambiguous]) -> _Found | Ambiguous | None:
    for trigger, pattern in ((Trigger.RECURRING, _RECURRING), (Trigger.TIME, _TIME)):
        when = pattern.search(line.text)
        if when is not None:
            rest = line.text[: when.start()] + line.text[when.end() :]
            if not re.search(r"\b(?:buy|sell)\b", rest):
                return None
            wanted = order(rest)
            if isinstance(wanted, Ambiguous):
                return wanted
            return trigger, _worded(line, when.group()), 0, wanted
    return None


def _worded(line: Line, text: str) -> str:
    """A part of a line with its values in the place of its marks."""
    words = [line.values.get(word, word) for word in text.split()]
    return " ".join(words).removeprefix("at ").removeprefix("on ")


def _conditional(line: Line, order: Callable[[str], PlaceOrder | Ambiguous]) -> _Found | Ambiguous | None:
    cut = _CONDITION.search(line.text)
    if cut is None or not re.search(r"\b(?:buy|sell|bid)\b", line.text):
        return None
    before, after = line.text[: cut.start()], line.text[cut.end() :]
    if re.search(r"\b(?:buy|sell|bid)\b", before):
        action, condition = before, after
    else:
        # "If btc hits 70000 sell 0.1": the order begins at its verb, and means what the condition is about.
        verb = re.search(r"\b(?:buy|sell|bid)\b", after)
        assert verb is not None
        condition, action = after[: verb.start()], before + after[verb.start() :]
        action = re.sub(r"\b(?:then|please)\b", " ", action)
    about = re.findall(r"\bS\d+\b", condition)
    if about and not re.search(r"\bS\d+\b", action):
        action = re.sub(r"\b(N\d+)\b", rf"\1 {about[0]}", action, count=1)
    wanted = order(re.sub(r"\b(?:then|please|,)\s*$", " ", action))
    if isinstance(wanted, Ambiguous):
        return wanted
    if about and line.value(about[0]) != wanted.symbol:
        return Trigger.OTHER, _worded(line, condition.strip(" .!?,")), 0, wanted
    if cut.group() in _REPEATED:
        return Trigger.RECURRING, _worded(line, f"{cut.group()} {condition.strip(' .!?,')}"), 0, wanted
    if cut.group() not in _ONCE:
        return Trigger.OTHER, _worded(line, f"{cut.group()} {condition.strip(' .!?,')}"), 0, wanted
    trigger, value, window = _trigger(line, condition)
    return trigger, value, window, wanted


def _trigger(line: Line, condition: str) -> tuple[Trigger, str, int]:
    """The trigger of a condition that says nothing besides; every other condition is OTHER, in its own words."""
    window = _WINDOW.search(condition)
    seconds = 0
    if window is not None:
        count = line.value(window.group(1)) if window.group(1) else "1"
        seconds = int(count) * _WINDOW_SECONDS[window.group(2)] if count.isdigit() else 0
        condition = condition[: window.start()] + condition[window.end() :]
    share = _SHARE.fullmatch(condition.strip(" .!?,"))
    if share is not None and not seconds:
        above = share.group(1) in {"above", "more than"}
        return (Trigger.SHARE_ABOVE if above else Trigger.SHARE_BELOW), line.value(share.group(2)), 0
    others = set(re.findall(r"[a-z]+", re.sub(r"\b[A-Z]\d+\b", " ", condition))) - _CONDITION_WORDS
    if others:
        return Trigger.OTHER, _worded(line, condition.strip(" .!?,")), seconds
    percents = re.findall(r"\bP\d+\b", condition)
    values = re.findall(r"\b[NM]\d+\b", condition)
    down, up = re.search(_DOWN, condition) is not None, re.search(_UP, condition) is not None
    if len(percents) == 1 and not values and down != up:
        return (Trigger.FALLS_PERCENT if down else Trigger.RISES_PERCENT), line.value(percents[0]), seconds
    if len(values) == 1 and not percents and not seconds:
        if down != up:
            return (Trigger.PRICE_BELOW if down else Trigger.PRICE_ABOVE), line.value(values[0]), 0
        if not down and re.search(r"\b(?:hit|at|is|gets? to|trade)\b", condition):
            return Trigger.PRICE_REACHES, line.value(values[0]), 0
    return Trigger.OTHER, _worded(line, condition.strip(" .!?,")), seconds
