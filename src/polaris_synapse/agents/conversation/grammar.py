"""From a message to what it means. Pure: the same text and names give the same intent, always.

The order of the steps is the policy: first what must not be read at all, then what is never done, then short answers,
then other people's words, refusals to act, questions, and only what is left can be a command.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import asdict, replace

from polaris_synapse.agents.conversation import commands
from polaris_synapse.agents.conversation.authority import read_authority, read_mandate, read_token
from polaris_synapse.agents.conversation.guard import guard, tidy
from polaris_synapse.agents.conversation.intents import (
    Ambiguous,
    AnyIntent,
    Confirm,
    Decline,
    NotUnderstood,
    PartialOrder,
    PlaceOrder,
    Unclear,
)
from polaris_synapse.agents.conversation.line import Line, Names, read_line
from polaris_synapse.agents.conversation.orders import looks_like_order, question_for, read_order
from polaris_synapse.agents.conversation.questions import is_question, read_question

_CONFIRM: Final = re.compile(
    r"(?:yes|yep|yeah|yes please|confirm|confirmed|i confirm|yes confirm|do it|go ahead|place it"
    r"|place the order|send it|"
    r"yes do it|yes go ahead|yes place it|proceed|execute|make it so|y)[ !.]*"
)
_CODE: Final = re.compile(r"(?:yes[ ,]*)?confirm(?: code| order)? ([0-9a-f]{6,64})[ !.]*")
_DECLINE: Final = re.compile(
    r"(?:no|nope|nah|no thanks?|no thank you|never ?mind|forget it|forget about it|scrap that|stop that|cancel that|"
    r"cancel it|leave it|not now|do not|don't|dont|rather not|decline|reject|abort|n|actually no|no wait|wait no)[ !.]*"
)
_HALF_YES: Final = re.compile(
    r"(?:(?:yes|yep|yeah|confirm|sure|ok|okay|k|fine|alright|sounds good|go)\b.*|\U0001f44d.*)"
)
_ENDS_NO: Final = re.compile(r".*[?.!,;] *(?:no|nope|nah|no thanks?|never ?mind|do not|rather not)[ !.]*")
_WHOSE: Final = re.compile(
    r"\b(?:he|she|they|friend|boss|wife|husband|brother|guy|tweet|post|article|news|analyst|influencer|elon|telegram|"
    r"reddit|twitter|youtube|email|message|website|someone|somebody|everyone|everybody|people|user|customer|client|"
    r"chatgpt|model|note|document|headline)\b(?: \w+){0,4}? \b(?:said|want|think|thinks|recommend\w*|suggest\w*"
    r"|read|reads|"
    r"ask|asks|asked|advise\w*|wrote|writes)\b|\baccording to\b|\bforwarded\b|\bquote\b.*\bunquote\b"
)
_TRADE_WORD: Final = re.compile(r"\b(?:buy|sell|cancel|close|halt|flatten|short)\b")
_NEGATED: Final = re.compile(
    r"\b(?:do not|don't|dont|never|not|no longer|no more|without|stop)\b(?: \w+){0,3}? "
    r"(?:buy|sell|cancel|close|halt|flatten|trade|place|order)\b"
)
_UNDECIDED: Final = re.compile(
    r"\b(?:maybe|perhaps|might|thinking (?:of|about)|considering|wondering|tempted|almost|nearly|was going to"
    r"|were going to|"
    r"about to|wish|hope|dream\w*|regret)\b"
)
_PREFIX: Final = re.compile(
    r"^(?:(?:please|hey|hi|hello|ok|okay|so|well|alright|agent|now|just|quick|and|then|dear)[ ,!]+)*"
    r"(?:(?:can|could|will) you (?:please |kindly |just )*(?=\w)|would you (?:please|kindly) "
    r"|i (?:want|need|wish|d like|would like|d love)(?: you)? to |i would like |i d like |i ll |i want "
    r"|lets |let us |we (?:want|need|should) to |go ahead and |time to |(?:place|put in|enter|make|create|set"
    r"|set up|submit|"
    r"send)(?: me)? an? (?=(?:market |limit |stop |trailing |take |buy |sell )))*"
)
_ASKING_PREFIX: Final = re.compile(r"^(?:\w+ )*?(?:can|could|will|would) you\b")
_ACTING: Final = re.compile(
    r"^(?:please )?(?:buy|sell|cancel|close|halt|flatten|resume|pause|stop|change|get|put|place|trip|reset)\b"
)
_ACCOUNT: Final = re.compile(r"\b(?:on|for|in|from|of|with) (?:the )?account ([a-z0-9][a-z0-9_.-]{0,63})(?=[ ?!.,]|$)")
_TRADING_PAST: Final = re.compile(r"\b(?:bought|sold)\b")


def read_message(text: str, names: Names) -> AnyIntent:
    """What ``text`` means on a desk that knows ``names``."""
    decided = read_token(text) or read_mandate(text, names)
    if decided is not None:
        return decided
    stopped = guard(text, frozenset(names.symbols) | {"buy", "sell", "cancel", "confirm", "yes"})
    if stopped is not None:
        return stopped
    plain = tidy(text)
    authority = read_authority(text, names)
    if authority is not None:
        return authority
    short = _short_answer(plain)
    if short is not None:
        return short
    account, plain = _named_account(plain)
    line = read_line(plain, names)
    if not line.text.strip(" ?!.,"):
        return NotUnderstood()
    whose = _somebody_elses(line, plain)
    if whose is not None:
        return whose
    return _meaning(line, names, account)


def _meaning(line: Line, names: Names, account: str) -> AnyIntent:
    polite = _ASKING_PREFIX.match(line.text) is not None
    stripped = _PREFIX.sub("", line.text, count=1)
    if polite and _ACTING.match(stripped):
        # "Could you buy ...?" is a request in the form of a question; its confirmation is asked for all the same.
        line = Line(stripped.rstrip(" ?"), line.values, line.unknown)
    elif not is_question(line):
        line = Line(stripped, line.values, line.unknown)
    asking = is_question(line)
    if not asking:
        standing = commands.read_standing(line, names, lambda text: read_order(line, names, account, text=text))
        if standing is not None:
            return standing
        if _NEGATED.search(line.text):
            return Decline()

    def order(text: str) -> PlaceOrder | None:
        tried = re.sub(
            r"^.*?\b(?:(?:can|could|may|would|should|do|did|if|how|what|when|suppose|imagine|happens"
            r"|that) )*(?:i|we|you) "
            r"(?:can |could |would |were to |was to |had to )?(?=buy|sell)", "", text)  # fmt: skip
        found = read_order(line, names, account, text=tried)
        return found if isinstance(found, PlaceOrder) else None

    if asking:
        return read_question(line, names, account, order) or _not_a_question(line, names)
    if _TRADING_PAST.search(line.text) and re.search(r"\b(?:i|we|he|she|they)\b", line.text):
        # A statement about the past: neither a wish nor a question.
        return NotUnderstood()
    return _command(line, names, account) or read_question(line, names, account, order) or _loose(line, names)


def _command(line: Line, names: Names, account: str) -> AnyIntent | None:
    for found in (
        commands.read_control(line, account),
        commands.read_replace(line, account),
        commands.read_cancel(line, account),
        commands.read_close(line, account),
    ):
        if found is not None:
            return found
    if not looks_like_order(line):
        return None
    if _UNDECIDED.search(line.text):
        return Ambiguous(about=Unclear.ACTION, question="Do you want it done? Say the order plainly, or ask about it.")
    return read_order(line, names, account)


def _short_answer(plain: str) -> AnyIntent | None:
    code = _CODE.fullmatch(plain)
    if code is not None:
        return Confirm(code=code.group(1))
    if _CONFIRM.fullmatch(plain.replace(",", "")):
        return Confirm()
    if _DECLINE.fullmatch(plain) or _ENDS_NO.fullmatch(plain):
        return Decline()
    if re.match(r"(?:yes|yep|yeah|y|confirm)\b", plain) and "?" not in plain:
        return _half_a_yes()
    if _HALF_YES.fullmatch(plain) and not re.search(r"\b(?:buy|sell|cancel|close)\b", plain) and "?" not in plain:
        return _half_a_yes()
    return None


def _half_a_yes() -> Ambiguous:
    return Ambiguous(
        about=Unclear.CONFIRMATION,
        question="Say 'yes' and nothing else to go on as shown, 'no' to leave it, or give the order anew.",
    )


def _named_account(plain: str) -> tuple[str, str]:
    """The account that a message names, and the message without it."""
    found = _ACCOUNT.search(plain)
    if found is None:
        return "", plain
    return found.group(1).rstrip("."), plain[: found.start()] + plain[found.end() :]


def _somebody_elses(line: Line, plain: str) -> Ambiguous | None:
    """Instructions that are quoted or reported are somebody else's, whoever pastes them."""
    if not _TRADE_WORD.search(line.text):
        return None
    quoted = [part for part in re.findall(r'"([^"]*)"', plain) if len(part.split()) > 1]
    if quoted or plain.startswith(">") or _WHOSE.search(line.text):
        return Ambiguous(
            about=Unclear.WHOSE,
            question="Those are somebody else's words, and I take orders from you only. Say in your own words what you "
            "want.",
        )
    return None


