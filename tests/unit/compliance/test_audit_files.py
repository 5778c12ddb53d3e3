"""The audit log's files, the signing key, and verifying an exported log."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from polaris_synapse.compliance.audit import Tampering, verify_days, verify_file
from polaris_synapse.compliance.audit_log import AuditLog, AuditLogError
from polaris_synapse.compliance.checkpoints import (
    CheckpointError,
    append_checkpoint,
    drop_torn_line,
    load_or_make_key,
    load_public_key,
    public_key_path,
    read_checkpoints,
    sign_checkpoint,
    signature_holds,
)
from polaris_synapse.compliance.core.audit_chain import AuditHead, genesis_hash
from polaris_synapse.compliance.core.audit_trail import Record
from polaris_synapse.compliance.core.recording import append
from polaris_synapse.compliance.merkle import MerkleFrontier
from polaris_synapse.domain.messages import AuditEntry

HOUR_NS = 3_600 * 10**9
#: 2026-01-01T00:00:00Z.
NEW_YEAR_NS = 1_767_225_600 * 10**9


def chain(count: int, *, step_ns: int = HOUR_NS) -> list[AuditEntry]:
    """A chain with an entry an hour, from New Year on."""
    head = AuditHead(0, genesis_hash())
    return [append(head, Record("user:ä", "x.y", "s", f"n {n}"), NEW_YEAR_NS + n * step_ns) for n in range(count)]


def written(directory: Path, entries: list[AuditEntry]) -> AuditLog:
    """A log with these entries in it, closed."""
    log = AuditLog(directory)
    log.open()
    log.append(entries)
    log.close()
    return log


def test_entries_go_to_the_file_of_their_day(tmp_path: Path) -> None:
    """Thirty hours fill two daily files that only their owner can read, and verify together."""
    written(tmp_path, chain(30))
    files = sorted(tmp_path.glob("*"))
    assert [file.name for file in files] == ["audit-2026-01-01.jsonl", "audit-2026-01-02.jsonl"]
    assert [len(file.read_bytes().splitlines()) for file in files] == [24, 6]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert (verify_file(tmp_path).valid, verify_file(tmp_path).entries) == (True, 30)


def test_a_log_is_continued_where_it_ended(tmp_path: Path) -> None:
    """Opening again finds the last entry, and what follows is appended behind it."""
    entries = chain(30)
    written(tmp_path, entries[:10])
    log = AuditLog(tmp_path)
    log.open()
    assert (log.last_sequence, log.last_hash) == (10, entries[9].entry_hash)
    log.append(entries[10:])
    log.close()
    assert verify_file(tmp_path).entries == 30


@pytest.mark.parametrize("kept_bytes", [1, 40, -1])
def test_a_torn_last_line_is_dropped(tmp_path: Path, kept_bytes: int) -> None:
    """A line that a crash cut anywhere is taken off, whole lines stay, and the entry can be written again."""
    entries = chain(5)
    written(tmp_path, entries[:4])
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("ab") as torn:
        torn.write(msgspec.json.encode(entries[4])[:kept_bytes])
    log = AuditLog(tmp_path)
    log.open()
    assert log.last_sequence == 4
    log.append(entries[4:])
    log.close()
    assert (verify_file(tmp_path).valid, verify_file(tmp_path).entries) == (True, 5)


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    """A log whose last line is no entry is not written to."""
    (tmp_path / "audit-2026-01-01.jsonl").write_bytes(b"{}\nhello\n")
    with pytest.raises(AuditLogError, match="audit-2026-01-01"):
        AuditLog(tmp_path).open()


def test_a_clock_that_runs_back_opens_no_older_file(tmp_path: Path) -> None:
    """An entry with an earlier time stays in the latest file, so that the files are in order."""
    entries = chain(3, step_ns=-30 * HOUR_NS)
    written(tmp_path, entries)
    assert [file.name for file in tmp_path.glob("*")] == ["audit-2026-01-01.jsonl"]
    assert verify_file(tmp_path).valid


@pytest.mark.parametrize(
    "edit, problem",
    [
        (lambda line: line.replace(b'"n 2"', b'"n 9"'), "hash of what it says"),
        (lambda line: line.replace(b'"n 2"', b'"n 9","detail":"n 2"'), "as the desk writes"),
        (lambda line: line[:-9] + b"\n", "no audit entry"),
        (lambda line: b"\xff\xfe\n", "no audit entry"),
        (lambda line: b"[" * 70_000, "too long"),
    ],
)
def test_an_exported_log_is_verified_line_by_line(tmp_path: Path, edit: object, problem: str) -> None:
    """An edited, doubled, torn or monstrous line is found at its place, in a sentence."""
    assert callable(edit)
    written(tmp_path, chain(5))
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2] = edit(lines[2])
    file.write_bytes(b"".join(lines))
    report = verify_file(file)
    assert (report.valid, report.bad_sequence) == (False, 3)
    assert problem in report.problem


def test_a_truncated_export_is_found_by_its_checkpoints(tmp_path: Path) -> None:
    """Files, checkpoints and public key together show what the files alone cannot."""
    entries = chain(12)
    key = load_or_make_key(tmp_path / "keys" / "audit.pem")
    tree = MerkleFrontier()
    for entry in entries:
        tree.append(bytes.fromhex(entry.entry_hash))
    signed = tmp_path / "signed" / "checkpoints.jsonl"
    checkpoint = sign_checkpoint(key, None, tree=tree, head_hash=entries[-1].entry_hash, time_ns=1)
    append_checkpoint(signed, checkpoint)
    assert read_checkpoints(signed) == [checkpoint]
    public = public_key_path(tmp_path / "keys" / "audit.pem")
    written(tmp_path / "audit", entries[:11])
    assert verify_file(tmp_path / "audit").valid
    report = verify_file(tmp_path / "audit", signed, public)
    assert (report.tampering, report.bad_sequence) == (Tampering.TRUNCATED, 12)
    signed.write_bytes(signed.read_bytes()[:-20])
    assert verify_file(tmp_path / "audit", signed, public).tampering is Tampering.CHECKPOINTS_ALTERED


def full_disk(monkeypatch: pytest.MonkeyPatch, *, room_bytes: int) -> None:
    """From now on a disk that takes so many bytes more, and then none."""
    left, real = room_bytes, os.write

    def write(descriptor: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, data[:left])
        left -= written
        return written

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("room_bytes", [0, 1, 500])
def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int) -> None:
    """A write that fails half way is taken back, and the same entries can be written once there is room."""
    entries = chain(6)
    written(tmp_path, entries[:2])
    log = AuditLog(tmp_path)
    log.open()
    with monkeypatch.context() as full:
        full_disk(full, room_bytes=room_bytes)
        with pytest.raises(OSError, match="No space"):
            log.append(entries[2:])
    assert log.last_sequence == 2
    assert verify_file(tmp_path).entries == 2
    log.append(entries[2:])
    log.close()
    assert (verify_file(tmp_path).valid, verify_file(tmp_path).entries) == (True, 6)


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk takes nothing of a checkpoint, and a line that a crash cut short is taken off at the next start."""
    key = load_or_make_key(tmp_path / "key.pem")
    path = tmp_path / "checkpoints.jsonl"
    first = sign_checkpoint(key, None, tree=MerkleFrontier(), head_hash=genesis_hash(), time_ns=1)
    second = sign_checkpoint(key, first, tree=MerkleFrontier(), head_hash=genesis_hash(), time_ns=2)
    append_checkpoint(path, first)
    with monkeypatch.context() as full:
        full_disk(full, room_bytes=100)
        with pytest.raises(OSError, match="No space"):
            append_checkpoint(path, second)
    assert read_checkpoints(path) == [first]
    assert drop_torn_line(path) == 0
    with path.open("ab") as file:
        file.write(msgspec.json.encode(second)[:50])
    with pytest.raises(CheckpointError, match="line 2"):
        read_checkpoints(path)
    assert drop_torn_line(path) == 50
    append_checkpoint(path, second)
    assert read_checkpoints(path) == [first, second]
    assert drop_torn_line(tmp_path / "none") == 0


