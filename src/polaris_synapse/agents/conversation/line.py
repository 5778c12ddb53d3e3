"""A message as one line that the grammar's patterns can read: known words spelt one way, values as marks.

``Buy 0.1 bitcoin at $61k`` becomes ``buy N0 S0 at M1`` with the values beside it. Marks: ``N`` a number, ``M`` an
amount of the quote currency, ``P`` a percentage, ``X`` a number that is not clear, ``S`` an instrument, ``O`` an order,
``D`` a decision, ``T`` a time of day, ``E`` an amount of another currency. Everything else is lower-case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.conversation import numbers
from polaris_synapse.agents.conversation.guard import tidy
from polaris_synapse.agents.conversation.words import canonical, is_known, spelling
from polaris_synapse.domain.instruments import Instrument

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "BTC": ("bitcoin", "bitcoins", "btcs", "xbt"),
    "ETH": ("ethereum", "ether", "ethers", "eths"),
    "SOL": ("solana",),
    "XRP": ("ripple",),
    "LTC": ("litecoin", "litecoins"),
    "ADA": ("cardano",),
    "DOGE": ("dogecoin",),
}
#: Units of an asset that are smaller than the asset, as powers of ten.
_SUBUNITS: Final = {"sat": ("BTC", -8), "sats": ("BTC", -8), "satoshi": ("BTC", -8), "satoshis": ("BTC", -8)}
_DOLLARS: Final = frozenset({"usd", "dollar", "dollars", "buck", "bucks"})
_FOREIGN: Final = frozenset(
    {"eur", "euro", "euros", "gbp", "pound", "pounds", "quid", "chf", "franc", "francs", "yen", "jpy", "rupees", "inr"}
)
_CONTRACTIONS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bp ?& ?l\b|\bp/l\b|\bp and l\b|\bprofits? (?:and|or|&) loss(?:es)?\b", "pnl"),
        (r"\bcan(?:'t|not)\b", "can not"),
        (r"\bwon'?t\b", "will not"),
        (r"\b(do|did|does|is|are|was|have|has|would|should|could)n'?t\b", r"\1 not"),
        (r"\b(what|where|how|who|that|it|there|here)'?s\b", r"\1 is"),
        (r"\b(i)'?m\b", r"\1 am"),
        (r"\b(i|you|we|they)'(d|ll|ve|re)\b", r"\1 \2"),
        (r"\blet'?s\b", "lets"),
        (r"\bgimme\b", "give me"),
        (r"\bgood[- ](?:till?|until)[- ]cancell?ed\b", "gtc"),
        (r"\bimmediate[- ]or[- ]cancel\b", "ioc"),
        (r"\bfill[- ]or[- ]kill\b", "fok"),
        (r"\bend[- ]of[- ](?:the[- ])?day\b|\beod\b", "eod"),
        (r"\bkill[- ]?switch\b", "killswitch"),
        (r"\btake[- ]profits?\b", "takeprofit"),
        (r"\ball[- ]in\b", "allin"),
    )
)
_PIECE: Final = re.compile(
    r"(?P<decision>\bd\d+-\d+\b)"
    r"|(?P<order>#\s?\d{1,18}\b)"
    r"|(?P<time>\b\d{1,2}(?::\d{2})?\s?(?:am|pm)\b|\b\d{1,2}:\d{2}\b)"
    r"|(?P<fraction>\b[13]/[24]\b)"
    r"|(?P<number>(?:(?<![\w.])[-+])?(?:[$€£]\s?)?(?:\d[\d.,'_]*\d|\d|(?<!\d)\.\d+)(?:e[+-]?\d+\b)?)"
    r"|(?P<word>[a-z][a-z0-9]*(?:[./-][a-z0-9]+)*(?:'[a-z]+)?)"
    r"|(?P<mark>[?!,;:%@\"]|\.(?=\s|$)|-)"
    r"|(?P<other>\S)"
)


class Names(Struct, frozen=True):
    """What instruments are called. ``symbols`` maps lower-case names to instruments, "" where several are meant."""

    symbols: dict[str, str]
    bases: dict[str, str]
    quotes: frozenset[str]
    long_names: tuple[str, ...]

    @classmethod
    def of(cls, instruments: Iterable[Instrument]) -> Names:
        """The names of instruments. One that refers to another's price is meant only where it is named in full."""
        symbols: dict[str, str] = {}
        bases: dict[str, str] = {}
        quotes: set[str] = set()
        long_names: set[str] = set()
        for instrument in instruments:
            base, quote = instrument.base.code, instrument.quote.code
            bases[instrument.symbol] = base
            quotes.add(quote.lower())
            symbols[instrument.symbol.lower()] = instrument.symbol
            if instrument.reference_symbol:
                continue
            called = [base.lower(), *_NAMES.get(base, ())]
            long_names.update(name for name in _NAMES.get(base, ()) if len(name) >= 5 and not name.endswith("s"))
            pairs = [f"{base}{between}{quote}".lower() for between in ("/", "-")]
            if quote.startswith("USD"):
                pairs += [f"{base}{between}USD".lower() for between in ("", "/", "-")]
            for name in (*called, *pairs):
                # Two instruments of one base: the base alone names neither.
                taken = symbols.get(name, instrument.symbol)
                symbols[name] = instrument.symbol if taken == instrument.symbol else ""
        return cls(symbols, bases, frozenset(quotes), tuple(sorted(long_names)))

    def sub_unit(self, word: str) -> tuple[str, int] | None:
        """The instrument whose base ``word`` is a part of, and the power of ten."""
        base, tens = _SUBUNITS.get(word, ("", 0))
        symbol = self.symbols.get(base.lower(), "") if base else ""
        return (symbol, tens) if symbol else None


