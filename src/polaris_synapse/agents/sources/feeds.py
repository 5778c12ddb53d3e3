"""Documents of publishers: RSS 2.0, Atom, JSON Feed, CryptoPanic and NewsAPI, X and Reddit exports.

Each function turns a whole document into raw entries and raises SourceError for what it cannot read. None of them knows
where the document came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from polaris_synapse.agents.sources.documents import RawEntry, listing, mapping, part, time_ns_of
from polaris_synapse.agents.sources.fetch import decode_json
from polaris_synapse.agents.sources.port import BODY_CHARACTERS_MAX, Failure, SourceError, text_of

Entries = list[RawEntry]
Parser = Callable[[bytes], Entries]

_ATOM: Final = "{http://www.w3.org/2005/Atom}"
_DUBLIN_CORE: Final = "{http://purl.org/dc/elements/1.1/}"
_CONTENT: Final = "{http://purl.org/rss/1.0/modules/content/}"
#: An X archive is JavaScript: one assignment of an array.
_ASSIGNMENT: Final = re.compile(rb"\A\s*window\.[A-Za-z0-9_.]{1,64}\s*=\s*")


def parse_feed(body: bytes) -> Entries:
    """RSS 2.0 or Atom. A document type declaration is refused: entities and outside files begin there."""
    try:
        root = fromstring(body, forbid_dtd=True)
    except DefusedXmlException:
        raise SourceError(
            Failure.UNSAFE_XML, "The feed declares a document type or entities, which are not read."
        ) from None
    except (ParseError, ValueError, LookupError):
        raise SourceError(Failure.MALFORMED, "The feed is not valid XML.") from None
    if root.tag == "rss":
        return [_rss_entry(item) for item in root.iterfind("channel/item")]
    if root.tag == f"{_ATOM}feed":
        return [_atom_entry(entry) for entry in root.iterfind(f"{_ATOM}entry")]
    raise SourceError(Failure.MALFORMED, "The document is neither RSS 2.0 nor Atom.")


def _child(element: Element, tag: str) -> str:
    found = element.find(tag)
    return _inner(found) if found is not None else ""


def _inner(element: Element) -> str:
    """All text inside an element, bounded: Atom's XHTML content is elements, not text."""
    parts: list[str] = []
    length = 0
    for piece in element.itertext():
        parts.append(piece)
        length += len(piece)
        if length > 4 * BODY_CHARACTERS_MAX:
            break
    return "".join(parts)


def _rss_entry(item: Element) -> RawEntry:
    link = _child(item, "link").strip()
    return RawEntry(
        entry_id=_child(item, "guid").strip() or link,
        title=_child(item, "title"),
        body=_child(item, f"{_CONTENT}encoded") or _child(item, "description"),
        url=link,
        author=_child(item, "author") or _child(item, f"{_DUBLIN_CORE}creator"),
        published_ns=time_ns_of(_child(item, "pubDate") or _child(item, f"{_DUBLIN_CORE}date")),
    )


def _atom_entry(entry: Element) -> RawEntry:
    links = entry.findall(f"{_ATOM}link")
    link = next((one.get("href", "") for one in links if one.get("rel", "alternate") == "alternate"), "")
    return RawEntry(
        entry_id=_child(entry, f"{_ATOM}id").strip() or link,
        title=_child(entry, f"{_ATOM}title"),
        body=_child(entry, f"{_ATOM}content") or _child(entry, f"{_ATOM}summary"),
        url=link,
        author=_child(entry, f"{_ATOM}author/{_ATOM}name"),
        published_ns=time_ns_of(_child(entry, f"{_ATOM}published") or _child(entry, f"{_ATOM}updated")),
    )


def parse_json_feed(body: bytes) -> Entries:
    """JSON Feed 1.0 and 1.1."""
    found = listing(part(decode_json(body), "items"), "items")
    return [
        RawEntry(
            entry_id=_identity(item.get("id")),
            title=text_of(item.get("title"), BODY_CHARACTERS_MAX),
            body=_first_text(item, "content_text", "content_html", "summary"),
            url=text_of(item.get("url"), BODY_CHARACTERS_MAX),
            author=_author(item),
            published_ns=time_ns_of(item.get("date_published") or item.get("date_modified")),
        )
        for item in _objects(found)
    ]


def _author(item: dict[str, Any]) -> str:
    authors = item.get("authors")
    first = authors[0] if isinstance(authors, list) and authors else item.get("author")
    return text_of(part(first, "name"), BODY_CHARACTERS_MAX)


