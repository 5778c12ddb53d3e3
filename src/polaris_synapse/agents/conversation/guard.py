"""What is looked at before anything is understood: hidden and lookalike characters, encodings, and what is never done.

None of this is the desk's protection: an order needs its confirmation, and the role, mandate and limits of whoever
speaks, whatever a message says. It keeps people from being misled by what they did not see.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import Final

from polaris_synapse.agents.conversation.intents import Ambiguous, Refusal, Refused, Unclear

MESSAGE_CHARACTERS_MAX: Final = 1_000

_TYPOGRAPHY: Final = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u00ab": '"', "\u00bb": '"',
        "\u2013": "-", "\u2014": " - ", "\u2212": "-", "\u2026": "...", "\u00a0": " ", "\u202f": " ", "\u2009": " ",
        "\u20bf": " btc ", "\t": " ", "\n": " ", "\r": " ", "\u00bd": " 1/2 ", "\u00bc": " 1/4 ", "\u00be": " 3/4 ",
    }
)  # fmt: skip
#: Letters of other scripts that look like Latin ones, lower-case: those that matter for names and verbs.
_LOOKALIKES: Final = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u04bb"
    "\u03b1\u03b2\u03b5\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03b6\u0131",
    "abekmhopctyxijsdqhabehikmvoptuxzi",
)  # fmt: skip
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_LONG_CODE: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){12,}")

#: In this order; the first that is found answers. All of lower-case text with plain quotes.
_REFUSALS: Final[tuple[tuple[Refusal, re.Pattern[str]], ...]] = tuple(
    (why, re.compile(pattern))
    for why, pattern in (
        (
            Refusal.AUTHORITY,
            (r"\b(?:ignore|forget|disregard|override|bypass|skip)\b.{0,40}"
            r"\b(?:rules?|instructions?|prompts?|guidelines|confirmations?|restrictions?|safety|polic(?:y|ies)|approvals?)\b"
            r"|\b(?:do not|don't|dont|never|no need to) (?:ask|confirm|preview|show me|double check)\b"
            r"|\b(?:without|no|skip) (?:any )?(?:confirmation|confirming|approval|asking|preview)\b"
            r"|^\W*(?:system|assistant|developer|tool|admin|root|operator)\s*(?:message|prompt|override|note)?\s*[:>\]]"
            r"|<\/?(?:system|assistant|instructions?|tool)|\[/?inst\]|<\|"
            r"|\byou are (?:now|no longer)\b|\bdeveloper mode\b|\bjailbreak\b|\bact as\b|\bpretend\b"
            r"|\bi am (?:the|an?|your) (?:admin\w*|owner|operator|developer|risk officer|creator|ceo)\b"
            r"|\b(?:as|on behalf of) (?:the|an?|your) (?:admin\w*|owner|operator|developer|risk officer|ceo)\b"
            r"|\b(?:already|pre)[- ]?(?:approved|confirmed|authori[sz]ed)\b|\bnew (?:system )?(?:prompt"
            r"|instructions)\b"),
        ),
        (
            Refusal.ENCODED,
            r"\b(?:decode|base64|base 64|rot13|rot-13|unhex|hex string|morse|reverse (?:this|the)|backwards)\b",
        ),
        (
            Refusal.SECRETS,
            (r"\b(?:api[- _]?keys?|private keys?|secret(?:s| keys?)?|passwords?|passphrase|seed phrase|mnemonic|"
            r"credentials?|jwt|tokens? (?:of|for) (?:the )?(?:api|login)|access tokens?|bearer|environment variables?|"
            r"env vars?|\.env|config files?|signing keys?|system prompt)\b"),
        ),
        (
            Refusal.WITHDRAWAL,
            (r"\bwithdraw(?:al|als|ing|s)?\b|\bcash out\b|\bpay ?out\b|\b0x[0-9a-f]{20,}\b|\bbc1[a-z0-9]{20,}\b"
            r"|\b(?:send|transfer|wire)\b.{1,60}\bto\b|\b(?:my|external|cold|hardware) wallet\b|\bdeposit address\b"),
        ),
        (
            Refusal.LIMITS,
            (r"\b(?:raise|increase|lift|remove|disable|double|triple|loosen|relax|widen|change|set|turn off|switch off|"
            r"get rid of|up|drop|waive|suspend)\b.{0,30}\b(?:limits|(?:risk|loss|order|position|daily|my|the|drawdown) "
            r"limit|collar|risk checks?|checks|compliance|kyc|mandate|risk manager|risk engine|guard ?rails?)\b"),
        ),
        (
            Refusal.MARGIN,
            r"\b\d+\s?x\b|\bleverage[d]?\b|\bon margin\b|\bborrow(?:ed)?\b|\bfutures?\b|\bperps?\b|\boptions?\b",
        ),
    )
)  # fmt: skip


def guard(text: str, names: frozenset[str]) -> Ambiguous | Refused | None:
    """What to say to a message before reading it; None where there is nothing to say.

    ``names`` are the words, lower-case, that must not be imitated: symbols and what they are called.
    """
    if len(text) > MESSAGE_CHARACTERS_MAX:
        return Refused(why=Refusal.TOO_LONG)
    hidden = _hidden_or_lookalike(text, names)
    if hidden is not None:
        return hidden
    tidy_text = tidy(text)
    if _is_encoded(text):
        return Refused(why=Refusal.ENCODED)
    asks_limits = re.fullmatch(r"\W*(?:what|which|show|list|how|tell)\b[^!]*", tidy_text) is not None
    for why, pattern in _REFUSALS:
        if pattern.search(tidy_text):
            if why is Refusal.LIMITS and asks_limits and "can i" not in tidy_text:
                continue
            return Refused(why=why)
    return None


def tidy(text: str) -> str:
    """Lower-case, with plain quotes, dashes and blanks."""
    return " ".join(text.translate(_TYPOGRAPHY).lower().split())


def _hidden_or_lookalike(text: str, names: frozenset[str]) -> Ambiguous | None:
    plain_text = text.translate(_TYPOGRAPHY)
    for position, character in enumerate(plain_text):
        # Emoji are joined by characters that are hidden anywhere else.
        if character in "\u200d\ufe0f" and position and unicodedata.category(plain_text[position - 1]) in {"So", "Sk"}:
            continue
        if unicodedata.category(character) in _HIDDEN:
            return _unclear(
                Unclear.LOOKALIKE,
                "Your message holds characters that cannot be seen. Type it again by hand, so that we both read the "
                "same.",
            )
        if not character.isascii() and (character.isdigit() or character.isnumeric()):
            return _unclear(Unclear.NUMBER, f"Write numbers with the digits 0 to 9, not with {character!r}.")
    for word in re.findall(r"[^\W\d_]+", plain_text):
        if word.isascii():
            continue
        skeleton = _skeleton(word)
        mixed = any(letter.isascii() for letter in word) and any(_foreign(letter) for letter in word)
        if skeleton in names or mixed:
            return _unclear(
                Unclear.LOOKALIKE,
                f"{word!r} is not written in Latin letters: it only looks like {skeleton.upper()}. Type it again.",
            )
    return None


def _foreign(letter: str) -> bool:
    return not letter.isascii() and not unicodedata.name(letter, "").startswith("LATIN")


def _skeleton(word: str) -> str:
    """The Latin word that a word looks like."""
    folded = unicodedata.normalize("NFKD", word.lower().translate(_LOOKALIKES)).lower().translate(_LOOKALIKES)
    return "".join(character for character in folded if not unicodedata.combining(character))


def _is_encoded(text: str) -> bool:
    """Whether a part of the text is readable text in base64 or hexadecimal."""
    for found in _LONG_CODE.findall(text):
        body = found.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        # Ordinary words are base64 too; what they decode to is noise.
        if len(raw) >= 8 and _is_readable(raw):
            return True
    return any(_is_readable(bytes.fromhex(re.sub(r"[ :]", "", found))) for found in _HEX.findall(text))


def _is_readable(raw: bytes) -> bool:
    return all(0x20 <= byte < 0x7F or byte in b"\r\n\t" for byte in raw)


def _unclear(about: Unclear, question: str) -> Ambiguous:
    return Ambiguous(about=about, question=question)
