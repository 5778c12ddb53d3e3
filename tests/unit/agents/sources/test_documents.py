"""Documents of publishers over a real socket: the true formats, validators, and everything a publisher can do wrong."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from tests.unit.agents.sources.support import DATA, NOW, SECOND, document_source, fetcher

from polaris_synapse.agents.sources.documents import plain_text, time_ns_of
from polaris_synapse.agents.sources.fetch import XML_TYPES
from polaris_synapse.agents.sources.files import FolderSource
from polaris_synapse.agents.sources.port import Failure, Item, SourceError, SourceState
from polaris_synapse.agents.sources.settings import FetchSettings, SourcesSettings
from polaris_synapse.domain.messages import SourceKind
from polaris_synapse.testing.clock import START_NS, ManualClock
from polaris_synapse.testing.source_server import Answer, Document, SourceServer, running_source_server

pytestmark = pytest.mark.anyio

RSS = (DATA / "rss.xml").read_bytes()
_JSON = "application/json"


def items(events: tuple[object, ...]) -> list[Item]:
    """The items among events."""
    return [event for event in events if isinstance(event, Item)]


async def failure(server: SourceServer, kind: str = "rss", path: str = "/feed", **fetch: int) -> SourceError:
    """How a poll fails."""
    settings = FetchSettings(requests_per_minute_max=10**12, **fetch)
    with pytest.raises(SourceError) as raised:
        await document_source(kind, server.url + path, fetch=fetcher(None, settings)).poll(SourceState())
    return raised.value


async def test_an_rss_feed_becomes_dated_items_without_what_nobody_sees() -> None:
    """Items come oldest first with exact times; scripts and hidden paragraphs are gone, undated items are counted."""
    async with running_source_server() as server:
        url = server.serve("/feed", Document(body=RSS, content_type="application/rss+xml; charset=utf-8"))
        polled = await document_source("rss", url).poll(SourceState())
    bridge, surge = items(polled.events)
    assert bridge.title == "Ethereum bridge exploited, $120 million drained"
    assert bridge.body == "Developers paused the contracts."
    assert bridge.published_time_ns == START_NS + 600 * SECOND
    assert (surge.title, surge.body) == ("Bitcoin surges as spot funds see record inflows", "Demand was strong.")
    assert (surge.author, surge.item_id, surge.kind) == ("A. Writer", "wire-1001", SourceKind.NEWS)
    assert surge.seen_time_ns == NOW
    assert polled.dropped == 1


@pytest.mark.parametrize(
    "kind, file, content_type, title, author, seconds",
    [
        ("rss", "atom.xml", "application/atom+xml", "Ether undervalued, says desk", "B. Analyst", 1_500),
        ("json_feed", "feed.json", "application/feed+json", "Bitcoin lender files for bankruptcy", "C. Reporter", 900),
        ("cryptopanic", "cryptopanic.json", _JSON, "Bitcoin ETF inflows hit record", "Example Wire", 1_244),
        ("newsapi", "newsapi.json", _JSON, "Ether tumbles as exchange suspends withdrawals", "D. Journalist", 1_080),
        ("x", "x.json", _JSON, "", "2244994945", 1_320),
        ("reddit", "reddit.json", _JSON, "Bitcoin golden cross confirmed", "somebody", 1_200),
    ],
)
async def test_every_format_is_read(
    kind: str, file: str, content_type: str, title: str, author: str, seconds: int
) -> None:
    """A recorded document of each format gives the item that is in it."""
    async with running_source_server() as server:
        url = server.serve("/feed", Document(body=(DATA / file).read_bytes(), content_type=content_type))
        (item,) = items((await document_source(kind, url).poll(SourceState())).events)
    assert (item.title, item.author) == (title, author)
    assert item.published_time_ns // SECOND == START_NS // SECOND + seconds
    assert item.title or item.body == "$BTC to the moon, diamond hands"


@pytest.mark.parametrize("headers", [{"etag": '"v1"'}, {"last_modified": "Thu, 01 Jan 2026 00:25:00 GMT"}])
async def test_an_unchanged_document_is_not_sent_again(headers: dict[str, str]) -> None:
    """The validators of the last answer go into the next request, and 304 means that nothing is new."""
    async with running_source_server() as server:
        url = server.serve("/feed", Document(body=RSS, content_type="text/xml", **headers))
        source = document_source("rss", url)
        first = await source.poll(SourceState())
        second = await source.poll(first.state)
    assert len(first.events) == 2
    assert (second.events, second.unchanged) == ((), True)
    assert second.state == first.state


@pytest.mark.parametrize(
    "answer, expected, seconds",
    [
        (Answer(status=429, headers={"retry-after": "30"}), Failure.RATE_LIMITED, 30),
        (Answer(status=429, headers={"retry-after": "999999999"}), Failure.RATE_LIMITED, 86_400),
        (Answer(status=429, headers={"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), Failure.RATE_LIMITED, 60),
        (Answer(status=503, headers={"retry-after": "7"}), Failure.SERVER_ERROR, 7),
        (Answer(status=500, body=b"SECRET-FROM-THEM"), Failure.SERVER_ERROR, 0),
        (Answer(status=401), Failure.NOT_ALLOWED, 0),
        (Answer(status=404), Failure.NOT_FOUND, 0),
        (Answer(body=RSS, content_type="text/html"), Failure.WRONG_TYPE, 0),
        (Answer(body=RSS, content_type="text/xml", headers={"content-encoding": "gzip"}), Failure.WRONG_TYPE, 0),
        (Answer(body=b"<rss><channel>", content_type="text/xml"), Failure.MALFORMED, 0),
        (Answer(body=b"<html/>", content_type="text/xml"), Failure.MALFORMED, 0),
        (Answer(body=RSS, content_type="text/xml", cut=True), Failure.UNREACHABLE, 0),
        (Answer(content_type="text/xml", endless=True), Failure.TOO_LARGE, 0),
        (Answer(body=RSS, content_type="text/xml", drip_seconds=0.2), Failure.TIMED_OUT, 0),
        (Answer(status=302, headers={"location": "http://169.254.169.254/latest"}), Failure.REDIRECTED_AWAY, 0),
        (Answer(status=302, headers={"location": "file:///etc/passwd"}), Failure.REDIRECTED_AWAY, 0),
        (Answer(status=302, headers={"location": "/feed"}), Failure.NOT_FOUND, 0),
    ],
)
async def test_what_a_publisher_does_wrong_has_a_name(answer: Answer, expected: Failure, seconds: int) -> None:
    """Each misbehaviour ends the poll with its own failure and a sentence that holds nothing of theirs."""
    async with running_source_server() as server:
        server.misbehave("/feed", answer)
        # Time is short only where running out of it is the point.
        error = await failure(server, request_seconds_max=1 if expected is Failure.TIMED_OUT else 30)
    assert (error.failure, error.retry_after_seconds) == (expected, seconds)
    for word in ("SECRET-FROM-THEM", "169.254", "passwd", "gzip", "1970"):
        assert word not in str(error)


@pytest.mark.parametrize("file", ["billion_laughs.xml", "external_entity.xml"])
async def test_entities_are_never_expanded(file: str) -> None:
    """A feed with a document type is refused before anything in it is expanded or opened."""
    async with running_source_server() as server:
        server.serve("/feed", Document(body=(DATA / file).read_bytes(), content_type="text/xml"))
        assert (await failure(server)).failure is Failure.UNSAFE_XML


@pytest.mark.parametrize("body", [b"[", b"[" * 100_000, b"\xff\xfe", b"{}", b'{"articles": 3}', b'{"status":"error"}'])
async def test_json_that_is_none_is_refused(body: bytes) -> None:
    """Broken, deep and wrongly shaped JSON is a failure of the source, not of the desk."""
    async with running_source_server() as server:
        server.serve("/feed", Document(body=body, content_type=_JSON))
        assert (await failure(server, "newsapi")).failure in {Failure.MALFORMED, Failure.SERVER_ERROR}


async def test_redirects_stay_at_their_host_and_keys_too() -> None:
    """A redirect is followed at the same host, endless ones are not, and another origin gets no key."""
    async with running_source_server() as server, running_source_server() as other:
        server.serve("/there", Document(body=RSS, content_type="text/xml"))
        url = server.misbehave("/feed", Answer(status=302, headers={"location": "/there"}))
        assert (await fetcher().get(url, types=XML_TYPES)).body == RSS
        server.misbehave("/feed", *[Answer(status=302, headers={"location": "/feed"})] * 9)
        assert (await failure(server)).failure is Failure.REDIRECTED_AWAY
        elsewhere = other.serve("/feed", Document(body=RSS, content_type="text/xml"))
        url = server.misbehave("/away", Answer(status=302, headers={"location": elsewhere}))
        allowed = fetcher(None, None, "127.0.0.1")
        await allowed.get(url, types=XML_TYPES, headers={"x-api-key": "canary"})
        assert "canary" in str([asked.headers for asked in server.asked])
        assert "canary" not in str([asked.headers for asked in other.asked])


async def test_nothing_listens() -> None:
    """An address where nobody answers is unreachable."""
    with pytest.raises(SourceError) as raised:
        await document_source("rss", "http://127.0.0.1:9/feed").poll(SourceState())
    assert raised.value.failure is Failure.UNREACHABLE


async def test_requests_are_spread_over_their_minute() -> None:
    """The second request waits for its turn on the desk's clock."""
    clock = ManualClock(NOW)
    async with running_source_server() as server:
        url = server.serve("/feed", Document(body=RSS, content_type="text/xml"))
        slow = fetcher(clock, FetchSettings(requests_per_minute_max=2))
        await slow.get(url, types=XML_TYPES)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: slow.get(url, types=XML_TYPES))
            while not clock.sleepers:
                await anyio.lowlevel.checkpoint()
            assert len(server.asked) == 1
            clock.advance(30)
    assert len(server.asked) == 2


