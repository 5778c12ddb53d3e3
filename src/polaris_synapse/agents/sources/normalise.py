"""Text as its reader would see it, and what is suspicious about how it was written.

Nothing here protects the desk: a reading is a few bounded numbers whatever a text says. It keeps hidden or disguised
words from being scored as if a person had read them.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from enum import StrEnum
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.sources.machine_speech import asks_for_secrets, speaks_to_machines


class Flag(StrEnum):
    """What is suspicious about a text."""

    HIDDEN_TEXT = "HIDDEN_TEXT"  # characters that are not seen
    DIRECTION = "DIRECTION"  # controls that turn the reading direction
    LOOKALIKE = "LOOKALIKE"  # letters of another script inside Latin words
    ENCODED = "ENCODED"  # readable text in base64 or hexadecimal, or a text in rot13
    INSTRUCTIONS = "INSTRUCTIONS"  # it speaks to a machine that reads it
    SECRETS = "SECRETS"  # it asks for keys or other secrets
    REPETITION = "REPETITION"  # the same words over and over
    LONG = "LONG"  # longer than what is read
    FOREIGN = "FOREIGN"  # mostly in a script or a language that the lexicon does not know


#: Texts with one of these say nothing about a market: they are written for the machine that reads them.
WITHHELD: Final = frozenset({Flag.INSTRUCTIONS, Flag.SECRETS})

READ_CHARACTERS_MAX: Final = 4_000
_DECODED_CHARACTERS_MIN: Final = 8
_FINDS_MAX: Final = 50

_DIRECTION_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
#: A few hidden characters are ordinary typography, and emoji are joined by some.
_HIDDEN_ALLOWED: Final = frozenset("\u00ad\ufeff\ufe0f\u200d")
_HIDDEN_CATEGORIES: Final = frozenset({"Cf", "Cc", "Co", "Cn", "Cs"})
_TYPOGRAPHY: Final = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - ", "\u2026": "...",
        "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    }
)  # fmt: skip
#: Letters of other scripts that look like Latin ones, lower-case.
_LOOKALIKES: Final = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u04bb"
    "\u03b1\u03b2\u03b5\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03b6\u0131\u0261\u0131\u1d04\u1d0f",
    "abekmhopctyxijsdqhabehikmvoptuxzigico",
)  # fmt: skip

_WORD: Final = re.compile(r"[^\W\d_]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2}[ :]?){10,})")
_ESCAPES: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|&#x?[0-9a-fA-F]{2,6};){4,}")
_SPACED: Final = re.compile(r"(?<![A-Za-z])(?:[A-Za-z][ .\-_*]){5,}[A-Za-z](?![A-Za-z])")
_LEET: Final = str.maketrans("013457@$", "oieastas")


class Normalised(Struct, frozen=True, kw_only=True):
    """``text`` as it is read: Latin letters, plain quotes, nothing hidden; upper and lower case are kept."""

    text: str
    flags: frozenset[Flag]


def normalise(title: str, body: str) -> Normalised:
    """Clean a title and a body, which become two paragraphs, and say what is suspicious about them."""
    whole = f"{title}\n{body}" if title and body else title or body
    flags: set[Flag] = set()
    if len(whole) > READ_CHARACTERS_MAX:
        flags.add(Flag.LONG)
    # Everything that came is looked at, also what is too long to be scored.
    shown = _seen(whole, flags)
    folded = _in_latin(shown, flags)
    lower = folded.lower()
    hidden = [*_decoded(whole), *_decoded(folded)]
    if hidden:
        flags.add(Flag.ENCODED)
    if _is_rot13(lower):
        flags.add(Flag.ENCODED)
        hidden.append(codecs.encode(lower, "rot13"))
    squeezed = _SPACED.sub(lambda found: re.sub(r"[ .\-_*]", "", found.group()), lower)
    for text in (lower, squeezed, lower.translate(_LEET), lower[::-1], *(one.lower() for one in hidden)):
        if speaks_to_machines(text):
            flags.add(Flag.INSTRUCTIONS)
        if asks_for_secrets(text):
            flags.add(Flag.SECRETS)
    if _is_repetitive(lower):
        flags.add(Flag.REPETITION)
    if _is_foreign(folded):
        flags.add(Flag.FOREIGN)
    return Normalised(text=folded[:READ_CHARACTERS_MAX], flags=frozenset(flags))


def without_hidden(text: str) -> str:
    """A text without characters that are not seen or that turn its direction."""
    return _seen(text, set())


def _seen(text: str, flags: set[Flag]) -> str:
    """The characters that are seen."""
    shown: list[str] = []
    hidden = 0
    for character in unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY)):
        if character in _DIRECTION_CONTROLS:
            flags.add(Flag.DIRECTION)
        elif character in "\n\t ":
            shown.append(" " if character == "\t" else character)
        elif unicodedata.category(character) in _HIDDEN_CATEGORIES:
            hidden += character not in _HIDDEN_ALLOWED
        else:
            shown.append(character)
    if hidden:
        flags.add(Flag.HIDDEN_TEXT)
    return "".join(shown)


def _in_latin(text: str, flags: set[Flag]) -> str:
    """Words that mix scripts, and words of another script that only look Latin, as the Latin words they look like."""

    def fold(found: re.Match[str]) -> str:
        word = found.group()
        if word.isascii():
            return word
        skeleton = "".join(
            character
            for character in unicodedata.normalize("NFKD", word.translate(_LOOKALIKES).lower().translate(_LOOKALIKES))
            if not unicodedata.combining(character)
        )
        foreign = any(not _is_latin(letter) for letter in word)
        if foreign and skeleton.isascii():
            mixed = any(_is_latin(letter) for letter in word)
            # Short words of Cyrillic or Greek often look Latin by chance.
            if mixed or len(word) > 3:
                flags.add(Flag.LOOKALIKE)
                return skeleton
        return word

    return _WORD.sub(fold, text)


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def _decoded(text: str) -> list[str]:
    """Readable texts that lie in the text in base64, hexadecimal or escapes."""
    found: list[str] = []
    for match in list(_BASE64.finditer(text))[:_FINDS_MAX]:
        body = match.group().rstrip("=").replace("-", "+").replace("_", "/")
        try:
            found += _readable(base64.b64decode(body + "=" * (-len(body) % 4), validate=True))
        except (binascii.Error, ValueError):
            continue
    for match in list(_HEX.finditer(text))[:_FINDS_MAX]:
        digits = re.sub(r"[ :]", "", match.group(1))
        found += _readable(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    for match in list(_ESCAPES.finditer(text))[:_FINDS_MAX]:
        numbers = re.findall(r"(?:\\x|\\u|%|&#x)([0-9a-fA-F]+)|&#(\d+);", match.group())
        codes = [int(sixteen, 16) if sixteen else int(ten) for sixteen, ten in numbers]
        found.append("".join(chr(code) for code in codes if 0x20 <= code < 0x7F))
    return found


def _readable(raw: bytes) -> list[str]:
    """A decoded text, where it is one: ordinary words are base64 too, and what they decode to is noise."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return []
    if len(text) < _DECODED_CHARACTERS_MIN:
        return []
    text = _in_latin(_seen(text, set()), set())
    letters = sum(character.isalpha() or character == " " for character in text)
    return [text] if letters * 10 >= len(text) * 6 else []


_COMMON: Final = frozenset(
    {
        *("the", "and", "you", "all", "for", "not", "is", "to", "of"),
        *("ignore", "instructions", "previous", "buy", "sell", "bitcoin", "score"),
    }
)


def _is_rot13(lower: str) -> bool:
    words = _WORD.findall(lower)[:400]
    turned = [codecs.encode(word, "rot13") for word in words]
    found = sum(word in _COMMON for word in turned)
    return found >= 3 and found > 2 * sum(word in _COMMON for word in words)


def _is_repetitive(lower: str) -> bool:
    words = _WORD.findall(lower)
    return len(words) >= 30 and len(set(words)) * 5 < len(words)


def _is_foreign(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    foreign = sum(not _is_latin(letter) for letter in letters)
    return bool(letters) and foreign * 5 > len(letters) * 2
