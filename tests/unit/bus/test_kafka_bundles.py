"""Several messages in one record: what is written is read, and a fold cannot tell how its log was cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.bus.kafka_messages import heard, standing

from polaris_synapse.bus.kafka import bundles
from polaris_synapse.bus.kafka.bundles import Packer, Parcel, tags_of
from polaris_synapse.bus.kafka.partition import PartitionFold, take_all
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.topics import TopicCounts, partition_counts, topic_specs
from polaris_synapse.bus.kafka.turns import turns
from polaris_synapse.bus.kafka.wire import Record, RecordError, Source, holds_any, read_records
from polaris_synapse.domain import messages as m
from polaris_synapse.domain import topics as t
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Message
from polaris_synapse.domain.money import Asset
from polaris_synapse.risk.core import RiskCore

DESTINATIONS = Destinations(partition_counts(topic_specs(TopicCounts(), replicas=1)))
USDT, BTC = Asset("USDT", 8), Asset("BTC", 8)


class Raw:
    """A parcel as the client library would show it after its way over the brokers."""

    def __init__(self, parcel: Parcel, offset: int = 0) -> None:
        self._parcel = parcel
        self._offset = offset

    def value(self) -> bytes:
        return self._parcel.value

    def headers(self) -> list[tuple[str, bytes]]:
        return self._parcel.headers

    def partition(self) -> int:
        return self._parcel.partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> None:
        return None


def deposit(number: int) -> m.MoveFunds:
    """Money for an account that is open."""
    return m.MoveFunds(
        time_ns=100 + number,
        request_id=f"r{number}",
        account="main",
        asset="BTC",
        amount_units=number,
        reference=str(number),
    )


def inbox() -> list[tuple[Message, Source | None, int]]:
    """What comes to risk: a listing, an account, a repetition of it, and deposits that somebody waits for."""
    instrument = Instrument(symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3)
    found: list[tuple[Message, Source | None, int]] = [
        (m.ListInstrument(time_ns=1, request_id="l", instrument=instrument), None, 2),
        (standing(1), heard(1), -1),
        (standing(2), heard(2), -1),
        (standing(1), heard(1), -1),
    ]
    return found + [(deposit(number), None, 3) for number in range(1, 9)]


def test_what_is_packed_is_read() -> None:
    """Messages, who said them, their numbers and where to answer come out as they went in."""
    packer = Packer("compliance/0")
    for number in (1, 2, 3):
        packer.add(t.RISK, 5, standing(number), heard(number))
    (parcel,) = packer.take()
    assert (parcel.topic, parcel.partition, parcel.messages) == (t.RISK, 5, 3)
    records = read_records(t.RISK, Raw(parcel, 40))
    assert records == [Record(t.RISK, 5, 40, standing(n), heard(n), -1, n - 1) for n in (1, 2, 3)]
    assert not packer.take()


def test_commands_from_outside_have_no_source_and_keep_their_reply() -> None:
    """Each place and each asker's partition of answers has a record of its own."""
    packer = Packer()
    packer.add(t.RISK, 0, deposit(1), None, 4)
    packer.add(t.RISK, 0, deposit(2), None)
    packer.add(t.RISK, 0, deposit(3), None, 4)
    asked, unasked = packer.take()
    assert [(one.message, one.source, one.reply) for one in read_records(t.RISK, Raw(asked))] == [
        (deposit(1), None, 4),
        (deposit(3), None, 4),
    ]
    assert [(one.message, one.reply) for one in read_records(t.RISK, Raw(unasked))] == [(deposit(2), -1)]


def test_a_compacted_topic_has_one_message_a_record() -> None:
    """Under its account's key, since the newest record of a key replaces the others."""
    packer = Packer("compliance/0")
    for number in (1, 2):
        packer.add(t.COMPLIANCE_DECISIONS, 0, standing(number), heard(number))
    parcels = packer.take()
    assert [(one.key, one.messages) for one in parcels] == [(b"main", 1), (b"main", 1)]
    assert [read_records("x", Raw(one))[0].source for one in parcels] == [heard(1), heard(2)]


