"""From plain words to a mandate's sheet. Deterministic: each phrase is read once and taken out of the text.

What is left over, what is missing and what could be meant in two ways is asked about. Nothing is guessed: a mandate
that came of a guess would let a machine do what nobody said.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.conversation.guard import guard, tidy
from polaris_synapse.agents.conversation.intents import Ambiguous, Refusal, Refused
from polaris_synapse.agents.conversation.line import Names
from polaris_synapse.agents.conversation.numbers import plain, read_number
from polaris_synapse.agents.mandates import DAYS, Hours, MandateSheet
from polaris_synapse.domain.messages import Autonomy

#: How a request for a mandate begins; whoever routes messages looks for this.
BEGINS: Final = re.compile(r"\W*(?:please )?(?:let|allow|permit|authori[sz]e)\b")

_MONEY: Final = r"\$?\s?(?P<amount>\d[\d.,'_]*)\s?(?P<scale>k|thousand|m|million)?\s?(?:usdt|usd|dollars?|bucks)?"
_ORDER_MAX: Final = re.compile(
    rf"(?:,|\band\b|\bwith\b)?\s*(?:up to|at most|no more than|max(?:imum)?(?: of)?)? ?{_MONEY} "
    r"?(?:an|a|per|each|for each|for an|any one)(?: single)? order\b"
)
_DAY_MAX: Final = re.compile(
    rf"(?:,|\band\b|\bwith\b)?\s*(?:and )?(?:up to|at most|no more than|max(?:imum)?(?: of)?)? ?{_MONEY} "
    r"?(?:(?:a|per|each|in a) day|daily)\b(?! loss)"
)
_LOSS: Final = re.compile(
    rf"(?:,|\band\b)?\s*(?:and )?(?:stop (?:it )?(?:when|if|after|once) (?:it )?"
    rf"(?:loses|has lost|losing|lost|a loss of)"
    rf"|(?:lose|losing) (?:at most|no more than|up to)|(?:daily )?loss limit(?: of)?|never lose more than"
    rf"|may lose (?:at most|up to|no more than)) ?{_MONEY}(?: ?(?:a|per|in a) day)?"
)
_ASK_ABOVE: Final = re.compile(
    rf"(?:,|\band\b|\bbut\b)?\s*(?:ask(?:s|ing)?(?: me| us| first| for (?:my )?approval)*|(?:with )?(?:my )?approval"
    rf"|i approve|needs? (?:my )?approval) (?:above|over|beyond|for (?:more than|anything above)) ?{_MONEY}"
)
_ASK_ALWAYS: Final = re.compile(
    r"(?:,|\band\b|\bbut\b)?\s*(?:(?:always )?ask(?: me| us)? (?:first|before (?:each|every|any)(?: (?:order|trade))?"
    r"|every time|each time|always)|(?:i )?approve (?:each|every)(?: (?:order|trade))?"
    r"|(?:it )?(?:may |can )?(?:only|just) propose[sd]?|proposals? only|propose only)"
)
_AUTOPILOT: Final = re.compile(
    r"(?:,|\band\b|\bbut\b)?\s*(?:without asking(?: me| us)?|(?:on |in )?autopilot(?: mode)?"
    r"|(?:do not|don't|never) ask(?: me| us)?|no need to ask(?: me)?|on its own|by itself|fully autonomous(?:ly)?)"
)
_LEVERAGE: Final = re.compile(
    r"(?:,|\band\b|\bwith\b)?\s*(?:(?:at most|up to|no more than|max(?:imum)?) )?(?:(?P<before>\d+(?:\.\d+)?) ?x? "
    r"?leverage|leverage (?:of |up to |at most |max |below )?(?P<after>\d+(?:\.\d+)?) ?x?|(?P<no>no|without) leverage)"
)
_TIME: Final = r"(?P<{0}>\d{{1,2}})(?::(?P<{0}m>\d{{2}}))?\s?(?P<{0}half>am|pm)?"
_HOURS: Final = re.compile(
    r"(?:between |from )?" + _TIME.format("start") + r"\s?(?:-|to|until|till|and)\s?" + _TIME.format("end")
    + r"(?P<zone> ?(?:utc|gmt|z)\b)?"
)  # fmt: skip
_DAY_WORDS: Final = {
    "weekdays": DAYS[:5], "working days": DAYS[:5], "weekends": DAYS[5:], "every day": DAYS, "any day": DAYS,
}  # fmt: skip
_DAY: Final = r"(?:mon|tue|wed|thu|fri|sat|sun)(?:s?day|nesday|rsday|urday)?s?"
_DAY_RANGE: Final = re.compile(rf"\b(?:on )?({_DAY})\s?(?:-|to|through)\s?({_DAY})\b")
_DAY_LIST: Final = re.compile(rf"\b(?:on )?({_DAY}(?:\s?(?:,|and|,\s?and)\s?{_DAY})*)\b")
_HARMLESS: Final = frozenset({
        "a", "an", "and", "at", "by", "can", "could", "each", "for", "in", "it", "its", "may", "me", "my", "of", "on",
        "only", "order", "orders", "please", "the", "them", "to", "trade", "trading", "us", "with", "up", "utc",
})  # fmt: skip
#: Units of how long an approval is waited for.
_WAIT: Final = re.compile(
    r"(?:,|\band\b)?\s*(?:approvals?|requests?) expires? (?:after|in) (?P<n>\d+) ?(?P<unit>s|min|m|h)\w*"
)
_WAIT_SECONDS: Final = {"s": 1, "min": 60, "m": 60, "h": 3_600}


#: Words of leverage and of not being asked are a mandate's own; the rest that conversations refuse is refused here too.
ALLOWED_HERE: Final = frozenset({Refusal.MARGIN, Refusal.AUTHORITY, Refusal.LIMITS})


class MandateNames(Struct, frozen=True):
    """What may be named: instruments, and the desk's agents by name with the account each trades."""

    instruments: Names
    agents: dict[str, str]