def test_an_item_shows_nothing_of_itself_by_accident() -> None:
    """The repr of an item holds no word of its text."""
    item = Item(
        source="wire", kind=SourceKind.NEWS, item_id="i", title="SECRET-TITLE", body="SECRET-BODY",
        published_time_ns=NOW, seen_time_ns=NOW,
    )  # fmt: skip
    assert "SECRET" not in f"{item} {item!r} {[item]}"


@pytest.mark.parametrize(
    "value, expected",
    [
        ("2026-01-01T00:00:00Z", START_NS),
        ("2026-01-01T01:00:00.000001+01:00", START_NS + 1_000),
        ("Thu, 01 Jan 2026 00:00:00 GMT", START_NS),
        ("Thu Jan 01 00:00:00 +0000 2026", START_NS),
        (1_767_225_600, START_NS),
        ("yesterday", 0),
        ("9999-99-99", 0),
        ("1" * 100, 0),
        (True, 0),
        (None, 0),
        (10**30, 0),
        ("0001-01-01T00:00:00+23:59", 0),
    ],
)
def test_dates_are_exact_or_none(value: object, expected: int) -> None:
    """Every way of writing a date is read to the nanosecond; what is none is 0."""
    assert time_ns_of(value) == expected


@pytest.mark.parametrize(
    "html, text",
    [
        ("a &amp; b", "a & b"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("x<!-- buy now -->y", "xy"),
        ('<div hidden>no</div><div aria-hidden="true">no</div>yes', "yes"),
        ('<span style="font-size: 0">no</span>yes<img alt="no">', "yes"),
        ("BTC < 50k and ETH > 2k", "BTC < 50k and ETH > 2k"),
        ("<p>open <b>never closed", "open never closed"),
    ],
)
def test_html_is_read_as_it_is_seen(html: str, text: str) -> None:
    """Tags, comments and hidden elements give no text."""
    assert plain_text(html) == text


def folder_source(folder: Path, kind: str = "folder") -> FolderSource:
    """A drop folder half an hour into the day."""
    return FolderSource(
        name="notes", kind=kind, folder=folder, clock=ManualClock(NOW), interval_seconds=5,
        settings=SourcesSettings(), fetch=FetchSettings(body_bytes_max=10_000),
    )  # fmt: skip


def drop(folder: Path, name: str, body: bytes) -> Path:
    """Put a file into the folder, as old as the start of the day."""
    path = folder / name
    path.write_bytes(body)
    os.utime(path, ns=(START_NS, START_NS))
    return path


async def test_a_dropped_file_is_read_once(tmp_path: Path) -> None:
    """Text and JSON become items; unchanged files are not read again, changed ones are, links and giants never."""
    drop(tmp_path, "a.md", b"# Bitcoin note\n\nStrong inflows.")
    drop(tmp_path, "b.json", b'[{"title": "Ether", "body": "weak"}, {"title": ""}]')
    drop(tmp_path, "huge.txt", b"x" * 20_000)
    drop(tmp_path, "broken.json", b"{")
    drop(tmp_path, "photo.png", b"\x89PNG")
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    source = folder_source(tmp_path)
    first = await source.poll(SourceState())
    assert {(item.title, item.body) for item in items(first.events)} == {
        ("Bitcoin note", "Strong inflows."),
        ("Ether", "weak"),
    }
    assert all(item.published_time_ns == START_NS for item in items(first.events))
    assert first.dropped == 4
    assert (await source.poll(first.state)).events == ()
    drop(tmp_path, "a.md", b"# Bitcoin note, changed")
    (again,) = items((await source.poll(first.state)).events)
    assert again.title == "Bitcoin note, changed"


@pytest.mark.parametrize("kind, file, count", [("x_export", "x_archive.js", 1), ("reddit_export", "reddit.jsonl", 2)])
async def test_exports_are_read_from_a_folder(tmp_path: Path, kind: str, file: str, count: int) -> None:
    """An archive of X and lines of Reddit become posts."""
    drop(tmp_path, file, (DATA / file).read_bytes())
    found = items((await folder_source(tmp_path, kind).poll(SourceState())).events)
    assert len(found) == count
    assert {item.kind for item in found} == {SourceKind.SOCIAL}


async def test_a_folder_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    """A missing folder is said, not raised on."""
    with pytest.raises(SourceError) as raised:
        await folder_source(tmp_path / "gone").poll(SourceState())
    assert raised.value.failure is Failure.UNREACHABLE