def _not_a_question(line: Line, names: Names) -> AnyIntent:
    if looks_like_order(line):
        found = read_order(line, names, "")
        if isinstance(found, Ambiguous):
            return found
    return NotUnderstood()


def _loose(line: Line, names: Names) -> AnyIntent:
    """Bits of an order without a verb are asked about; everything else is not understood."""
    if _TRADING_PAST.search(line.text) or not (line.marks("S") and (line.marks("N") or line.marks("M"))):
        return NotUnderstood()
    return read_order(line, names, "")


def complete_order(partial: PartialOrder, about: Unclear, text: str, names: Names) -> PlaceOrder | Ambiguous | None:
    """The order that ``text`` completes, after it was asked for ``about``; None where ``text`` is no answer to that."""
    if guard(text, frozenset(names.symbols)) is not None:
        return None
    line = read_line(text, names)
    bare = Line(line.text, line.values, line.unknown)
    if is_question(bare) or len(bare.text.split()) > 8:
        return None
    verb = "sell" if partial.side == "SELL" else "buy"
    filled: dict[str, object] = {}
    if about is Unclear.SYMBOL and len(line.symbols()) == 1 and line.symbols()[0]:
        filled = {"symbol": line.symbols()[0]}
    elif about is Unclear.SIDE:
        sides = set(re.findall(r"\b(?:buy|sell)\b", bare.text))
        filled = {"side": next(iter(sides)).upper()} if len(sides) == 1 else {}
    elif about is Unclear.QUANTITY and partial.symbol and partial.side is not None:
        read = read_order(Line(bare.text, line.values | {"S99": partial.symbol}, line.unknown), names, "",
                          text=f"{verb} {bare.text.removeprefix(verb + ' ')} S99")  # fmt: skip
        if isinstance(read, Ambiguous):
            return read if read.about in {Unclear.NUMBER, Unclear.CURRENCY} else None
        if read.type != "MARKET" or read.symbol != partial.symbol or read.side != partial.side:
            return None
        filled = {name: getattr(read, name) for name in ("quantity", "quote_amount", "percent", "percent_of")}
    if not filled:
        return None
    return _checked(replace(partial, **filled), names)


def _checked(partial: PartialOrder, names: Names) -> PlaceOrder | Ambiguous:
    """The order, or what it lacks still."""
    missing = None
    if not partial.symbol:
        missing = Unclear.SYMBOL
    elif partial.side is None:
        missing = Unclear.SIDE
    elif not (partial.quantity or partial.quote_amount or partial.percent):
        missing = Unclear.QUANTITY
    if missing is not None:
        return Ambiguous(about=missing, question=question_for(missing, partial, names), partial=partial)
    return PlaceOrder(**asdict(partial))