class Compiled(Struct, frozen=True):
    """The sheet, or what has to be asked before there can be one."""

    sheet: MandateSheet | None
    questions: tuple[str, ...] = ()


class _Text(Struct):
    """The text as phrases are taken out of it."""

    text: str
    questions: list[str] = []

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Find a phrase once and take it out."""
        found = pattern.search(self.text)
        if found is not None:
            self.text = " ".join(f"{self.text[: found.start()]} ~ {self.text[found.end() :]}".split())
            if pattern.search(self.text):
                self.questions.append(
                    f"Two things are said about the same: '{found.group().strip(' ,')}' and more. Which?"
                )
        return found

    def money(self, pattern: re.Pattern[str]) -> str:
        """The amount of a phrase, or an empty text."""
        found = self.take(pattern)
        if found is None:
            return ""
        number = read_number(found.group("amount").rstrip(".,"), money="$" in found.group())
        if not number.text:
            self.questions.append(
                f"Is {found.group('amount')} meant as {number.guess or 'a number'}? Write it as 1234.56."
            )
            return ""
        tens = {"k": 3, "thousand": 3, "m": 6, "million": 6}.get(found.group("scale") or "", 0)
        return plain(Decimal(number.text).scaleb(tens))


def compile_mandate(text: str, names: MandateNames) -> Compiled:
    """The sheet that ``text`` says, or every question that has to be answered first."""
    stopped = guard(text, frozenset(names.instruments.symbols) | set(names.agents))
    if isinstance(stopped, Ambiguous):
        return Compiled(None, (stopped.question,))
    if isinstance(stopped, Refused) and stopped.why not in ALLOWED_HERE:
        return Compiled(None, ("That is not a mandate. Say which agent may trade what, and how much.",))
    rest = _Text(tidy(text))
    agent = _agent(rest, names)
    loss = rest.money(_LOSS)
    autonomy, above = _autonomy(rest)
    order_max, day_max = rest.money(_ORDER_MAX), rest.money(_DAY_MAX)
    leverage = _leverage(rest)
    wait = rest.take(_WAIT)
    hours = _hours(rest)
    symbols = _symbols(rest, names.instruments)
    _missing(rest, symbols=symbols, order_max=order_max, day_max=day_max, autonomy=autonomy)
    left = [word for word in re.findall(r"[^\s~,.;]+", rest.text) if word not in _HARMLESS]
    if left:
        rest.questions.append(f"I do not understand '{' '.join(left)}'. Leave it out or say it differently.")
    if rest.questions or not agent or autonomy is None:
        return Compiled(None, tuple(dict.fromkeys(rest.questions)))
    sheet = MandateSheet(
        agent=agent,
        account=names.agents[agent],
        symbols=symbols,
        order_value_max=order_max,
        daily_value_max=day_max,
        autonomy=autonomy,
        approval_above=above or None,
        approval_seconds_max=int(wait.group("n")) * _WAIT_SECONDS[wait.group("unit")] if wait is not None else 900,
        leverage_max=leverage or None,
        daily_loss_max=loss or None,
        hours=hours,
    )
    if Decimal(day_max) < Decimal(order_max):
        return Compiled(None, (f"{day_max} a day is less than {order_max} an order. Which is meant?",))
    return Compiled(sheet)


def _agent(rest: _Text, names: MandateNames) -> str:
    called = {name.lower(): name for name in names.agents}
    if len(names.agents) == 1:
        called |= dict.fromkeys(("analyst", "agent", "bot"), next(iter(names.agents)))
    pattern = "|".join(sorted(map(re.escape, called), key=len, reverse=True)) or r"(?!)"
    opening = re.compile(
        rf"^\W*(?:please )?(?:let|allow|permit|authori[sz]e) (?:the |my )?(?P<name>{pattern})(?: (?:agent|analyst))?"
        r"(?: to)? trade\b"
    )
    found = rest.take(opening)
    if found is not None:
        return called[found.group("name")]
    known = ", ".join(sorted(names.agents)) or "none yet"
    rest.questions.append(f"Which agent may trade? Begin with: let NAME trade ... (the agents: {known}).")
    return ""


def _autonomy(rest: _Text) -> tuple[Autonomy | None, str]:
    # "Ask above" first: "ask me first above 200" asks only above it.
    said: list[tuple[Autonomy, str]] = []
    above = rest.money(_ASK_ABOVE)
    if above:
        said.append((Autonomy.APPROVE_ABOVE, above))
    if rest.take(_AUTOPILOT) is not None:
        said.append((Autonomy.AUTOPILOT, ""))
    if rest.take(_ASK_ALWAYS) is not None:
        said.append((Autonomy.PROPOSE, ""))
    if len(said) > 1:
        rest.questions.append("Should it ask before every order, above an amount, or never? Only one of them can hold.")
    return said[0] if len(said) == 1 else (None, "")


def _leverage(rest: _Text) -> str:
    found = rest.take(_LEVERAGE)
    if found is None:
        return ""
    if found.group("no"):
        return "1"
    return found.group("before") or found.group("after")


def _symbols(rest: _Text, names: Names) -> tuple[str, ...]:
    found: list[str] = []
    for word in re.findall(r"[a-z0-9][a-z0-9./-]*", rest.text):
        bare = word.rstrip(".-/")
        if bare in names.symbols:
            if not names.symbols[bare]:
                rest.questions.append(f"Several instruments go by {bare}. Give the full name.")
            found.append(names.symbols[bare])
            rest.text = re.sub(rf"(?<![\w]){re.escape(bare)}(?![\w])", "~", rest.text)
    return tuple(dict.fromkeys(symbol for symbol in found if symbol))


def _hours(rest: _Text) -> tuple[Hours, ...]:
    days: tuple[str, ...] = ()
    for words, meant in _DAY_WORDS.items():
        if rest.take(re.compile(rf"\b(?:on )?{words}\b")) is not None:
            if days:
                rest.questions.append("On which days may it trade?")
            days = meant
    span = rest.take(_DAY_RANGE)
    if span is not None:
        first, last = (DAYS.index(span.group(place)[:3]) for place in (1, 2))
        if last < first:
            rest.questions.append(f"Is '{span.group()}' over the weekend meant? Name each day.")
        days = DAYS[first : last + 1]
    listed = rest.take(_DAY_LIST) if not days else None
    if listed is not None:
        days = tuple(name for name in DAYS if re.search(rf"\b{name}", listed.group(1)))
    clock = rest.take(_HOURS)
    if clock is None:
        return (Hours(days=days),) if days and days != DAYS else ()
    if not clock.group("zone") and "utc" not in rest.text:
        rest.questions.append(f"Is '{clock.group().strip()}' in UTC? Say so: the desk counts its hours in UTC.")
    start, end = (_clock(rest, clock, name) for name in ("start", "end"))
    if not start or not end:
        return ()
    return (Hours(days=days or DAYS, start=start, end=end),)


def _clock(rest: _Text, found: re.Match[str], name: str) -> str:
    hour, minute, half = int(found.group(name)), found.group(f"{name}m") or "00", found.group(f"{name}half")
    if (half and not 1 <= hour <= 12) or hour > 24 or int(minute) > 59 or (hour == 24 and minute != "00"):
        rest.questions.append(f"'{found.group().strip()}' is no span of hours. Write it as 08:00-18:00 utc.")
        return ""
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return f"{hour:02}:{minute}"


def _missing(rest: _Text, *, symbols: tuple[str, ...], order_max: str, day_max: str, autonomy: Autonomy | None) -> None:
    if not symbols:
        rest.questions.append("What may it trade? Name the instruments, such as BTC and ETH.")
    if not order_max:
        rest.questions.append("How much may one order be worth? Say, for example: up to 500 USDT an order.")
    if not day_max:
        rest.questions.append("How much may it trade a day? Say, for example: 2000 a day.")
    if autonomy is None and not any("Only one of them" in question for question in rest.questions):
        rest.questions.append(
            "When should it ask you? Say 'ask me before each order', 'ask me above 200', or 'without asking'."
        )
