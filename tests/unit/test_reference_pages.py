"""The reference pages are those that the code makes."""

from __future__ import annotations

from scripts.generate_reference import stale_pages


def test_reference_pages_are_up_to_date() -> None:
    """docs/reference/ says what the code says; scripts/generate_reference.py brings it up to date."""
    assert stale_pages(write=False) == []
