"""The port that every source of outside material implements, and what it brings.

A source keeps nothing between polls: it is given the state of its last poll and returns the next one together with what
it found. The service writes that state down only after everything found was published, so a crash between the two
repeats items instead of losing them, and the digest of an item makes the repetition harmless.

    SourceError             one poll brought nothing; ``failure`` says why, ``retry_after_seconds`` when to come back
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Protocol

from msgspec import Struct

from polaris_synapse.domain.messages import SourceKind

#: Characters kept of an item's parts. What is longer is cut before anything reads it.
TITLE_CHARACTERS_MAX: Final = 500
BODY_CHARACTERS_MAX: Final = 20_000
NAME_CHARACTERS_MAX: Final = 200
URL_CHARACTERS_MAX: Final = 2_000


class Failure(StrEnum):
    """Why a poll brought nothing."""

    TIMED_OUT = "TIMED_OUT"
    UNREACHABLE = "UNREACHABLE"
    RATE_LIMITED = "RATE_LIMITED"
    SERVER_ERROR = "SERVER_ERROR"
    NOT_ALLOWED = "NOT_ALLOWED"  # 401, 403: the key is missing, wrong or used up
    NOT_FOUND = "NOT_FOUND"
    REDIRECTED_AWAY = "REDIRECTED_AWAY"
    TOO_LARGE = "TOO_LARGE"
    WRONG_TYPE = "WRONG_TYPE"
    MALFORMED = "MALFORMED"
    UNSAFE_XML = "UNSAFE_XML"
    WRONG_CHAIN = "WRONG_CHAIN"
    REORGANISED = "REORGANISED"  # a chain changed deeper than the confirmations that were waited for
    INTERNAL = "INTERNAL"


class SourceError(Exception):
    """A poll that failed. ``str()`` is one sentence of ours: never a word of what the other side sent."""

    def __init__(self, failure: Failure, sentence: str, *, retry_after_seconds: int = 0) -> None:
        super().__init__(sentence)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds


class Item(Struct, frozen=True, kw_only=True, gc=False):
    """One text from outside: untrusted in every field but the times, the kind and ``source``, which are ours.

    Its ``repr`` holds none of its text, so that no log line, traceback or error can carry it on by accident.
    """

    source: str
    kind: SourceKind
    item_id: str
    title: str
    body: str = ""
    url: str = ""
    author: str = ""
    published_time_ns: int
    seen_time_ns: int

    @property
    def digest(self) -> str:
        """What the item says, as 64 hex digits: the same text has the same digest, whoever publishes it again."""
        return digest_of(self.title, self.body)

    def __repr__(self) -> str:
        return f"Item(source={self.source!r}, digest={self.digest[:12]})"


class Direction(StrEnum):
    """Which way value moved at a labelled address."""

    IN = "in"
    OUT = "out"


class LabelKind(StrEnum):
    """What a labelled address is; it decides what a flow is taken to mean."""

    EXCHANGE = "exchange"
    TREASURY = "treasury"
    ISSUER = "issuer"
    WHALE = "whale"


class Flow(Struct, frozen=True, kw_only=True, gc=False):
    """A confirmed transfer to or from a labelled address. ``amount_units``: exact, in the asset's minor unit.

    ``asset``, ``decimals`` and ``label`` come from the settings: names that a token gives itself are never read.
    """

    source: str
    chain: str
    asset: str
    decimals: int
    amount_units: int
    direction: Direction
    label: str
    label_kind: LabelKind
    transaction: str
    index: str
    height: int
    published_time_ns: int
    seen_time_ns: int

    @property
    def digest(self) -> str:
        """64 hex digits; the same transfer seen again, also in another block, has the same digest."""
        return digest_of(self.chain, self.transaction, self.index, self.label, self.direction.value, self.asset)


class Funding(Struct, frozen=True, kw_only=True, gc=False):
    """A perpetual's funding rate. ``rate_ppb``: of one interval, exact, in parts per billion; ``value`` as it came."""

    source: str
    symbol: str
    rate_ppb: int
    value: str
    published_time_ns: int
    seen_time_ns: int

    @property
    def digest(self) -> str:
        """64 hex digits; the same rate told again within the same hour has the same digest."""
        hour = self.published_time_ns // 3_600_000_000_000
        return digest_of(self.source, self.symbol, str(hour), self.value)


Event = Item | Flow | Funding


class BlockRef(Struct, frozen=True):
    """A block that was worked off."""

    height: int
    hash: str


class FlowMark(Struct, frozen=True, kw_only=True):
    """What is remembered of a flow, so that the flows of a day can be added up. ``net_units``: above 0 for arriving."""

    digest: str
    asset: str
    label_kind: LabelKind
    net_units: int
    time_ns: int


class SourceState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a source goes on. ``marks`` belongs to the adapter: the last signature of an address, a file's size.

    ``seen`` are the digests of the newest items and ``flows`` the newest flows, oldest first; both are the service's.
    """

    etag: str = ""
    last_modified: str = ""
    blocks: tuple[BlockRef, ...] = ()
    marks: dict[str, str] = {}
    seen: tuple[str, ...] = ()
    flows: tuple[FlowMark, ...] = ()


class Polled(Struct, frozen=True, kw_only=True):
    """What a poll brought, oldest first. ``dropped`` counts entries that could not be used (no date, no text)."""

    events: tuple[Event, ...]
    state: SourceState
    dropped: int = 0
    unchanged: bool = False


class Source(Protocol):
    """One place that outside material comes from."""

    @property
    def name(self) -> str:
        """The name in the settings."""
        ...

    @property
    def kind(self) -> str:
        """The kind in the settings, such as ``rss``."""
        ...

    @property
    def interval_seconds(self) -> int:
        """The time between two polls that went well."""
        ...

    async def poll(self, state: SourceState, /) -> Polled:
        """What is new since ``state``. Raises SourceError, and nothing else but cancellation."""
        ...


def digest_of(*parts: str) -> str:
    """The sha256 of some texts, each length-prefixed so that no two lists run together."""
    hashed = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8, "big") + data)
    return hashed.hexdigest()


def text_of(value: Any, characters_max: int) -> str:
    """A text field of a foreign document: cut, without characters that are no Unicode; "" for anything but text."""
    if not isinstance(value, str):
        return ""
    return value[:characters_max].encode("utf-8", "ignore").decode("utf-8").strip()
