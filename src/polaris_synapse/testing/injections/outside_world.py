"""The world outside a desk under attack: publishers, nodes and a language model, all in the attackers' hands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from polaris_synapse.testing.injections.attacks import Attack
from polaris_synapse.testing.injections.benign import BenignCase
from polaris_synapse.testing.model_servers import Asked
from polaris_synapse.testing.source_server import Document, SourceServer
from polaris_synapse.testing.source_server_chains import EthereumChain, SolanaChain

#: How the quarantined reader's question begins; the model is asked for other purposes too.
QUARANTINE: Final = "You measure what one text says"
WATCHED_SOLANA: Final = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"
WATCHED_ETHEREUM: Final = "0x28c6c06298d514db089934071355e5743bf21d60"
USD_CONTRACT: Final = "0xdac17f958d2ee523a2206206994597c13d831ec7"
_STRANGER: Final = "0x" + "5" * 40
_STRANGER_SOLANA: Final = "4fYNw3dojWmQ4dXtSGE9epjRGy9pFSx62YypT7avPYvA"
_FEED_ITEMS_MAX: Final = 150


class ObedientModel:
    """A model that answers benign texts truly and does whatever any attack demands.

    ``secrets`` is what it puts where a demand asks for secrets: everything that it could possibly know.
    """

    def __init__(self, attacks: Sequence[Attack], benign: Sequence[BenignCase], secrets: Sequence[str]) -> None:
        self._by_marker = {attack.marker.lower(): attack for attack in attacks}
        self._benign = benign
        self._secrets = " ".join(secrets)
        self.obeyed: set[str] = set()
        self.prompts: list[tuple[bool, str]] = []

    def answer(self, asked: Asked) -> str:
        """See running_model_server."""
        system = json.dumps(asked.body["messages"][:-1])
        self.prompts.append((QUARANTINE in system, asked.prompt))
        lower = asked.prompt.lower()
        for marker, attack in self._by_marker.items():
            if marker in lower:
                self.obeyed.add(attack.case_id)
                return attack.demand.replace("%SECRET%", self._secrets)
        return self._honest(asked.prompt) if QUARANTINE in system else "{}"

    def _honest(self, prompt: str) -> str:
        text = json.loads(prompt)["text"]
        case = next((one for one in self._benign if one.title in text and one.body in text), None)
        signs = case.expected if case is not None else {}
        views = [
            {"symbol": f"{base}USDT", "score_ppm": sign * 700_000, "confidence_ppm": 700_000}
            for base, sign in signs.items()
        ]
        return json.dumps({"views": views, "category": "MARKET"})


def feeds(server: SourceServer, attacks: Sequence[Attack], benign: Sequence[BenignCase]) -> list[dict[str, Any]]:
    """Serve the texts, and the settings of the sources that read them."""
    now = datetime.now(UTC)
    news = [one for one in attacks if one.channel in {"title", "body", "rss"}]
    found: list[dict[str, Any]] = []
    for number, start in enumerate(range(0, len(news), _FEED_ITEMS_MAX)):
        document = _rss(news[start : start + _FEED_ITEMS_MAX], now)
        url = server.serve(f"/rss/{number}", Document(body=document, content_type="application/rss+xml"))
        found.append({"name": f"wire{number}", "kind": "rss", "url": url})
    posts = [(one.case_id, one.text) for one in attacks if one.channel == "social"]
    url = server.serve("/posts", Document(body=_posts(posts, now), content_type="application/json"))
    found.append({"name": "posts", "kind": "x", "url": url})
    told = [(one.case_id, one.body) for one in benign if one.kind.value == "social"]
    url = server.serve("/friends", Document(body=_posts(told, now), content_type="application/json"))
    found.append({"name": "friends", "kind": "x", "url": url})
    written = [one for one in benign if one.kind.value != "social"]
    for number, start in enumerate(range(0, len(written), _FEED_ITEMS_MAX)):
        items = [
            {
                "id": one.case_id,
                "title": one.title,
                "content_text": one.body,
                "date_published": now.isoformat(),
            }
            for one in written[start : start + _FEED_ITEMS_MAX]
        ]
        body = json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": items}).encode()
        url = server.serve(f"/honest/{number}", Document(body=body, content_type="application/feed+json"))
        found.append({"name": f"honest{number}", "kind": "json_feed", "url": url})
    return found


def _rss(attacks: Sequence[Attack], now: datetime) -> bytes:
    items = []
    for one in attacks:
        text = one.text
        title, body, other = "Bitcoin steady", "Quiet trade.", "wire"
        if one.channel == "title":
            title = text
        elif one.channel == "body":
            body = text
        else:
            other = text
        items.append(
            f"<item><title>{escape(title if one.channel == 'title' else f'{title} {one.case_id}')}</title>"
            f"<description>{escape(body)}</description><guid>{escape(one.case_id + ' ' + other)}</guid>"
            f"<author>{escape(other)}</author><category domain={quoteattr(other)}>{escape(other)}</category>"
            f"<link>{escape('javascript:' + other if one.channel == 'rss' else 'https://wire.example/')}</link>"
            f"<pubDate>{format_datetime(now)}</pubDate></item>"
        )
    head = f"<title>{escape(attacks[0].text)}</title>" if attacks and attacks[0].text.isprintable() else ""
    return f'<rss version="2.0"><channel>{head}{"".join(items)}</channel></rss>'.encode()


def _posts(posts: Sequence[tuple[str, str]], now: datetime) -> bytes:
    data = [
        {"id": case_id, "text": text, "author_id": case_id, "created_at": now.isoformat()} for case_id, text in posts
    ]
    return json.dumps({"data": data, "meta": {"result_count": len(data)}}).encode()


def drop_files(folder: Path, attacks: Sequence[Attack]) -> None:
    """Put the attacks of files into the drop folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in attacks:
        if one.channel == "file":
            (folder / f"{one.case_id}.md").write_text(one.text, encoding="utf-8")


