"""The closed vocabulary: what words count as, which are left alone, and how a misspelt one is put right."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

#: Words that stand for others, so that the grammar has to know one of each. Keys are what the grammar uses.
_SYNONYMS: Final[dict[str, str]] = {
    "buy": "purchase buying purchasing acquire grab long",
    "sell": "selling dump dumping offload unload liquidate",
    "bought": "purchased acquired",
    "sold": "dumped",
    "bid": "bids",
    "short": "shorting",
    "cancel": "cancelling canceling kill scrap pull revoke delete withdraw_order abort",
    "change": "modify amend edit adjust replace update move",
    "close": "exit closing unwind",
    "flatten": "flat",
    "halt": "freeze",
    "resume": "restart unfreeze unhalt reenable",
    "pause": "suspend mute",
    "reset": "rearm",
    "order": "orders ordr",
    "position": "positions holdings",
    "holding": "held own owning",
    "balance": "balances funds wallet_balance",
    "cash": "usdt usd money dollars dollar bucks buck tether",
    "account": "acct accounts",
    "exposure": "exposed exposures",
    "pnl": "profit profits gains earnings",
    "equity": "nav",
    "fee": "fees commission commissions",
    "fill": "fills executions execution",
    "trade": "trades traded",
    "price": "quote quotes priced",
    "volume": "turnover",
    "spread": "spreads",
    "book": "orderbook depth",
    "limit": "lmt limits",
    "market": "mkt",
    "stop": "stoploss stops",
    "trailing": "trail",
    "takeprofit": "tp",
    "allin": "yolo yoloing",
    "ape": "aping aped fomo",
    "percent": "pct percentage",
    "everything": "all entire whole",
    "agent": "jarvis agents bot",
    "breaker": "breakers",
    "drop": "drops dropped fall falls fell falling dip dips crash crashes crashed tank tanks tanked plunge plunges "
    "decline declines dropping lose loses",
    "rise": "rises rose rising rally rallies rallied gain jump jumps jumped pump pumps pumped climb climbs",
    "below": "under beneath",
    "above": "over",
    "hit": "hits reach reaches touch touches",
    "break": "breaks cross crosses",
    "decide": "decided decision decisions decides",
    "why": "explain how_come",
    "status": "health state",
    "please": "pls plz kindly",
    "want": "wanna",
    "briefing": "brief",
    "review": "recap",
    "hour": "hours hr hrs",
    "minute": "minutes min mins",
    "day": "days",
    "week": "weeks",
    "said": "says saying told tells",
    "thanks": "thx thank ty",
    "worth": "valued value",
    "instrument": "instruments symbols markets pairs tickers",
    "mandate": "mandates",
}
#: Words of the grammar that stand for nothing else.
_KNOWN: Final = frozenset({
    "changed", "changes", "updates",
    "active", "allowed", "amount", "and", "anything", "asleep", "at", "bag", "best", "circuit", "confirm", "cost",
    "could", "current", "daily", "decline", "desk", "did", "does", "doing", "each", "evening", "ever", "every",
    "everything", "fill", "fok", "for", "friday", "give", "good", "gtc", "happen", "happened", "happening",
    "happens", "hello", "help", "hi", "hold", "hourly", "how", "if", "immediate", "in", "into", "ioc", "keep",
    "last", "latest", "less", "list", "maker", "monday", "monthly", "more", "morning", "never", "new", "next",
    "night", "no", "of", "on", "once", "only", "open", "overnight", "paid", "pay", "performance", "portfolio",
    "position", "post", "profit", "quantity", "recent", "saturday", "should", "show", "since", "size", "sleeping",
    "stash", "summary", "sunday", "suppose", "switch", "take", "tell", "than", "thursday", "till", "today",
    "tomorrow", "tonight", "trading", "tuesday", "unless", "until", "update", "wednesday", "weekly", "what", "when",
    "where", "which", "who", "will", "with", "working", "worst", "would", "yes", "yesterday",
})  # fmt: skip
#: Common words that are near to ours and are never taken for a misspelling of one of them.
_PLAIN: Final = frozenset(
    """
    a about admin after again ago all allowed along also am amount an any anyone approximately are around
    article as ask asleep available away back bad bag ball bay be bead beat because bed been beer before being
    bell belt best bet better between big bill bit book both boy bring bug bull bus business but by bye call
    called came can car card care case cell cent chance chat cheap check clean clear clock closet cloth clothes
    come coming cool could couple day deal dear deep did die different do doe does dog doing done door down each
    early earth easy eat egg else end enough even ever fan far fast fat feel few file fine first fix flag flow
    food for form four free friend friends from fun fund game gave get getting girl give go goes going gold gone
    good got grandma great guess guy had half hand happy hard has have he hear heard hell her here high him his
    hold home hope hot house how i idea if in into is ish it its job joke just keep kid kind king know known
    large late later least leave left less let letter life light like line little live long look looking lot
    loud love low luck mad made make man many mark matter may maybe me mean men message met mile mill mind mine
    moment mood moon more morning most mother much must my name near need net news next nice night none nose not
    note nothing now of off often oil okay old on only or other our out own page paid pair past pay people phone
    pick place plain plan play plus point poor post pot power pretty put quick quit quite rain ran rather read
    ready real really red remaining rest rich right ring road room roughly rule run sad safe said sake sale same
    save saw say says sea seal second see seem seen self send sense set she shop shot show side sign sit six
    size sky sleep slow small smell so sold some somebody someone something song soon sorry sound spell spend
    spot stand star start state stay step still stock stone stop store story such sun super sure take talk tax
    tea team tell ten test text than that the their them then there these they thing things think this those
    though three through time to told tone too took top total town toy trade train tree tried true trust try
    turn tweet two type ugly up us use used user very view wait walk wall want war warm was watch water way we
    weather well went were what whatever when where while white who whole why wide wife will win wish with
    without woman word work world worry worse would write wrong year yet you your zoo zurich
    """.split()  # noqa: SIM905  # a list would take a line for each word
)

_CANONICAL: Final[dict[str, str]] = {
    word: canonical for canonical, others in _SYNONYMS.items() for word in (canonical, *others.split())
}
#: What a misspelt word may have been meant to be.
_TARGETS: Final = tuple(
    sorted(word for word in {*_CANONICAL, *_KNOWN} if len(word) >= 3 and "_" not in word and word not in {"held"})
)


def canonical(word: str) -> str:
    """The grammar's word for a word that is spelt right."""
    return _CANONICAL.get(word, word)