class Line(Struct, frozen=True):
    """``text`` is what patterns are matched with; ``values`` are what its marks stand for, by mark."""

    text: str
    values: dict[str, str]
    unknown: tuple[str, ...]

    def value(self, mark: str) -> str:
        """What a mark such as ``N0`` stands for."""
        return self.values[mark]

    def marks(self, kind: str) -> list[str]:
        """All marks of a kind, in order."""
        return re.findall(rf"\b{kind}\d+\b", self.text)

    def symbols(self) -> list[str]:
        """The instruments named, each once, in order."""
        return list(dict.fromkeys(self.values[mark] for mark in self.marks("S")))


def read_line(text: str, names: Names) -> Line:
    """The line of a message that the guard let pass."""
    tidied = tidy(text)
    for pattern, replacement in _CONTRACTIONS:
        tidied = pattern.sub(replacement, tidied)
    builder = _Builder(names)
    for kind, piece in _pieces(tidied, names):
        builder.add(kind, piece)
    return Line(" ".join(builder.parts), builder.values, tuple(builder.unknown))


def _pieces(text: str, names: Names) -> Iterator[tuple[str, str]]:
    for found in _PIECE.finditer(text):
        kind, piece = found.lastgroup or "other", found.group().strip()
        if kind == "word" and re.search(r"[./-]", piece) and piece not in names.symbols:
            # A full instrument name may end a sentence; any other word with a hyphen is several words.
            yield from (("word", part) for part in re.split(r"[./-]", piece) if part)
        else:
            yield kind, piece


class _Builder:
    """Collects the parts of a line."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.parts: list[str] = []
        self.values: dict[str, str] = {}
        self.unknown: list[str] = []

    def add(self, kind: str, piece: str) -> None:
        if kind == "decision":
            self.mark("D", piece.upper())
        elif kind == "order":
            self.mark("O", piece.lstrip("# "))
        elif kind == "time":
            self.mark("T", piece)
        elif kind == "fraction":
            self.parts.append({"1/2": "half", "1/4": "quarter", "3/4": "threequarters"}.get(piece, piece))
        elif kind == "number":
            self.number(piece)
        elif kind == "word":
            self.word(piece)
        elif piece == "%":
            self.percent()
        elif piece == "@":
            self.parts.append("at")
        elif kind == "mark":
            self.parts.append(piece)

    def mark(self, kind: str, value: str) -> None:
        name = f"{kind}{len(self.values)}"
        self.values[name] = value
        self.parts.append(name)

    def number(self, piece: str) -> None:
        sign = next((sign for sign in "$€£" if sign in piece), "")
        digits = piece.replace(sign, "").replace(" ", "") if sign else piece
        read = numbers.read_number(digits, money=bool(sign))
        if not read.text:
            self.mark("X", read.guess)
        else:
            self.mark({"": "N", "$": "M"}.get(sign, "E"), read.text)

    def last(self, kinds: str) -> str:
        """The mark before, where it is of one of the kinds."""
        before = self.parts[-1] if self.parts else ""
        return before if before in self.values and before[0] in kinds else ""

    def replace_last(self, kind: str, value: str) -> None:
        before = self.parts.pop()
        del self.values[before]
        self.mark(kind, value)

    def percent(self) -> None:
        before = self.last("N")
        if before:
            self.replace_last("P", self.values[before])

    def word(self, piece: str) -> None:
        names = self.names
        bare = piece.removesuffix("'s")
        before = self.last("NM")
        if piece in numbers.MULTIPLES and before:
            self.replace_last(before[0], numbers.scaled(self.values[before], numbers.MULTIPLES[piece]))
        elif (part := names.sub_unit(piece)) is not None and before:
            self.replace_last("N", numbers.scaled(self.values[before], part[1]))
            self.mark("S", part[0])
        elif bare in names.symbols:
            self.mark("S", names.symbols[bare])
        elif self.last("N") and (piece in names.quotes or piece in _DOLLARS):
            self.replace_last("M", self.values[before])
        elif before.startswith("M") and (piece in names.quotes or piece in _DOLLARS):
            return
        elif piece in _FOREIGN:
            if before:
                self.replace_last("E", self.values[before])
            else:
                self.parts.append("foreigncurrency")
        elif piece in numbers.WORDS:
            self.mark("N", numbers.WORDS[piece])
        else:
            self.plain_word(piece)

    def plain_word(self, piece: str) -> None:
        meant = spelling(piece, self.names.long_names)
        if meant in self.names.symbols:
            self.mark("S", self.names.symbols[meant])
            return
        if meant in numbers.WORDS:
            self.mark("N", numbers.WORDS[meant])
            return
        if canonical(meant) == "percent":
            self.percent()
            return
        if not is_known(meant):
            self.unknown.append(piece)
        self.parts.append(canonical(meant))