def test_the_signing_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """The first use makes a key only its owner can read; later uses load it; its public half verifies."""
    path = tmp_path / "keys" / "audit.pem"
    first, again = load_or_make_key(path), load_or_make_key(path)
    assert first.private_bytes_raw() == again.private_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    checkpoint = sign_checkpoint(first, None, tree=MerkleFrontier(), head_hash=genesis_hash(), time_ns=1)
    assert signature_holds(checkpoint, load_public_key(public_key_path(path)))


def test_files_that_hold_no_such_key_are_errors(tmp_path: Path) -> None:
    """Text that is no key, and keys of another kind, are refused by name."""
    other = generate_private_key(SECP256R1())
    pems = {
        "text": b"not a key",
        "private": other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "public": other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }
    for name, pem in pems.items():
        (tmp_path / name).write_bytes(pem)
    for name in ("text", "private"):
        with pytest.raises(CheckpointError, match=name):
            load_or_make_key(tmp_path / name)
    for name in ("text", "public"):
        with pytest.raises(CheckpointError, match=name):
            load_public_key(tmp_path / name)


def test_the_daily_files_are_compared_with_the_record(tmp_path: Path) -> None:
    """They may be ahead of the record; they may not be behind it, be another chain, or break in the middle."""
    entries = chain(40)
    written(tmp_path, entries)
    head = entries[-1].entry_hash
    assert verify_days(tmp_path, 40, head).problem == ""
    assert verify_days(tmp_path, 30, entries[29].entry_hash).problem == ""
    assert "end at entry 40" in verify_days(tmp_path, 41, head).problem
    assert "another one than in the record" in verify_days(tmp_path, 30, head).problem
    second = sorted(tmp_path.glob("audit-*.jsonl"))[1]
    lines = second.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join(lines[1:]))
    found = verify_days(tmp_path, 40, head)
    assert "is missing" in found.problem
    assert 0 < found.bad_sequence < 40
