"""Which of the desk's instruments a text is about. Nothing outside the desk's own list can come out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from polaris_synapse.domain.instruments import Instrument

#: What assets are called besides their codes, lower-case.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "BTC": ("bitcoin", "bitcoins", "btc", "xbt"),
    "ETH": ("ethereum", "ether", "eth"),
    "SOL": ("solana",),
    "XRP": ("ripple", "xrp"),
    "BNB": ("binance coin", "bnb"),
    "ADA": ("cardano",),
    "DOGE": ("dogecoin", "doge"),
    "LTC": ("litecoin", "ltc"),
    "DOT": ("polkadot",),
    "AVAX": ("avalanche", "avax"),
    "LINK": ("chainlink",),
    "MATIC": ("polygon", "matic"),
    "POL": ("polygon",),
    "TRX": ("tron", "trx"),
    "BCH": ("bitcoin cash", "bch"),
    "XLM": ("stellar", "xlm"),
    "XMR": ("monero", "xmr"),
    "ATOM": ("cosmos",),
    "UNI": ("uniswap",),
    "AAVE": ("aave",),
    "SHIB": ("shiba inu", "shib"),
    "TON": ("toncoin",),
    "NEAR": ("near protocol",),
}
_MARKET: Final = re.compile(
    r"\b(?:crypto(?:currency|currencies)?(?: market| markets| prices?| sector| industry)?|digital assets?|altcoins?|"
    r"stablecoins?|defi|token market)\b"
)


class AssetNames:
    """Finds instruments by what people call their base asset. Derived pairs (``reference_symbol``) are left out."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        listed = [one for one in instruments if not one.reference_symbol]
        self.symbols: tuple[str, ...] = tuple(sorted(one.symbol for one in listed))
        bases = {one.base.code for one in listed}
        self._by_base = {base: tuple(sorted(one.symbol for one in listed if one.base.code == base)) for base in bases}
        self._patterns = {base: _pattern(base) for base in sorted(bases)}

    def named(self, text: str) -> frozenset[str]:
        """The base assets that a text names; its case matters, since LINK is an asset and link is a word."""
        if not text:
            return frozenset()
        found = {base for base, pattern in self._patterns.items() if pattern.search(text)}
        if "BTC" in found and "BCH" in found and not re.search(r"\bbitcoin(?! cash)|\bbtc\b", text, re.IGNORECASE):
            found.discard("BTC")
        return frozenset(found)

    def symbols_of(self, bases: Iterable[str]) -> tuple[str, ...]:
        """The instruments of base assets."""
        return tuple(sorted(symbol for base in bases for symbol in self._by_base.get(base, ())))

    @property
    def bases(self) -> frozenset[str]:
        """Every base asset of the desk."""
        return frozenset(self._by_base)

    @staticmethod
    def is_about_the_market(text: str) -> bool:
        """Whether a text speaks of the crypto market as a whole."""
        return _MARKET.search(text.lower()) is not None


def _pattern(base: str) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in _NAMES.get(base, ()))
    # The code itself counts in capitals or after a dollar sign only.
    code = rf"(?<![A-Za-z0-9]){re.escape(base)}(?![A-Za-z0-9])|\$(?i:{re.escape(base)})(?![A-Za-z0-9])"
    return re.compile(code + (rf"|(?<![A-Za-z])(?i:{names})(?![A-Za-z])" if names else ""))