def test_a_record_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that is full is closed, in order, and no message is left out."""
    monkeypatch.setattr(bundles, "_MESSAGES_MAX", 3)
    packer = Packer("compliance/0")
    for number in range(1, 8):
        packer.add(t.RISK, 0, standing(number), heard(number))
    parcels = packer.take()
    assert [one.messages for one in parcels] == [3, 3, 1]
    assert [r.source for one in parcels for r in read_records("x", Raw(one))] == [heard(n) for n in range(1, 8)]


def test_who_wants_none_of_a_bundle_sees_that_from_its_header() -> None:
    """A bundle names its types; a single message is always looked at."""
    packer = Packer("risk/0")
    packer.add(t.RISK, 0, standing(1), heard(1))
    packer.add(t.RISK, 0, deposit(1), heard(2))
    raw = Raw(packer.take()[0])
    assert holds_any(raw, tags_of([m.MoveFunds, m.Tick]))
    assert not holds_any(raw, tags_of([m.Tick]))
    alone = Raw(bundles.single(t.RISK, 0, standing(1), []))
    assert holds_any(alone, tags_of([m.Tick]))


def test_a_bundle_that_is_not_ours_is_refused() -> None:
    """Neither entries of another shape nor a sender without a number are taken."""
    for value, headers in ((b"[1]", []), (b"[]", [("from", b"risk")])):
        with pytest.raises(RecordError):
            read_records("x", Raw(Parcel("x", 0, 1, value, headers)))


def logged(sizes: Sequence[int]) -> list[Record]:
    """The inbox as a log whose records hold so many messages each, the last one the rest."""
    found: list[Record] = []
    left = inbox()
    for offset, size in enumerate([*sizes, len(left)]):
        taken, left = left[:size], left[size:]
        found += [Record(t.RISK, 0, offset, *one, position) for position, one in enumerate(taken)]
    return found


@pytest.mark.parametrize("sizes", [(), (1,) * 12, (4, 4), (2, 5)], ids=["one", "each", "three", "odd"])
def test_how_a_log_is_cut_does_not_matter_to_a_core(sizes: tuple[int, ...]) -> None:
    """The same messages in one record or in many give the same state, outputs and numbers, and ids are unique."""
    whole = PartitionFold(RiskCore(), 0, DESTINATIONS)
    expected, _ = take_all(whole, logged((1,) * 12))
    cut = PartitionFold(RiskCore(), 0, DESTINATIONS)
    found, _ = take_all(cut, logged(sizes))
    assert cut.core.state_hash() == whole.core.state_hash()
    assert (cut.skipped, whole.skipped) == (1, 1)
    assert [(o.topic, o.partition, o.message, o.source.sequence) for o in found] == [
        (o.topic, o.partition, o.message, o.source.sequence) for o in expected
    ]
    places = [(o.topic, o.partition, o.source.offset, o.source.index) for o in found]
    assert len(set(places)) == len(places)


def test_a_snapshot_is_of_whole_records() -> None:
    """After one, the next record goes on as if nothing had happened, and the same record again is refused."""
    log = logged((6,))
    whole = PartitionFold(RiskCore(), 0, DESTINATIONS)
    take_all(whole, log[:6])
    snapshot = whole.snapshot()
    expected, _ = take_all(whole, log[6:])
    restored = PartitionFold(RiskCore(), 0, DESTINATIONS)
    restored.restore(snapshot)
    with pytest.raises(AssertionError):
        take_all(restored, log[5:6])
    found, _ = take_all(restored, log[6:])
    assert found == expected
    assert restored.core.state_hash() == whole.core.state_hash()


def test_a_turn_of_the_event_loop_is_bounded() -> None:
    """Many records are dealt with in several groups, in order; a large one is a group of its own."""
    raws = [
        Raw(Parcel("x", 0, 1, bytes(size), []), offset) for offset, size in enumerate((100_000,) * 4 + (900_000, 1))
    ]
    groups = list(turns(raws))
    assert [[raw.offset() for raw in group] for group in groups] == [[0, 1], [2, 3], [4], [5]]
    assert list(turns([])) == []
