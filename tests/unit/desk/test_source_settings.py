"""Settings of outside sources: what the documents show works, and what makes no sense is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import documents

from polaris_synapse.agents.sources.settings import SourcesSettings
from polaris_synapse.desk.loading import ConfigurationError, load_settings
from polaris_synapse.desk.sources import source_weights, wired_sources
from polaris_synapse.testing.clock import ManualClock

PAGE = documents.CHECKOUT / "docs" / "how-to" / "news-and-onchain.md"


def sources_on_the_page() -> list[dict[str, Any]]:
    """The list that the page shows."""
    (block,) = [one for one in documents.blocks(PAGE) if one.language == "yaml"]
    found: list[dict[str, Any]] = yaml.safe_load(block.text)["sources"]
    return found


async def wired(sources: list[dict[str, Any]]) -> list[str]:
    """The names of the sources that settings become."""
    settings = load_settings("development", sources=sources)
    found = list(wired_sources(settings, ManualClock(), SourcesSettings()))
    for one in found:
        if one.close is not None:
            await one.close()
    return [one.source.name for one in found]


@pytest.mark.anyio
async def test_the_sources_on_the_page_work(tmp_path: Path) -> None:
    """Every source that the document shows becomes an adapter, with its key from a file and its weight."""
    key = tmp_path / "key"
    key.write_text("k" * 20)
    sources = [one | ({"api_key_file": str(key)} if "api_key_file" in one else {}) for one in sources_on_the_page()]
    assert await wired(sources) == ["wire", "newsapi", "notes", "ethereum", "funding"]
    assert source_weights(load_settings("development", sources=sources))["newsapi"] == 700_000


def test_a_desk_calls_nobody_unasked() -> None:
    """Neither of the shipped settings has a source."""
    assert load_settings("development").sources == ()


@pytest.mark.anyio
async def test_a_resting_source_is_not_wired() -> None:
    """``enabled: false`` leaves a source out."""
    assert await wired([{"name": "a", "kind": "rss", "url": "http://127.0.0.1/feed", "enabled": False}]) == []


@pytest.mark.parametrize(
    "source, word",
    [
        ({"kind": "rss", "url": "ftp://example/feed"}, "url"),
        ({"kind": "rss", "url": "https://user:secret@example/feed"}, "url"),
        ({"kind": "telepathy"}, "kind"),
        ({"kind": "rss", "url": "https://a.example", "interval_seconds": 1}, "interval_seconds"),
        ({"kind": "rss", "url": "https://a.example", "colour": "red"}, "colour"),
        ({"kind": "rss", "url": "https://a.example", "api_key": "k", "api_key_file": "/k"}, "not both"),
        ({"kind": "ethereum", "url": "https://a.example", "addresses": [], "assets": []}, "addresses"),
    ],
)
def test_impossible_sources_are_refused(source: dict[str, Any], word: str) -> None:
    """The sentence names the setting, and never the key."""
    with pytest.raises(ConfigurationError, match=word) as raised:
        load_settings("development", sources=[{"name": "a"} | source])
    assert "secret" not in str(raised.value)


def test_two_sources_of_one_name_are_refused() -> None:
    """Names tell sources apart in logs and metrics."""
    source = {"name": "a", "kind": "folder", "folder": "."}
    with pytest.raises(ConfigurationError, match="given twice"):
        load_settings("development", sources=[source, source])


@pytest.mark.anyio
async def test_a_key_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The desk does not start without the key that its settings promise."""
    source = {"name": "a", "kind": "rss", "url": "https://a.example", "api_key_file": str(tmp_path / "gone")}
    with pytest.raises(ConfigurationError, match="api_key_file"):
        await wired([source])
