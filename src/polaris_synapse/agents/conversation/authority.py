"""What people say about agents' authority: held orders, mandates, proposals, and standing instructions that exist."""

from __future__ import annotations

import re
from typing import Final

from polaris_synapse.agents.conversation.guard import guard, tidy
from polaris_synapse.agents.conversation.intents import (
    Ambiguous,
    AnyIntent,
    Ask,
    CancelStanding,
    DecideRequest,
    GiveMandate,
    ProposeTrade,
    Refusal,
    Refused,
    Topic,
    Unclear,
)
from polaris_synapse.agents.conversation.line import Names, read_line

#: A signed token, as a messenger carries it. Read before everything else: to every other rule it looks encoded.
_TOKEN: Final = re.compile(r"\s*/?(?:decide|approve|reject) ([A-Za-z0-9_-]{40,800}\.[A-Za-z0-9_-]{43})\s*")
_REQUEST: Final = r"(?:(?:the )?(?:request|approval|order|proposal|trade|number|no\.?) ?)*"
_DECIDE: Final = re.compile(
    rf"(?:please |ok(?:ay)?,? |yes,? )?(approve|accept|reject|deny|refuse|decline) {_REQUEST}"
    r"[#a]?(\d{1,18}(?:-\d{1,4})?)(?: please)?[ !.]*"
)
_DECIDE_SOMETHING: Final = re.compile(
    rf"(?:please )?(approve|reject|deny)(?: (?:it|this|that|all|both|everything|them|{_REQUEST}))*[ !.]*"
    r"|(?:please )?(?:approve|reject)\b.*"
)
_MANDATE: Final = re.compile(r"(?:please )?(?:let|allow|permit|authori[sz]e) .*\btrade\b.*\d.*")
_MANDATE_WORDS: Final = frozenset({Refusal.MARGIN, Refusal.AUTHORITY, Refusal.LIMITS})
_PROPOSE: Final = re.compile(
    r"(?:please |hey |ok |jarvis,? |agent,? )*(?:can you |could you )?"
    r"(?:propose|suggest|make (?:me )?a proposal|analy[sz]e|find (?:me )?a trade|look for a trade)\b(?P<rest>.*)"
)
_PROPOSE_REST: Final = re.compile(
    r"[ ,]*(?:(?:me|us|a|an|trade|order|something|now|please|for|in|on|with|the|market) ?)*"
)
_ASK_APPROVALS: Final = re.compile(
    r"(?:(?:show|list|what|which|any|are|there|is|me|the|my|all|orders?|requests?|pending|open|waiting|waits?|for|an|to"
    r"|be|do|i|have|need|needs) ?)*\bapprov(?:als?|e|ed|ing)\b"
    r"(?: (?:are|is|there|pending|open|waiting|requests?|now))*[ ?!.]*"
)
_ASK_STANDING: Final = re.compile(
    r"(?:(?:show|list|what|which|any|are|me|the|my|all|our) ?)*standing (?:orders?|instructions?)"
    r"(?: (?:are|do|i|there|have|active|open))*[ ?!.]*|what are you (?:watching|waiting)(?: for)?[ ?!.]*"
)
_CANCEL_STANDING: Final = re.compile(
    r"(?:please )?(?:cancel|stop watching|stop|remove|delete|end|drop)(?: (?:the )?(?:standing|instruction|order))* "
    r"(?:for )?(s\d{1,18})(?: please)?[ !.]*"
)


def read_token(text: str) -> DecideRequest | None:
    """A message that is nothing but a signed decision."""
    found = _TOKEN.fullmatch(text)
    return DecideRequest(token=found.group(1)) if found is not None else None


def is_mandate(text: str) -> bool:
    """Whether a message gives an agent a mandate."""
    return _MANDATE.fullmatch(tidy(text)) is not None


def read_authority(text: str, names: Names) -> AnyIntent | None:
    """What a message says about agents' authority; None where it is about something else."""
    plain = tidy(text)
    decided = _DECIDE.fullmatch(plain)
    if decided is not None:
        return DecideRequest(approval_id=decided.group(2), approve=decided.group(1) in {"approve", "accept"})
    if _ASK_APPROVALS.fullmatch(plain) and not re.fullmatch(r"(?:please )?approve[d]?[ !.]*", plain):
        return Ask(topic=Topic.APPROVALS)
    if _DECIDE_SOMETHING.fullmatch(plain) and not re.search(r"\b(?:buy|sell)\b", plain):
        return Ambiguous(
            about=Unclear.ORDER,
            question="Which request? Give its number, such as: approve 3. 'approvals' shows those that wait.",
        )
    if _ASK_STANDING.fullmatch(plain):
        return Ask(topic=Topic.STANDING)
    cancelled = _CANCEL_STANDING.fullmatch(plain)
    if cancelled is not None:
        return CancelStanding(standing_id=cancelled.group(1).upper())
    return _proposal(plain, names)


def read_mandate(text: str, names: Names) -> AnyIntent | None:
    """A mandate in plain words, unless it holds what cannot be seen; None where it is none."""
    if not is_mandate(text):
        return None
    stopped = guard(text, frozenset(names.symbols))
    if stopped is not None and not (isinstance(stopped, Refused) and stopped.why in _MANDATE_WORDS):
        return stopped
    return GiveMandate(text=text.strip())


def _proposal(plain: str, names: Names) -> AnyIntent | None:
    found = _PROPOSE.fullmatch(plain)
    if found is None:
        return None
    line = read_line(found.group("rest"), names)
    symbols = [symbol for symbol in line.symbols() if symbol]
    about = re.sub(r"\bS\d+\b", " ", line.text).strip(" ?!.")
    if not _PROPOSE_REST.fullmatch(about) and about:
        return None
    if len(symbols) != 1:
        known = ", ".join(sorted(names.bases)) or "nothing yet"
        return Ambiguous(about=Unclear.SYMBOL, question=f"A proposal for which instrument? One of: {known}.")
    return ProposeTrade(symbol=symbols[0])
