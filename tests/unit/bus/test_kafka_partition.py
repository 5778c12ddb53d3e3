"""One partition of a core: what is heard once, what is a gap, and what a snapshot carries."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.bus.kafka_messages import heard, standing

from polaris_synapse.bus.core import SnapshotError
from polaris_synapse.bus.kafka.gathering import Gathering
from polaris_synapse.bus.kafka.partition import Local, Output, PartitionFold, SequenceGapError, take_all
from polaris_synapse.bus.kafka.routing import Destinations, partition_of
from polaris_synapse.bus.kafka.snapshot_store import MemorySnapshotStore, SnapshotStoreError
from polaris_synapse.bus.kafka.topics import INSTRUMENTS, TopicCounts, partition_counts, topic_specs
from polaris_synapse.bus.kafka.wire import Record, RecordError, Source, headers_of, read_headers
from polaris_synapse.domain import messages as m
from polaris_synapse.domain import topics as t
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Answer, Message
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import OrderEvent
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore

pytestmark = pytest.mark.anyio

SPECS = topic_specs(TopicCounts(), replicas=1)
DESTINATIONS = Destinations(partition_counts(SPECS))
USDT, BTC = Asset("USDT", 8), Asset("BTC", 8)


def instrument(symbol: str = "BTCUSDT") -> Instrument:
    """A pair on the paper venue."""
    return Instrument(symbol=symbol, base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3)


def command(number: int) -> m.MoveFunds:
    """A command of an account that nobody opened; risk refuses it."""
    return m.MoveFunds(
        time_ns=number, request_id=f"r{number}", account="main", asset="BTC", amount_units=1, reference=str(number)
    )


def record(
    offset: int, message: Message, source: Source | None = None, *, reply: int = -1, topic: str = t.RISK
) -> Record:
    """A record of partition 0."""
    return Record(topic, 0, offset, message, source, reply)


def fold() -> PartitionFold:
    """A fresh partition 0 of risk."""
    return PartitionFold(RiskCore(), 0, DESTINATIONS)


def test_an_output_that_comes_again_has_no_effect() -> None:
    """A number that was taken before is skipped, and the state is as if it had come once."""
    once, twice = fold(), fold()
    take_all(once, [record(0, standing(1), heard(1)), record(1, standing(2), heard(2))])
    repeated = [(1, 1), (2, 2), (1, 1), (2, 2)]
    take_all(twice, [record(at, standing(n), heard(n)) for at, (n, _) in enumerate(repeated)])
    assert twice.core.state_hash() == once.core.state_hash()
    assert twice.skipped == 2
    assert twice.offset == 3


def test_a_missing_output_stops_the_partition() -> None:
    """What a sender numbered 3 after 1 means that 2 is lost: nothing after it may be believed."""
    one = fold()
    take_all(one, [record(0, standing(1), heard(1))])
    with pytest.raises(SequenceGapError, match="compliance/0"):
        take_all(one, [record(1, standing(3), heard(3))])


def test_two_owners_say_the_same_with_the_same_numbers() -> None:
    """Outputs are a function of the log, so a successor's repetition is recognised wherever it arrives."""
    log = [record(0, m.ListInstrument(time_ns=1, request_id="a", instrument=instrument()), reply=3)]
    log += [record(1, standing(1), heard(1)), record(2, command(2), reply=5)]
    first, _ = take_all(fold(), log)
    second, _ = take_all(fold(), log)
    assert first == second
    numbered = [output for output in first if output.topic != t.ANSWERS]
    assert all(output.source.sequence for output in numbered)


def test_numbers_go_on_after_a_snapshot() -> None:
    """A restored partition numbers its outputs as the one that never stopped."""
    log = [record(0, m.ListInstrument(time_ns=1, instrument=instrument())), record(1, standing(1), heard(1))]
    rest = [record(2, m.MoveFunds(time_ns=3, account="main", asset="BTC", amount_units=5, reference="x"))]
    whole = fold()
    take_all(whole, log)
    snapshot = whole.snapshot()
    expected, _ = take_all(whole, rest)
    restored = fold()
    restored.restore(snapshot)
    found, _ = take_all(restored, rest)
    assert found == expected
    assert found
    assert restored.core.state_hash() == whole.core.state_hash()


def test_a_damaged_snapshot_is_refused() -> None:
    """A snapshot that does not match its hash, or is another partition's, is not restored."""
    from msgspec.structs import replace

    one = fold()
    take_all(one, [record(0, standing(1), heard(1))])
    snapshot = one.snapshot()
    for broken in (replace(snapshot, data=snapshot.data + b" "), replace(snapshot, partition=1)):
        with pytest.raises(SnapshotError):
            fold().restore(broken)


def test_time_never_runs_backwards() -> None:
    """Of shells whose clocks differ the later time holds, in every replay alike."""
    one = fold()
    take_all(one, [record(0, m.Tick(time_ns=50)), record(1, m.Tick(time_ns=20))])
    assert one.host.last_time_ns == 50


def test_an_answer_goes_to_who_asked() -> None:
    """The partition of the answers topic comes with the question; without one nobody is told."""
    asked, _ = take_all(fold(), [record(0, command(1), reply=6)])
    unasked, _ = take_all(fold(), [record(0, command(1))])
    assert [(output.topic, output.partition) for output in asked] == [(t.ANSWERS, 6)]
    assert unasked == []