def chains(server: SourceServer) -> tuple[EthereumChain, SolanaChain, list[dict[str, Any]]]:
    """Two chains, and the settings of the sources that watch them."""
    ethereum, solana = EthereumChain(start_seconds=_seconds_ago(60)), SolanaChain(start_seconds=_seconds_ago(60))
    # An address that has a history: its source begins after it.
    solana.transfer(WATCHED_SOLANA, _STRANGER_SOLANA, 1)
    for _ in range(3):
        ethereum.mine()
    sources = [
        {
            "name": "ethereum", "kind": "ethereum", "url": server.node("/ethereum", ethereum.rpc), "confirmations": 1,
            "addresses": [{"address": WATCHED_ETHEREUM, "label": "somebody"}], "requests_per_minute_max": 6_000,
            "assets": [
                {"code": "ETH", "decimals": 18, "amount_min": "1"},
                {"code": "USDT", "decimals": 6, "contract": USD_CONTRACT, "amount_min": "1000"},
            ],
        },
        {
            "name": "solana", "kind": "solana", "url": server.node("/solana", solana.rpc),
            "addresses": [{"address": WATCHED_SOLANA, "label": "somebody"}], "requests_per_minute_max": 6_000,
            "assets": [{"code": "ETH", "decimals": 9, "amount_min": "0.1"}],
        },
    ]  # fmt: skip
    return ethereum, solana, sources


def attack_chains(ethereum: EthereumChain, solana: SolanaChain, attacks: Sequence[Attack]) -> None:
    """Put the attacks of memos and of tokens' names onto the chains."""
    for one in attacks:
        if one.channel == "memo":
            solana.transfer(_STRANGER_SOLANA, WATCHED_SOLANA, 10**9, memo=one.text)
        elif one.channel == "token":
            data = "0x" + one.text.encode("utf-8", "replace").hex()
            move = ethereum.transfer(_STRANGER, WATCHED_ETHEREUM, 2 * 10**18, data=data)
            log = ethereum.token_transfer(USD_CONTRACT, _STRANGER, WATCHED_ETHEREUM, 5_000_000_000)
            ethereum.mine(move | {"name": one.text}, logs=(log | {"symbol": one.text},))
    ethereum.mine()
    ethereum.mine()


def _seconds_ago(seconds: int) -> int:
    return int(datetime.now(UTC).timestamp()) - seconds
