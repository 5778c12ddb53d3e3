"""The journal's log is copied beside the commits and begins anew behind a group that nobody waits for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from polaris_synapse.bus import journal_checkpoints
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.domain.messages import CancelOrder, Message, Tick

_LARGE = "x" * 60_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    """A journal on the disk, closed at the end."""
    opened = SqliteJournal(tmp_path)
    yield opened
    opened.close()


def awaited(number: int) -> Message:
    """A large command: its group takes 15 pages."""
    return CancelOrder(time_ns=number, request_id="r", actor="a", account="acc", client_order_id=_LARGE)


def test_commits_that_somebody_waits_for_copy_nothing_themselves(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the bound, the thread of the commits never makes a checkpoint, and nothing of the log is lost."""
    monkeypatch.setattr(journal_checkpoints.JournalCheckpoints, "_begin_anew", lambda _: pytest.fail("copied inline"))
    for number in range(1, 101):
        journal.append([awaited(number)])
    assert [message.time_ns for _, group in journal.read(1) for message in group] == list(range(1, 101))


def test_the_log_begins_anew_behind_a_tick(journal: SqliteJournal, tmp_path: Path) -> None:
    """With enough pages in the log, a group of a tick is followed by the last step, so the log's file grows no more."""
    log = tmp_path / "journal.db-wal"
    for number in range(1, 81):
        journal.append([awaited(number)])
    journal._checkpoints._copier.submit(int).result()
    for number in range(81, 84):
        journal.append([Tick(time_ns=number)])
    size = log.stat().st_size
    for number in range(84, 120):
        journal.append([awaited(number)])
    assert log.stat().st_size == size


def test_a_log_that_has_become_long_begins_anew_behind_any_group(
    journal: SqliteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no tick ever comes, the log's file still has a bound."""
    monkeypatch.setattr(journal_checkpoints, "_PAGES_MAX", 200)
    for number in range(1, 201):
        journal.append([awaited(number)])
    assert (tmp_path / "journal.db-wal").stat().st_size < 400 * 4_120


def test_a_copy_that_fails_leaves_the_journal_usable(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commits are in the log: a copy that the disk refuses is tried again later and refuses nobody's order."""

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    for number in range(1, 101):
        journal.append([awaited(number)])
    assert journal.last_offset == 100
