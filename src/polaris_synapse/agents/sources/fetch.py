"""Bounded HTTP for sources: one deadline, one size, no host but the one that was named, and never a word of theirs in
an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
import httpx2
import msgspec
from msgspec import Struct

from polaris_synapse.agents.sources.port import Failure, SourceError
from polaris_synapse.agents.sources.settings import FetchSettings
from polaris_synapse.bus.clock import Clock

_NS: Final = 1_000_000_000
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
#: A compressed answer could grow without bound while it is unpacked, so none is asked for and none is taken.
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "polaris-synapse"}
_DEFAULT_RETRY_AFTER_SECONDS: Final = 60
_VALIDATOR_CHARACTERS_MAX: Final = 256

JSON_TYPES: Final = ("application/json", "application/feed+json", "application/vnd.api+json", "text/json")
XML_TYPES: Final = ("application/rss+xml", "application/atom+xml", "application/xml", "text/xml")


class Fetched(Struct, frozen=True, kw_only=True):
    """An answer. ``unchanged``: 304, and there is no body. The validators go into the next request as they are."""

    body: bytes = b""
    etag: str = ""
    last_modified: str = ""
    unchanged: bool = False


class Fetcher:
    """The requests of one source. ``client`` follows no redirects and reads no environment; see ``new_client``.

    ``allowed_hosts``: hosts that a redirect may lead to besides the request's own. Headers of the caller, where keys
    are, go to the request's own origin only.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        clock: Clock,
        settings: FetchSettings,
        *,
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._clock = clock
        self._settings = settings
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._next_ns = 0

    async def get(
        self,
        url: str,
        *,
        types: Sequence[str],
        headers: Mapping[str, str] | None = None,
        etag: str = "",
        last_modified: str = "",
    ) -> Fetched:
        """GET a document of one of the media ``types``. Raises SourceError."""
        sent = dict(headers or {}) | {"accept": ", ".join(types)}
        if etag:
            sent["if-none-match"] = etag
        if last_modified:
            sent["if-modified-since"] = last_modified
        return await self._deadline("GET", url, sent, b"", types)

    async def post_json(self, url: str, body: object, *, headers: Mapping[str, str] | None = None) -> Any:
        """POST JSON and decode the JSON that is answered. Raises SourceError."""
        sent = dict(headers or {}) | {"accept": "application/json", "content-type": "application/json"}
        return decode_json((await self._deadline("POST", url, sent, msgspec.json.encode(body), JSON_TYPES)).body)

    async def _deadline(
        self, method: str, url: str, headers: dict[str, str], content: bytes, types: Sequence[str]
    ) -> Fetched:
        await self._take_turn()
        try:
            with anyio.fail_after(self._settings.request_seconds_max):
                return await self._follow(method, url, headers, content, types)
        except (TimeoutError, httpx2.TimeoutException):
            seconds = self._settings.request_seconds_max
            raise SourceError(Failure.TIMED_OUT, f"There was no whole answer within {seconds} seconds.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # The type of the error is ours to show; its text may quote the other side.
            sentence = f"The connection failed ({type(error).__name__})."
            raise SourceError(Failure.UNREACHABLE, sentence) from None

    async def _take_turn(self) -> None:
        """Spread requests evenly, so that a source with many of them stays within its rate."""
        now_ns = self._clock.now_ns()
        turn_ns = max(self._next_ns, now_ns)
        self._next_ns = turn_ns + 60 * _NS // self._settings.requests_per_minute_max
        if turn_ns > now_ns:
            await self._clock.sleep((turn_ns - now_ns) / _NS)

    async def _follow(
        self, method: str, url: str, headers: dict[str, str], content: bytes, types: Sequence[str]
    ) -> Fetched:
        at = httpx2.URL(url)
        own = at
        for _ in range(self._settings.redirects_max + 1):
            sent = headers if _origin(at) == _origin(own) else {"accept": headers["accept"]}
            request = self._client.build_request(method, at, headers=_HEADERS | sent, content=content or None)
            response = await self._client.send(request, stream=True, follow_redirects=False)
            try:
                if response.status_code not in _REDIRECTS:
                    return await self._read(response, types)
                at = self._target(method, own, at, response.headers.get("location", ""))
            finally:
                await response.aclose()
                # Nothing is remembered for the other side: sources share this client.
                self._client.cookies.clear()
        raise SourceError(Failure.REDIRECTED_AWAY, "It redirects more often than redirects_max allows.")

    def _target(self, method: str, own: httpx2.URL, at: httpx2.URL, location: str) -> httpx2.URL:
        target = at.join(location)
        if method != "GET" or target.scheme not in {"http", "https"} or (at.scheme, target.scheme) == ("https", "http"):
            raise SourceError(Failure.REDIRECTED_AWAY, "It redirects in a way that is not followed.")
        same_place = target.host == own.host and target.port in {own.port, None}
        if not same_place and target.host.lower() not in self._allowed_hosts:
            raise SourceError(
                Failure.REDIRECTED_AWAY,
                "It redirects to another host; add that host to allowed_hosts if you trust it.",
            )
        return target

    async def _read(self, response: httpx2.Response, types: Sequence[str]) -> Fetched:
        if response.status_code == 304:
            return Fetched(unchanged=True)
        if response.status_code != 200:
            raise self._refusal(response)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in types:
            raise SourceError(Failure.WRONG_TYPE, f"The answer is of another type than {', '.join(types)}.")
        if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            raise SourceError(Failure.WRONG_TYPE, "The answer is compressed although that was not asked for.")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._settings.body_bytes_max:
                raise SourceError(
                    Failure.TOO_LARGE, f"The answer is larger than {self._settings.body_bytes_max} bytes."
                )
        return Fetched(
            body=bytes(body),
            etag=_validator(response.headers.get("etag", "")),
            last_modified=_validator(response.headers.get("last-modified", "")),
        )

    def _refusal(self, response: httpx2.Response) -> SourceError:
        status = response.status_code
        sentence = f"It answered with status {status}."
        if status in {401, 403}:
            return SourceError(Failure.NOT_ALLOWED, f"{sentence} Check the key in the settings.")
        if status in {404, 410}:
            return SourceError(Failure.NOT_FOUND, f"{sentence} Check the address in the settings.")
        if status not in {418, 429, 503}:
            return SourceError(Failure.SERVER_ERROR, sentence)
        failure = Failure.SERVER_ERROR if status == 503 else Failure.RATE_LIMITED
        text = response.headers.get("retry-after", "")
        # A date is allowed there too; it is rare, and a minute is as good a guess.
        seconds = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else _DEFAULT_RETRY_AFTER_SECONDS
        bounded = min(seconds, self._settings.retry_after_seconds_max)
        return SourceError(failure, sentence, retry_after_seconds=bounded)


def new_client(settings: FetchSettings) -> httpx2.AsyncClient:
    """A client that takes no proxy, no key and no cookie from its surroundings."""
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(settings.request_seconds_max, connect=settings.connect_seconds_max),
        follow_redirects=False,
        trust_env=False,
        limits=httpx2.Limits(max_connections=16, max_keepalive_connections=8),
    )


def decode_json(body: bytes) -> Any:
    """JSON with exact numbers as it stands. Raises SourceError for what is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SourceError(Failure.MALFORMED, "The answer is not valid JSON.") from None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _validator(text: str) -> str:
    """A validator that is sent back as it came; an absurd one is forgotten."""
    return text if text.isascii() and text.isprintable() and len(text) <= _VALIDATOR_CHARACTERS_MAX else ""
