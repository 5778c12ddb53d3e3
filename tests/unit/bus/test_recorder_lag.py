"""A reader of facts that has fallen behind finds everything after a restart, also where the journal is truncated."""

from __future__ import annotations

from collections.abc import Sequence

from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.domain.messages import Answer, BreakerChanged, Message, MoveFunds
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import RISK_EVENTS
from polaris_synapse.testing.cascade import FunctionCore
from polaris_synapse.testing.clock import START_NS, ManualClock
from polaris_synapse.testing.journal import MemoryJournal
from polaris_synapse.testing.simulation.host import AnswerBox, DirectSubscription, SimulatedHost


def risk(message: Message) -> Sequence[Message]:
    """Says one fact for each deposit."""
    if not isinstance(message, MoveFunds):
        return ()
    return (
        Answer(time_ns=message.time_ns, request_id=message.request_id),
        BreakerChanged(
            time_ns=message.time_ns, scope=message.reference, tripped=True, reason=Reason.NONE, note="", actor=""
        ),
    )


class Reader(DirectSubscription):
    """Hears everything; ``stuck``: it stores nothing of it."""

    stuck = False

    def flush(self) -> None:
        """See DirectSubscription."""
        stored = self.recorded_offset
        super().flush()
        if self.stuck:
            self.recorded_offset = stored


def build(journal: MemoryJournal, heard: list[str], recorded_offset: int) -> tuple[SimulatedHost, Reader]:
    """A started host with a reader that has recorded up to an offset."""
    host, reader = build_only(journal, heard, recorded_offset)
    report = host.recover_now()
    assert report.missing_facts == {}
    host.open_now()
    return host, reader


def build_only(journal: MemoryJournal, heard: list[str], recorded_offset: int = 0) -> tuple[SimulatedHost, Reader]:
    """The same, not started."""
    settings = HostSettings(snapshot_interval_messages=3, journal_keep_all=False, batch_messages_max=1)
    core = FunctionCore("risk", risk)
    answers = AnswerBox(lambda _: None, lambda *_: None)
    host = SimulatedHost(journal, {"risk": core}, ManualClock(), settings, answers)

    def note(batch: Sequence[object]) -> None:
        heard.extend(envelope.message.scope for envelope in batch)  # type: ignore[attr-defined]  # BreakerChanged

    reader = Reader((RISK_EVENTS,), note, name="reader", recorded_offset=recorded_offset)
    host.attach(reader, records=True)
    return host, reader


def deposit(host: SimulatedHost, number: int) -> None:
    """One deposit, whose fact is named after its number."""
    name = f"deposit-{number}"
    host.command(
        MoveFunds(time_ns=START_NS, request_id=name, account="a", asset="USDT", amount_units=1, reference=name)
    )
    host.turn()


def test_snapshots_wait_for_a_reader_that_is_behind() -> None:
    """The reader stores nothing any more while many snapshots fall due: after the restart it hears every fact."""
    journal = MemoryJournal(snapshots_kept=2)
    host, reader = build(journal, [], 0)
    for number in range(20):
        deposit(host, number)
    assert journal.first_offset > 1
    reader.stuck = True
    for number in range(20, 50):
        deposit(host, number)
    again: list[str] = []
    build(journal, again, reader.recorded_offset)
    assert again == [f"deposit-{number}" for number in range(20, 50)]


def test_snapshots_go_on_when_the_reader_has_caught_up() -> None:
    """A reader that keeps up costs no snapshot, and the journal stays short."""
    journal = MemoryJournal(snapshots_kept=2)
    host, _ = build(journal, [], 0)
    for number in range(30):
        deposit(host, number)
    assert len(journal.snapshots()) == 2
    assert journal.first_offset > 15


def test_facts_that_are_gone_are_reported() -> None:
    """A reader whose own store was lost is told what it will never hear, although replay moves it on meanwhile."""
    journal = MemoryJournal(snapshots_kept=2)
    host, _ = build(journal, [], 0)
    for number in range(30):
        deposit(host, number)
    report = build_only(journal, [])[0].recover_now()
    assert report.missing_facts == {"reader": (1, report.snapshot_offset)}
