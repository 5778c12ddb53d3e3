"""Questions: patterns over a line, in the order in which they are tried. None of them can lead to an order."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from polaris_synapse.agents.conversation.intents import AnyIntent, Ask, Briefing, Help, PlaceOrder, Topic, WhatIfOrder
from polaris_synapse.agents.conversation.line import Line, Names
from polaris_synapse.agents.conversation.numbers import negated
from polaris_synapse.domain.orders import Side

_T = Topic

_QUESTION_START: Final = re.compile(
    r"^(?:and |so |but |ok |hey |well |yo )*(?:what|when|where|which|who|whose|why|how|is|are|was|were|am|do i|"
    r"do you|does|did|should|would|could|can|may|might|will|has|have|any|anything|suppose|imagine|if .* what|if .*\?)\b"
)
_ASKED_FOR: Final = re.compile(r"^(?:show|list|give me|tell me|display|get me (?:the|my)|i want to (?:see|know))\b")

_SINCE: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), since)
    for pattern, since in (
        (r"\b(?:overnight|last night|tonight|over night|asleep|sleeping|slept|was (?:away|out|gone))\b", "overnight"),
        (r"\b(?:today|this morning|since (?:this )?morning|since midnight|so far)\b", "today"),
        (r"\byesterday\b", "yesterday"),
        (r"\b(?:this|last|past) week\b", "7d"),
    )
)
_SPAN: Final = re.compile(r"\b(?:last|past|since|in the last|previous) (?:(N\d+) )?(hour|minute|day|h|m|d|week)\b")
_SPAN_UNITS: Final = {"hour": "h", "h": "h", "minute": "m", "m": "m", "day": "d", "d": "d", "week": "w"}

_MOVE: Final = r"\b(?:drop|rise|go(?:es)? (?:up|down)|went (?:up|down)|move|change|correction|sell ?off|decline)\b"
_DOWN: Final = re.compile(r"\b(?:drop|down|correction|selloff|sell off|lower|loss|minus)\b")
_WHAT_OF_IT: Final = re.compile(r"\b(?:what|how|would|if|suppose|imagine|effect|impact|hurt|cost|do)\b")

#: Tried from the top; the first pattern that is found names the topic.
_TOPICS: Final[tuple[tuple[Topic, re.Pattern[str]], ...]] = tuple(
    (topic, re.compile(pattern))
    for topic, pattern in (
        (_T.ORDER, r"\border O\d+|\bO\d+\b|\border (?:number |no |id )?N\d+(?! S\d)"),
        (_T.WHY, r"\bwhy\b|\breasons?\b|\bwhat made you\b|\bhow did you (?:decide|come)\b"),
        (_T.BEST_TRADE, r"\b(?:best|biggest|most profitable|top) (?:trade|fill|win|winner|pnl|deal)\b"),
        (_T.WORST_TRADE, r"\b(?:worst|biggest) (?:trade|fill|loss|loser|deal|drop)\b"),
        (_T.MANDATE, r"\bmandate\b|\bagent (?:is )?allowed\b|\b(?:may|can) (?:the )?agent\b"),
        (_T.ADVICE, (r"\bshould (?:i|we)\b|\bgood (?:time|idea|moment)\b|\bwould you (?:buy|sell|close|hold)\b"
                    r"|\b(?:do you|what do you) (?:think|recommend|suggest|reckon)\b|\badvi[cs]e\b|\bworth (?:buy|it)\b"
                    r"|\bis (?:S\d+ )?(?:it )?a (?:buy|sell)\b|\brecommend")),
        (_T.CHANGES, (r"\bchange[ds]\b|\bupdates\b|\bhappen(?:ed|ing)?\b"
                     r"|\b(?:anything|what is|any) (?:new|news)\b|\bdid i miss\b")),
        (_T.DECISIONS, r"\bdecide\b|\bagent (?:think|up to|trade)\b|\bproposals?\b"),
        (_T.ACTIVITY, (r"\b(?:are|you) (?:you )?(?:doing|working on|up to)\b|\bwhat is agent doing\b"
                      r"|\bwhat is the agent doing\b")),
        (_T.STATUS, (r"\bstatus\b|\bkillswitch\b|\b(?:circuit )?breaker\b|\beverything (?:ok|okay|fine|alright|good)\b"
                    r"|\b(?:are|is) (?:you|it|the desk|desk|trading) (?:ok|okay|up|alive|running|healthy|halted"
                    r"|on|off)\b")),
        (_T.OPEN_ORDERS, (r"\b(?:open|working|resting|pending|active|live|unfilled|outstanding|my|any) "
                         r"(?:S\d+ )?(?:buy |sell )?order\b|\border (?:\w+ )?(?:open|working|resting|pending|live)\b"
                         r"|^(?:the )?order\b(?! size| N\d)")),
        (_T.FEES, r"\bfee\b"),
        (_T.LIMITS, r"\blimit\b"),
        (_T.SPREAD, r"\bspread\b"),
        (_T.BOOK, r"\bbook\b|\bliquidity\b|\b(?:bids?|offers?) and (?:asks?|offers?)\b|\bdeep\b"),
        (_T.VOLUME, r"\bvolume\b"),
        (_T.EXPOSURE, r"\bexposure\b|\brisk(?:ing)?\b|\bat risk\b"),
        (_T.PNL, (r"\bpnl\b|\b(?:make|made|lost|lose|losing|making|earn(?:ed)?|up or down|return|won)\b"
                 r"|\bportfolio\b.*\b(?:doing|performance|going)\b|\bperformance\b|\b(?:am i|are we) (?:up|down)\b"
                 r"|\bdrop cash\b|\bhow (?:am i|are we) doing\b|\bin the (?:red|green|black)\b")),
        (_T.FILLS, (r"\bfill\b|\b(?:recent|last|latest|my|past|todays?) trade\b"
                   r"|\bwhat did (?:i|we) (?:buy|sell|trade)\b"
                   r"|\bdid (?:i|we|you) (?:just )?(?:buy|sell|trade)\b|\b(?:have|has) .*(?:bought|sold|filled"
                   r"|traded)\b"
                   r"|\btrade history\b|\bhistory\b|\bbought\b|\bsold\b|^trade\b|\bfilled\b")),
        (_T.BALANCES, (r"\bbalance\b|\bcash\b|\bhow (?:much|many) (?:S\d+ |of )+(?:do|have|has|did|is|am|are|on|in)\b"
                      r"|\b(?:do|have) (?:i|we) (?:have|own|got|hold)\b.*S\d+|\bhow (?:much|many) S\d+$"
                      r"|\bi (?:have|own|got)\b"
                      r"|\bfree (?:funds|money)\b|\bavailable\b|\bwhat is my S\d+")),
        (_T.POSITIONS, (r"\bposition\b|\bholding\b|\bbag\b|\bstash\b|\bportfolio\b|\bdo i (?:hold|own|have)\b"
                       r"|\bhave i got\b")),
        (_T.EQUITY, r"\bequity\b|\bworth\b|\bnet value\b|\baccount value\b|\bhow rich\b"),
        (_T.INSTRUMENTS, (r"\binstrument\b|\bcan (?:i|we|you) (?:buy|trade|sell)\b"
                          r"|\bwhat (?:coins?|symbols?|is tradable)\b"
                         r"|\btradable\b|\bwhich (?:coins?|symbols?|assets?)\b")),
        (_T.PRICE, (r"\bprice\b|\btrading\b|\bat now\b|\bgoing for\b|\bcost of S\d+|\bhow (?:much|is) (?:is )?S\d+\b"
                   r"|\bwhere is S\d+|\bwhat is S\d+|\bmark\b|\bhow much (?:does|for) (?:a |an |one )?S\d+")),
    )
)  # fmt: skip
_HELP: Final = re.compile(
    r"^(?:help(?: me)?|commands?|hi|hello|hey|good (?:morning|evening|day)|how does this work|"
    r"what (?:can|could) (?:you|i|we) (?:do|say|ask)(?: for me)?(?: here)?|how (?:do|can) i use (?:this|you))[ ?!.]*$"
)
_END_OF_DAY: Final = re.compile(r"\beod\b|\b(?:wrap|sum) up\b"
    r"|\b(?:day|evening|daily|tonights?) (?:review|summary|report)\b"
                                r"|\breview\b.*\b(?:day|today)\b|^review\b")  # fmt: skip
_BRIEFING: Final = re.compile(
    r"\bbriefing\b|\bmorning (?:change|report|summary|note)\b|\bcatch me up\b|\bbring me up to"
)
_MARKET_TOPICS: Final = frozenset({_T.PRICE, _T.BOOK, _T.SPREAD, _T.VOLUME, _T.EXPOSURE, _T.OPEN_ORDERS, _T.FILLS,
                                   _T.WHY, _T.ADVICE, _T.DECISIONS, _T.PNL, _T.FEES})  # fmt: skip
_SIDED_TOPICS: Final = frozenset({_T.WHY, _T.ADVICE, _T.OPEN_ORDERS, _T.FILLS})
_SINCE_TOPICS: Final = frozenset({_T.CHANGES, _T.PNL, _T.FILLS, _T.FEES, _T.BEST_TRADE, _T.WORST_TRADE, _T.DECISIONS})
_COST: Final = re.compile(
    r"\bhow much (?:would|does|will|do|is|for|it cost)\b|\bwhat (?:would|does|will) .*\bcost\b|\bcost\b|\bprice of N\d+"
)
_QUESTION_WORDS: Final = (
    r"\b(?:how much|how many|what|would|will|does|do|did|is|get|receive|for|cost|it|i|we|price of)\b"
)
_NEVER_AN_ORDER: Final = frozenset({_T.WHY, _T.ADVICE, _T.ORDER, _T.CHANGES})
_PAST: Final = re.compile(r"\b(?:did|have|has|had)\b")
_PROCEEDS: Final = re.compile(r"\b(?:i|we) (?:get|receive)\b.*\bfor\b|\bsell")


def is_question(line: Line) -> bool:
    """Whether a message asks. One that ends with a question mark does, whatever else it says."""
    text = line.text
    return text.rstrip(' ".!').endswith("?") or bool(_QUESTION_START.match(text) or _ASKED_FOR.match(text))


def read_question(
    line: Line, names: Names, account: str, order: Callable[[str], PlaceOrder | None]
) -> AnyIntent | None:
    """What a question is about; None where no pattern finds it. ``order`` reads an order out of a text."""
    text = line.text
    if _HELP.match(text):
        return Help()
    if _END_OF_DAY.search(text):
        return Briefing(end_of_day=True, account=account)
    if _BRIEFING.search(text):
        return Briefing(account=account)
    symbols = line.symbols()
    symbol = symbols[0] if len(symbols) == 1 else ""
    shock = _shock(line, symbol, account)
    if shock is not None:
        return shock
    found = next((topic for topic, pattern in _TOPICS if pattern.search(text)), None)
    if found not in _NEVER_AN_ORDER and not _PAST.search(text):
        what_if = _what_if(line, order)
        if what_if is not None:
            return what_if
    if found is None:
        return Ask(topic=_T.PRICE, symbol=symbol, account=account) if _only_symbol(text) and symbol else None
    return _ask(found, line, names, symbol, account)


def _ask(topic: Topic, line: Line, names: Names, symbol: str, account: str) -> AnyIntent:
    sides = {Side.BUY for _ in re.findall(r"\b(?:buy|bought)\b", line.text)}
    sides |= {Side.SELL for _ in re.findall(r"\b(?:sell|sold)\b", line.text)}
    decisions, orders = line.marks("D"), line.marks("O") or line.marks("N")
    asset = ""
    if topic in {_T.BALANCES, _T.POSITIONS}:
        cash = re.search(r"\bcash\b", line.text) is not None
        asset = names.bases.get(symbol, "") or (
            sorted(names.quotes)[0].upper() if cash and len(names.quotes) == 1 else ""
        )
        topic = _T.BALANCES if asset else topic
    return Ask(
        topic=topic,
        symbol=symbol if topic in _MARKET_TOPICS else "",
        asset=asset,
        side=next(iter(sides)) if len(sides) == 1 and topic in _SIDED_TOPICS else None,
        since=since_of(line) if topic in _SINCE_TOPICS else "",
        order_id=int(line.value(orders[0])) if topic is _T.ORDER and line.value(orders[0]).isdigit() else 0,
        decision_id=line.value(decisions[0]) if decisions and topic is _T.WHY else "",
        account=account,
    )


def since_of(line: Line) -> str:
    """Since when: ``overnight``, ``today``, ``yesterday``, a length such as ``2h``, or nothing."""
    span = _SPAN.search(line.text)
    if span is not None:
        count = line.value(span.group(1)) if span.group(1) else "1"
        if count.isdigit() and 0 < int(count) <= 1_000:
            unit = _SPAN_UNITS[span.group(2)]
            return f"{int(count) * 7}d" if unit == "w" else f"{count}{unit}"
    return next((since for pattern, since in _SINCE if pattern.search(line.text)), "")


def _shock(line: Line, symbol: str, account: str) -> Ask | None:
    """What would so many percent do?"""
    percents = line.marks("P")
    if len(percents) != 1 or not (_WHAT_OF_IT.search(line.text) or re.fullmatch(r"S\d+ P\d+ \?", line.text)):
        return None
    change = line.value(percents[0])
    if not change.startswith("-"):
        if not re.search(_MOVE, line.text):
            return None
        change = negated(change) if _DOWN.search(line.text) else change
    return Ask(topic=_T.SHOCK, symbol=symbol, change_percent=change, account=account)


def _what_if(line: Line, order: Callable[[str], PlaceOrder | None]) -> WhatIfOrder | None:
    """A question about an order that is complete but for its being one."""
    text = re.sub(r"\bbought\b", "buy", re.sub(r"\bsold\b", "sell", line.text))
    if not re.search(r"\b(?:buy|sell)\b", text) and line.marks("S") and (line.marks("N") or line.marks("M")):
        if _PROCEEDS.search(text):
            text = "sell " + re.sub(_QUESTION_WORDS, " ", text)
        elif _COST.search(text):
            text = "buy " + re.sub(_QUESTION_WORDS, " ", text)
    if not re.search(r"\b(?:buy|sell)\b", text):
        return None
    found = order(text)
    return WhatIfOrder(order=found) if found is not None else None


def _only_symbol(text: str) -> bool:
    return re.fullmatch(r"(?:how is |how about |and |what about )?S\d+[ ?!.]*", text) is not None
