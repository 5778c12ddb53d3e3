"""Closes what the tests of the sources open."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.agents.sources.support import CLIENTS


@pytest.fixture(autouse=True)
async def closed_clients(anyio_backend: str) -> AsyncIterator[None]:
    """Every client of a test ends with it."""
    yield
    while CLIENTS:
        await CLIENTS.pop().aclose()
