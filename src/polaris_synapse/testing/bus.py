"""A host for tests: the real one over a journal in memory, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal import JournalStore
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.journal import MemoryJournal


def build_host(
    cores: Iterable[Core],
    *,
    journal: JournalStore | None = None,
    clock: Clock | None = None,
    settings: HostSettings | None = None,
    registry: CollectorRegistry | None = None,
) -> EmbeddedHost:
    """A host over ``cores`` that is not started yet; what is not given is made for a test."""
    return EmbeddedHost(
        journal if journal is not None else MemoryJournal(),
        {core.name: core for core in cores},
        clock if clock is not None else ManualClock(),
        settings if settings is not None else HostSettings(),
        registry if registry is not None else CollectorRegistry(),
    )


@asynccontextmanager
async def running_host(
    cores: Iterable[Core],
    *,
    journal: JournalStore | None = None,
    clock: Clock | None = None,
    settings: HostSettings | None = None,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[EmbeddedHost]:
    """A started host; stopped at the end of the block, also where the block raises."""
    host = build_host(cores, journal=journal, clock=clock, settings=settings, registry=registry)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()