def parse_cryptopanic(body: bytes) -> Entries:
    """CryptoPanic's posts. The votes of its readers are not taken: they are cheap to make."""
    found = listing(part(decode_json(body), "results"), "results")
    return [
        RawEntry(
            entry_id=_identity(post.get("id")),
            title=text_of(post.get("title"), BODY_CHARACTERS_MAX),
            body=_first_text(post, "description")
            or text_of(part(post, "metadata", "description"), BODY_CHARACTERS_MAX),
            url=_first_text(post, "original_url", "url"),
            author=text_of(part(post, "source", "title"), BODY_CHARACTERS_MAX),
            published_ns=time_ns_of(post.get("published_at")),
        )
        for post in _objects(found)
    ]


def parse_newsapi(body: bytes) -> Entries:
    """NewsAPI's articles."""
    document = mapping(decode_json(body), "articles")
    if document.get("status") != "ok":
        raise SourceError(Failure.SERVER_ERROR, "The news service says that it failed.")
    return [
        RawEntry(
            entry_id=_first_text(article, "url"),
            title=_first_text(article, "title"),
            body="\n".join(filter(None, (_first_text(article, "description"), _first_text(article, "content")))),
            url=_first_text(article, "url"),
            author=_first_text(article, "author") or text_of(part(article, "source", "name"), BODY_CHARACTERS_MAX),
            published_ns=time_ns_of(article.get("publishedAt")),
        )
        for article in _objects(listing(document.get("articles"), "articles"))
    ]


def parse_x_export(body: bytes) -> Entries:
    """Posts of X: an API answer (``{"data": […]}``), an array or lines of posts, or an account's archive."""
    posts = (post["tweet"] if isinstance(post.get("tweet"), dict) else post for post in _records(body, "data"))
    return [
        RawEntry(
            entry_id=_identity(post.get("id_str") or post.get("id")),
            body=text_of(part(post, "note_tweet", "text"), BODY_CHARACTERS_MAX)
            or _first_text(post, "full_text", "text"),
            author=_identity(post.get("author_id") or part(post, "user", "screen_name")),
            published_ns=time_ns_of(post.get("created_at")),
        )
        for post in posts
    ]


def parse_reddit_export(body: bytes) -> Entries:
    """Submissions and comments of Reddit: a listing, an array, or one JSON object a line."""
    entries: Entries = []
    for record in _records(body, "data", "children"):
        post = record["data"] if isinstance(record.get("data"), dict) else record
        entries.append(
            RawEntry(
                entry_id=_identity(post.get("name") or post.get("id")),
                title=_first_text(post, "title"),
                body=_first_text(post, "selftext", "body"),
                url=_first_text(post, "permalink", "url"),
                author=_first_text(post, "author"),
                published_ns=time_ns_of(_number(post.get("created_utc"))),
            )
        )
    return entries


def parse_json_file(body: bytes) -> Entries:
    """A JSON file of the drop folder: a JSON Feed, or one object or several with ``title`` and ``body``."""
    document = decode_json(body)
    if isinstance(part(document, "items"), list):
        return parse_json_feed(body)
    return [
        RawEntry(
            entry_id=_identity(one.get("id")),
            title=_first_text(one, "title", "headline"),
            body=_first_text(one, "body", "text", "content", "description"),
            url=_first_text(one, "url", "link"),
            author=_first_text(one, "author"),
            published_ns=time_ns_of(one.get("published") or one.get("published_at") or one.get("date")),
        )
        for one in _objects(document if isinstance(document, list) else [document])
    ]


def _records(body: bytes, *path: str) -> Iterator[dict[str, Any]]:
    """The objects of an export, however it is wrapped: lines, an array, an archive, or an answer with a ``path``."""
    stripped = _ASSIGNMENT.sub(b"", body, count=1)
    lines = [line for line in stripped.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].strip().startswith(b"{") and lines[0].strip().endswith(b"}"):
        yield from _objects([decode_json(line) for line in lines])
        return
    document = decode_json(stripped)
    if isinstance(document, dict):
        inner = part(document, *path)
        document = inner if isinstance(inner, list) else [document]
    yield from _objects(listing(document, "posts"))


def _objects(values: list[Any]) -> Iterator[dict[str, Any]]:
    return (value for value in values if isinstance(value, dict))


def _identity(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text_of(value, BODY_CHARACTERS_MAX)


def _number(value: Any) -> Any:
    """Reddit's exports write Unix seconds as a number or as its text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else value


def _first_text(document: dict[str, Any], *names: str) -> str:
    return next((text for name in names if (text := text_of(document.get(name), 4 * BODY_CHARACTERS_MAX))), "")
