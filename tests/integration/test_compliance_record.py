"""The compliance service over the real SQL record: what the projector wrote is what the keeper signed for."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection
from tests.unit.compliance.samples import funds, open_account, usdt

from polaris_synapse.bus.journal import JournalStore
from polaris_synapse.compliance.audit import AuditReport, Tampering
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.compliance.service import ComplianceService
from polaris_synapse.compliance.settings import ComplianceSettings
from polaris_synapse.domain.messages import AuditNote
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.service import StorageService
from polaris_synapse.storage.settings import StorageSettings
from polaris_synapse.testing.bus import build_host
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.journal import MemoryJournal
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError

pytestmark = pytest.mark.anyio


class NobodyAuthenticator:
    """Lets nobody in."""

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """Always refused."""
        raise ApiError(Reason.NOT_AUTHENTICATED)


@asynccontextmanager
async def running(directory: Path, journal: JournalStore) -> AsyncIterator[ComplianceService]:
    """A host with the compliance core, its SQL record, and the service; some work is done before the block."""
    clock, registry = ManualClock(), CollectorRegistry()
    host = build_host([ComplianceCore()], journal=journal, clock=clock, registry=registry)
    storage = StorageService(
        host,
        StorageSettings(
            orders_url=f"sqlite:///{directory / 'orders.sqlite3'}",
            compliance_url=f"sqlite:///{directory / 'compliance.sqlite3'}",
        ),
        clock,
        registry,
    )
    service = ComplianceService(
        host, clock, registry, storage.read_models, NobodyAuthenticator(), ComplianceSettings.under(directory)
    )
    await storage.prepare()
    async with anyio.create_task_group() as storing:
        storing.start_soon(storage.run)
        await host.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.run)
            with anyio.fail_after(20):
                while any(check() is not None for check in service.readiness().values()):  # no event
                    if "signed for" in (service.keeper.problem or ""):
                        break
                    await anyio.sleep(0.01)
            now_ns = clock.now_ns()
            await host.request(open_account(time_ns=now_ns))
            await host.send([funds(usdt(20_000), entry_id=1, time_ns=now_ns)])
            await host.send([AuditNote(time_ns=now_ns, actor="user:x", action="login.accepted") for _ in range(1_200)])
            yield service
            tasks.cancel_scope.cancel()
        await host.stop()


async def test_the_record_verifies_over_restarts_and_an_edit_in_it_is_found(tmp_path: Path) -> None:
    """Two runs make one chain in SQL, verified with its checkpoints; one changed row is named by its sequence."""
    journal = MemoryJournal()
    reports: list[AuditReport] = []
    for _ in range(2):
        async with running(tmp_path, journal) as service:
            assert service.keeper.problem is None
            reports.append(await service.audit.verify())
    assert [report.valid for report in reports] == [True, True]
    assert reports[1].entries > reports[0].entries > 1_200
    assert reports[1].checkpoints >= 1
    database = sqlite3.connect(tmp_path / "compliance.sqlite3")
    with database:
        # Whoever may change the schema may also take off what guards the table.
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{trigger}"')
        edit = "UPDATE audit_entries SET actor = 'rosy' WHERE sequence = 700"
        assert database.execute(edit).rowcount == 1
    database.close()
    async with running(tmp_path, journal) as service:
        report = await service.audit.verify()
    assert (report.valid, report.bad_sequence, report.tampering) == (False, 700, Tampering.EDITED)
