"""SIGKILL at any instant: every acknowledged input is in the journal, the state and SQL after the restart."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
import structlog
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.domain.messages import AuditEntry, AuditNote, Message
from polaris_synapse.storage.service import StorageService
from polaris_synapse.storage.settings import StorageSettings
from polaris_synapse.testing.cascade import FunctionCore

pytestmark = pytest.mark.anyio

KILLS = 4
#: How facts are written: by processes of their own.
PROCESSES = "own processes"
#: The child's own entry point: this file, run as a program.
CHILD = "import sys; sys.path[:0] = sys.argv[1:2]; import test_bus_kill; test_bus_kill.child(*sys.argv[2:])"


class Numbered(FunctionCore):
    """Gives each note the next number, as an audit entry."""

    def __init__(self) -> None:
        super().__init__("compliance", self._number)

    def _number(self, message: Message) -> list[Message]:
        if not isinstance(message, AuditNote):
            return []
        number = sum(b'"kind":"audit_note"' in seen for seen in self.seen)
        entry = AuditEntry(
            time_ns=message.time_ns,
            sequence=number,
            actor=message.actor,
            action=message.action,
            subject="",
            detail="",
            previous_hash="",
            entry_hash="",
        )
        return [entry]


def build(directory: Path, *, writer_processes: bool) -> tuple[EmbeddedHost, StorageService]:
    """A host and its storage on a directory."""
    clock, registry = SystemClock(), CollectorRegistry()
    settings = HostSettings(snapshot_interval_messages=25, tick_seconds=0.005)
    host = EmbeddedHost(SqliteJournal(directory), {"compliance": Numbered()}, clock, settings, registry)
    # The recorder keeps up within a few notes, since a start may use no snapshot that the recorder is not past.
    storage = StorageSettings(
        orders_url=f"sqlite:///{directory}/orders.db",
        compliance_url=f"sqlite:///{directory}/compliance.db",
        progress_seconds=0.01,
        gather_seconds=0.001,
        writer_processes=writer_processes,
    )
    return host, StorageService(host, storage, clock, registry)


def child(directory: str, writers: str) -> None:
    """Send notes for ever and print each one's name after it was acknowledged."""

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    async def main() -> None:
        host, storage = build(Path(directory), writer_processes=writers == PROCESSES)
        await storage.prepare()
        async with anyio.create_task_group() as group:
            group.start_soon(storage.run)
            await host.start()
            while True:
                first = host.last_offset
                notes = [AuditNote(time_ns=1, actor="child", action=f"{first}-{n}") for n in range(first % 3 + 1)]
                await host.send(notes)
                sys.stdout.write("".join(f"{note.action}\n" for note in notes))
                sys.stdout.flush()

    anyio.run(main)


@pytest.mark.parametrize("writers", ["own thread", PROCESSES])
async def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path, writers: str) -> None:
    """Over several kills at random moments each acknowledged note is in the audit table exactly once, in order."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for _ in range(KILLS):
        command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(tmp_path), writers]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: ASYNC220 - a short test
            assert process.stdout is not None
            # Killed after a random number of acknowledgements and a random moment more.
            acknowledged += [process.stdout.readline().strip() for _ in range(chance.randrange(300, 600))]
            time.sleep(chance.random() / 100)  # noqa: ASYNC251 - the moment of the kill is what is drawn
            process.send_signal(signal.SIGKILL)
            # The last line may be cut; a whole line was acknowledged.
            lines = process.stdout.read().splitlines(keepends=True)
            acknowledged += [line.strip() for line in lines if line.endswith("\n")]
    host, storage = build(tmp_path, writer_processes=writers == PROCESSES)
    await storage.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(storage.run)
        report = await host.start()
        assert report.replayed_messages < report.last_offset, f"no snapshot was used (seed {seed})"
        await storage.read_models.caught_up()
        entries: list[AuditEntry] = []
        while page := await storage.read_models.audit_entries(after_sequence=len(entries)):
            entries += page
        await host.stop()
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1)), f"seed {seed}"
    actions = [entry.action for entry in entries]
    assert len(set(actions)) == len(actions)
    assert set(acknowledged) <= set(actions), f"seed {seed}"
    assert len(acknowledged) >= 300 * KILLS
