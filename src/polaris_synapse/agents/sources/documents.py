"""What the documents of different publishers have in common: dates, HTML, and making items out of raw entries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any, Final

from msgspec import Struct

from polaris_synapse.agents.sources import port
from polaris_synapse.agents.sources.port import Failure, Item, SourceError, text_of
from polaris_synapse.domain.messages import SourceKind

_NS: Final = 1_000_000_000
#: Elements whose text nobody is shown, and those that end a line.
_UNSHOWN: Final = frozenset({"script", "style", "template", "noscript", "head", "title", "iframe", "object", "svg"})
_BLOCKS: Final = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre"})
_VOID: Final = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_TIME_FORMATS: Final = ("%a %b %d %H:%M:%S %z %Y",)
_UNIX_SECONDS_MAX: Final = 32_503_680_000


class RawEntry(Struct, frozen=True, kw_only=True):
    """An entry of a document as it came: every field is the publisher's. ``published_ns`` 0: not dated."""

    entry_id: str = ""
    title: str = ""
    body: str = ""
    url: str = ""
    author: str = ""
    published_ns: int = 0


class Times(Struct, frozen=True, kw_only=True):
    """What an entry's date may be: not older, and not further ahead of the desk's clock."""

    now_ns: int
    age_seconds_max: int
    future_seconds_max: int

    def admits(self, published_ns: int) -> bool:
        """Whether an entry of that time is news. An undated one proves nothing about what was known when."""
        oldest = self.now_ns - self.age_seconds_max * _NS
        return oldest <= published_ns <= self.now_ns + self.future_seconds_max * _NS


def items_of(
    entries: Iterable[RawEntry], *, source: str, kind: SourceKind, times: Times, items_max: int
) -> tuple[list[Item], int]:
    """The entries that can be read, oldest first, and how many cannot: undated, too old, from the future, or empty."""
    items: list[Item] = []
    dropped = 0
    for entry in entries:
        title = plain_text(text_of(entry.title, port.BODY_CHARACTERS_MAX))[: port.TITLE_CHARACTERS_MAX]
        body = plain_text(text_of(entry.body, 4 * port.BODY_CHARACTERS_MAX))[: port.BODY_CHARACTERS_MAX]
        if not times.admits(entry.published_ns) or not (title or body) or len(items) >= items_max:
            dropped += 1
            continue
        items.append(
            Item(
                source=source,
                kind=kind,
                item_id=text_of(entry.entry_id, port.NAME_CHARACTERS_MAX),
                title=title,
                body=body,
                url=text_of(entry.url, port.URL_CHARACTERS_MAX),
                author=text_of(entry.author, port.NAME_CHARACTERS_MAX),
                published_time_ns=min(entry.published_ns, times.now_ns),
                seen_time_ns=times.now_ns,
            )
        )
    items.sort(key=lambda item: (item.published_time_ns, item.digest))
    return items, dropped


def time_ns_of(value: Any) -> int:
    """A date as publishers write it (RFC 3339, RFC 2822, X's own, Unix seconds), in nanoseconds; 0 for none."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, int | float):
        return int(value) * _NS if 0 < value < _UNIX_SECONDS_MAX else 0
    if not isinstance(value, str) or len(value) > 64:
        return 0
    text = value.strip()
    moment = _iso(text) or _mail(text) or _other(text)
    if moment is None:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        whole = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        return 0
    return max(0, (whole.days * 86_400 + whole.seconds) * _NS + whole.microseconds * 1_000)


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _mail(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _other(text: str) -> datetime | None:
    for form in _TIME_FORMATS:
        try:
            return datetime.strptime(text, form).astimezone(UTC)
        except ValueError:
            continue
    return None


class _Shown(HTMLParser):
    """Collects the text that a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._open: list[tuple[str, bool]] = []

    @property
    def _unshown(self) -> bool:
        return bool(self._open) and self._open[-1][1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag not in _VOID:
            self._open.append((tag, self._unshown or tag in _UNSHOWN or _is_hidden(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")
        for number in range(len(self._open) - 1, -1, -1):
            if self._open[number][0] == tag:
                del self._open[number:]
                return

    def handle_data(self, data: str) -> None:
        if not self._unshown:
            self.parts.append(data)


def _is_hidden(attributes: list[tuple[str, str | None]]) -> bool:
    given = {name: (value or "").lower().replace(" ", "") for name, value in attributes}
    style = given.get("style", "")
    invisible = ("display:none", "visibility:hidden", "font-size:0", "opacity:0", "color:#fff", "color:white")
    return "hidden" in given or given.get("aria-hidden") == "true" or any(mark in style for mark in invisible)


def plain_text(text: str) -> str:
    """What a person would see of HTML, or of plain text: tags, comments and hidden elements are gone."""
    if "<" not in text and "&" not in text:
        return _tidied(text)
    shown = _Shown()
    shown.feed(text)
    shown.close()
    return _tidied("".join(shown.parts))


def _tidied(text: str) -> str:
    lines = (" ".join(line.split(" ")) for line in text.replace("\r", "\n").split("\n"))
    return "\n".join(line.strip() for line in lines if line.strip())


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A JSON object. Raises SourceError with ``what``, in our words, for anything else."""
    if not isinstance(value, dict):
        raise SourceError(Failure.MALFORMED, f"The answer holds no {what}.")
    return value


def listing(value: Any, what: str) -> list[Any]:
    """A JSON array. Raises SourceError with ``what``, in our words, for anything else."""
    if not isinstance(value, list):
        raise SourceError(Failure.MALFORMED, f"The answer holds no {what}.")
    return value


def part(value: Any, *names: str) -> Any:
    """What lies at a path of names in JSON, or None."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