def test_accepted_instruments_are_announced_once_for_all_partitions() -> None:
    """Partition 0 of risk says which instruments were listed; a refused listing is not announced."""
    good = m.ListInstrument(time_ns=1, request_id="a", instrument=instrument())
    bad = m.ListInstrument(
        time_ns=2,
        request_id="b",
        instrument=Instrument(symbol="X", base=BTC, quote=BTC, tick_units=10**6, lot_units=10**3),
    )
    outputs, _ = take_all(fold(), [record(0, good), record(1, bad)])
    assert [output.message for output in outputs if output.topic == INSTRUMENTS] == [good]
    other, _ = take_all(PartitionFold(RiskCore(1), 1, DESTINATIONS), [record(0, good)])
    assert [output for output in other if output.topic == INSTRUMENTS] == []


def test_order_ids_of_partitions_differ_and_lead_back() -> None:
    """A report finds the partition that made the order id, also where the book no longer knows the account."""
    for partition in range(4):
        report = m.OrderReport(
            time_ns=1, order_id=7 * 1024 + partition, account="", symbol="BTCUSDT", event=OrderEvent.REJECT_CANCEL
        )
        assert DESTINATIONS.of(report) == ((t.RISK, partition),)


def everywhere(topic: str) -> list[tuple[str, int]]:
    """Every partition of a topic."""
    return [(topic, number) for number in range(DESTINATIONS.partitions(topic))]


def test_what_concerns_everybody_reaches_every_partition() -> None:
    """Time, marks, stops of the whole desk and instruments' status go to all partitions of risk."""
    mark = m.Mark(
        time_ns=1, symbol="BTCUSDT", source="x", mark_ticks=1, bid_ticks=1, ask_ticks=1, last_ticks=1, healthy=True
    )
    messages: Sequence[Message] = (
        m.Tick(time_ns=1),
        mark,
        m.SetKillLevel(time_ns=1, level=m.KillLevel.CANCEL_ALL),
        m.ActivateBreaker(time_ns=1, scope="symbol:BTCUSDT"),
        m.CancelAll(time_ns=1),
    )
    for message in messages:
        found = [place for place in DESTINATIONS.of(message) if place[0] == t.RISK]
        assert found == everywhere(t.RISK), type(message).__name__


def test_what_concerns_one_account_or_symbol_goes_to_its_partition() -> None:
    """Stops of one account go to its partition; a listing opens a book in its symbol's partition only."""
    here = partition_of("main", 4)
    for message in (
        m.SetKillLevel(time_ns=1, level=m.KillLevel.OFF, account="main"),
        m.ResetBreaker(time_ns=1, scope="account:main"),
    ):
        assert DESTINATIONS.of(message) == ((t.RISK, here),)
    listing = m.ListInstrument(time_ns=1, instrument=instrument())
    assert [place for place in DESTINATIONS.of(listing) if place[0] == t.MATCHING] == [
        (t.MATCHING, partition_of("BTCUSDT", 4))
    ]


def test_commands_to_shells_stay_in_the_process() -> None:
    """What a venue or the agents' placement is to do is not written to any topic."""
    proposal = m.ResyncNeeded(time_ns=1, symbol="BTCUSDT", source="x", cause="gap")
    assert DESTINATIONS.of(proposal) == ()
    assert DESTINATIONS.is_local(m.VenueSubmit)
    assert DESTINATIONS.is_local(m.ProposalMade)


def test_a_command_is_answered_by_its_first_inbox() -> None:
    """Several rooms hear of new limits; risk answers, in every partition that they go to."""
    limits = m.SetLimits(time_ns=1, account="*", limits=m.RiskLimits())
    assert list(DESTINATIONS.answering(limits)) == everywhere(t.RISK)


def test_answers_of_partitions_are_one_answer() -> None:
    """It is whole when nobody is missing, names every order, and is a refusal where anybody refused."""
    places = [("risk", number) for number in range(3)]
    gathering = Gathering(places)
    assert gathering.add(places[0], Answer(time_ns=1, request_id="r", order_ids=(5,))) is None
    assert gathering.add(places[0], Answer(time_ns=1, request_id="r", order_ids=(9,))) is None
    assert gathering.add(places[1], Answer(time_ns=1, request_id="r", order_ids=(2,))) is None
    whole = gathering.add(places[2], Answer(time_ns=1, request_id="r", reason=Reason.INVALID_VALUE))
    assert whole is not None
    assert (whole.reason, whole.order_ids, whole.duplicate) == (Reason.INVALID_VALUE, (2, 5), False)


def test_headers_carry_identity_and_reply() -> None:
    """What is written is read; what is not ours is refused."""
    source = Source("risk", 3, 12, 1, 9)
    assert read_headers(headers_of(source, 4)) == (source, 4)
    assert read_headers(None) == (None, -1)
    with pytest.raises(RecordError):
        read_headers([("id", b"nonsense")])


def test_topics_are_declared_for_every_route() -> None:
    """Every inbox and fact has a topic, command topics have none, and names are not repeated."""
    names = [spec.name for spec in SPECS]
    assert len(set(names)) == len(names)
    assert not set(names) & t.COMMAND_TOPICS
    routed = {topic for route in t.ROUTES.values() for topic in route.topics} - t.COMMAND_TOPICS
    assert routed <= set(names)


async def test_the_memory_store_keeps_the_newest() -> None:
    """The newest snapshots stay, and a store that is away says so."""
    store = MemorySnapshotStore(kept=2)
    one = PartitionFold(MatchingCore(), 0, DESTINATIONS)
    for offset in range(4):
        outputs: list[Output] = []
        local: list[Local] = []
        one.take(record(offset, m.Tick(time_ns=offset), topic=t.MATCHING), outputs, local)
        await store.save(one.snapshot())
    assert [snapshot.offset for snapshot in await store.load("matching", 0)] == [3, 2]
    store.problem = "the disk is full"
    with pytest.raises(SnapshotStoreError, match="full"):
        await store.load("matching", 0)