def is_known(word: str) -> bool:
    """Whether the grammar or plain English has the word, so that it is no misspelling."""
    return word in _CANONICAL or word in _KNOWN or word in _PLAIN


def distance(one: str, other: str, most: int) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours from one to the other; ``most + 1`` for more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        earlier, before, row = before, row, [i]
        for j, right in enumerate(other, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                best = min(best, earlier[j - 2] + 1)
            row.append(best)
        if min(row) > most:
            return most + 1
    return row[-1]


def edits_allowed(length: int) -> int:
    """How many slips a word of that length may hold: none below three letters."""
    return 0 if length < 3 else 1 if length < 7 else 2


@lru_cache(maxsize=4_096)
def spelling(word: str, extra: tuple[str, ...] = ()) -> str:
    """The word that a misspelt one was meant to be, or the word itself where none or several come into question.

    The first letter, or the first two swapped, must be right: people rarely miss it, and chance resemblances do.
    """
    if is_known(word) or not word.isalpha():
        return word
    most = edits_allowed(len(word))
    found: list[str] = []
    nearest = most
    for target in (*_TARGETS, *extra):
        if target[0] != word[0] and target[:2] != word[1::-1]:
            continue
        # Three letters are one slip away from many words, so only swapped or missing neighbours count.
        if len(target) == 3 and sorted(target) != sorted(word):
            continue
        steps = distance(word, target, nearest)
        if steps < nearest or (steps == nearest and nearest and not found):
            nearest, found = steps, [target]
        elif steps == nearest:
            found.append(target)
    return found[0] if len({canonical(one) for one in found}) == 1 else word
