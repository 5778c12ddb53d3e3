"""Replaying a desk's journal: the state of any past moment, compared with what the desk recorded then."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from polaris_synapse.bus.journal import JournalCorruptError, JournalError
from polaris_synapse.bus.journal_reader import JournalReader
from polaris_synapse.bus.journal_sqlite import FILE_NAME, SqliteJournal
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.desk.cores import durable_cores
from polaris_synapse.desk.journal_export import ExportFilter, UnknownKindError, export_lines, parse_kinds
from polaris_synapse.desk.journal_replay import Replay, ReplayReport
from polaris_synapse.desk.journal_views import AccountRow, OrderRow, PositionRow, Show, rows_of_state
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.reference_data import assets_of, instruments_of
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.messages import (
    KycState,
    ListInstrument,
    Mark,
    MoveFunds,
    OpenAccount,
    ReviewKyc,
    SubmitOrder,
)
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

START_NS = 1_700_000_000 * 10**9


@pytest.fixture(scope="module")
def settings() -> DeskSettings:
    """The settings of development."""
    return load_settings("development")


async def traded(directory: Path, settings: DeskSettings) -> dict[str, str]:
    """A journal in which alice and bob meet on the internal book; the state hashes at its end.

    A second passes between any two commands, and a snapshot is taken every five messages.
    """
    clock = ManualClock(START_NS)
    cores = durable_cores(settings)
    journal = SqliteJournal(directory, snapshots_kept=100)
    host_settings = HostSettings(snapshot_interval_messages=5, tick_seconds=10**6)
    async with running_host(cores, journal=journal, clock=clock, settings=host_settings) as host:
        for instrument in instruments_of(settings):
            await host.request(ListInstrument(time_ns=clock.now_ns(), actor="desk", instrument=instrument))
        reference = next(i for i in instruments_of(settings) if i.symbol == "BTCUSDT")
        assets = assets_of(settings)
        for name in ("alice", "bob"):
            await host.request(
                OpenAccount(time_ns=clock.now_ns(), actor="desk", account=name, holder_name=name, country="CH")
            )
            approve = ReviewKyc(time_ns=clock.now_ns(), actor="desk", account=name, state=KycState.APPROVED)
            await host.request(approve)
            for code, units in (("USDT", 10**13), ("BTC", 10**9)):
                await host.request(
                    MoveFunds(
                        time_ns=clock.now_ns(), actor="desk", account=name, asset=assets[code].code, amount_units=units,
                        reference=f"{name}-{code}",
                    )
                )  # fmt: skip
        ticks = reference.parse_price("60000")
        for name, side in (("alice", Side.BUY), ("bob", Side.SELL), ("alice", Side.BUY)):
            clock.advance(1)
            prices = {"mark_ticks": ticks, "bid_ticks": ticks - 1, "ask_ticks": ticks + 1, "last_ticks": ticks}
            await host.send(
                [
                    Mark(time_ns=clock.now_ns(), symbol=symbol, source="test", healthy=True, **prices)
                    for symbol in ("BTCUSDT", "BTCUSDT.INT")
                ]
            )
            order = OrderRequest(
                account=name, client_order_id=f"{name}-{clock.now_ns()}", symbol="BTCUSDT.INT", side=side,
                type=OrderType.LIMIT, quantity_lots=1000, price_ticks=ticks,
            )  # fmt: skip
            answer = await host.request(SubmitOrder(time_ns=clock.now_ns(), actor=f"user:{name}", order=order))
            assert answer.order is not None, answer
        return host.state_hashes()


def replayed(
    directory: Path, settings: DeskSettings, *, use_snapshots: bool = False, until_offset: int = 0
) -> ReplayReport:
    """A replay into fresh cores."""
    replay = Replay(durable_cores(settings)._asdict())
    with JournalReader(directory) as journal:
        replay.start(journal, use_snapshots=use_snapshots, until_offset=until_offset)
        return replay.follow(journal, until_offset=until_offset)


async def test_a_replay_comes_to_the_state_of_the_desk(tmp_path: Path, settings: DeskSettings) -> None:
    """From nothing and from every snapshot the replay ends in the live state, and each snapshot passed agrees."""
    live = await traded(tmp_path, settings)
    whole = replayed(tmp_path, settings)
    assert whole.state_hashes == live
    assert whole.started_from == 0
    assert whole.agrees
    assert len(whole.snapshots) >= 3
    quick = replayed(tmp_path, settings, use_snapshots=True)
    assert quick.state_hashes == live
    assert quick.messages < whole.messages
    for offset in range(1, whole.offset):
        bounded = replayed(tmp_path, settings, until_offset=offset)
        from_snapshot = replayed(tmp_path, settings, until_offset=offset, use_snapshots=True)
        assert bounded.offset == from_snapshot.offset == offset
        assert bounded.state_hashes == from_snapshot.state_hashes


async def test_the_state_of_a_moment_is_shown(tmp_path: Path, settings: DeskSettings) -> None:
    """Stopped after the first order it rests with its reservation; at the end it has filled and both hold positions."""
    await traded(tmp_path, settings)
    cores = durable_cores(settings)
    replay = Replay(cores._asdict())
    with JournalReader(tmp_path) as journal:
        replay.start(journal, use_snapshots=False)
        report = replay.follow(journal, until_ns=START_NS + 10**9)
        (order,) = rows_of_state(cores.risk, Show.ORDERS)
        assert isinstance(order, OrderRow)
        assert (order.account, order.state, order.quantity, order.price, order.open) == (
            "alice", "WORKING", "0.01", "60000", True,
        )  # fmt: skip
        (usdt,) = (row for row in rows_of_state(cores.risk, Show.ACCOUNTS, "alice") if row.asset == "USDT")  # type: ignore[union-attr]  # accounts
        assert isinstance(usdt, AccountRow)
        assert (usdt.total, usdt.reserved) == ("100000", "600")
        assert not any(
            isinstance(row, PositionRow) and row.quantity != "0" for row in rows_of_state(cores.risk, Show.POSITIONS)
        )
        assert report.time_ns == START_NS + 10**9
        # The same cores go on from there.
        assert replay.follow(journal).offset == journal.last_offset
    positions = {row.account: row for row in rows_of_state(cores.risk, Show.POSITIONS) if isinstance(row, PositionRow)}
    assert positions["bob"].quantity == "-0.01"
    assert positions["alice"].quantity == "0.00999"


async def test_a_snapshot_of_another_state_is_noticed(tmp_path: Path, settings: DeskSettings) -> None:
    """Where a recorded state hash is not the one that the replay comes to, the core is named."""
    await traded(tmp_path, settings)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        first = db.execute("SELECT min(offset) FROM journal_snapshots").fetchone()[0]
        # A whole snapshot of a wrong state: the one of another moment with its own hash and a checksum to match.
        rows = db.execute(
            "SELECT core, state_hash, data FROM journal_snapshots WHERE core='risk' ORDER BY offset"
        ).fetchall()
        db.execute(
            "UPDATE journal_snapshots SET state_hash=?, data=? WHERE offset=? AND core='risk'", (*rows[1][1:], first)
        )
        from polaris_synapse.bus.journal import SnapshotPart
        from polaris_synapse.bus.journal_rows import snapshot_checksum

        for core, time_ns, parts, state_hash, data in db.execute(
            "SELECT core, time_ns, parts, state_hash, data FROM journal_snapshots WHERE offset=?", (first,)
        ).fetchall():
            checksum = snapshot_checksum(first, time_ns, parts, SnapshotPart(core, state_hash, data))
            db.execute("UPDATE journal_snapshots SET checksum=? WHERE offset=? AND core=?", (checksum, first, core))
    db.close()
    report = replayed(tmp_path, settings)
    assert not report.agrees
    assert [(found.offset, found.differing) for found in report.snapshots if found.differing] == [(first, ("risk",))]


async def test_a_damaged_journal_is_not_replayed_past_the_damage(tmp_path: Path, settings: DeskSettings) -> None:
    """Replay stops at a damaged record with its offset, and a journal without its beginning needs a snapshot."""
    await traded(tmp_path, settings)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        second = db.execute(
            "SELECT first_offset FROM journal_groups ORDER BY first_offset LIMIT 1 OFFSET 1"
        ).fetchone()[0]
        db.execute("UPDATE journal_groups SET checksum = 1 WHERE first_offset = ?", (second,))
    with pytest.raises(JournalCorruptError, match=f"damaged at offset {second}"):
        replayed(tmp_path, settings)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("DELETE FROM journal_groups WHERE first_offset <= ?", (second,))
    db.close()
    assert replayed(tmp_path, settings).started_from > 0
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("DELETE FROM journal_snapshots")
    db.close()
    with pytest.raises(JournalError, match="no snapshot reaches back"):
        replayed(tmp_path, settings)


async def test_an_export_is_filtered_by_offset_kind_and_account(tmp_path: Path, settings: DeskSettings) -> None:
    """Lines are JSON with offset and message; each filter leaves exactly what it names."""
    await traded(tmp_path, settings)

    def exported(**wanted: object) -> list[dict[str, object]]:
        return [msgspec.json.decode(line) for line in export_lines(tmp_path, ExportFilter(**wanted))]  # type: ignore[arg-type]  # as named

    everything = exported()
    assert [row["offset"] for row in everything] == list(range(1, len(everything) + 1))
    assert exported(from_offset=3, to_offset=5) == everything[2:5]
    orders = exported(kinds=parse_kinds(["SubmitOrder"]), account="alice")
    assert [row["message"]["order"]["account"] for row in orders] == ["alice", "alice"]  # type: ignore[index]  # JSON
    assert exported(kinds=parse_kinds(["submit_order", "Mark"]), account="") == [
        row
        for row in everything
        if row["message"]["kind"] in {"submit_order", "mark"}  # type: ignore[index]  # JSON
    ]
    with pytest.raises(UnknownKindError, match="no message is called Order"):
        parse_kinds(["Order"])
