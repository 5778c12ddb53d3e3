"""Verifying the audit log: the chain entry by entry, and the signed checkpoints against it.

What each part can show:

- the chain: an entry that was edited, removed, added or moved, and where;
- the checkpoints: an end that was cut off, a log that was written anew as a whole or from some entry on, and two
  histories that were both signed.

Entries after the last checkpoint are chained but not yet signed for; the report counts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from polaris_synapse.compliance.checkpoints import (
    Checkpoint,
    CheckpointError,
    load_public_key,
    problem_between,
    read_checkpoints,
    signature_holds,
)
from polaris_synapse.compliance.core.audit_chain import genesis_hash, hash_of
from polaris_synapse.compliance.merkle import MerkleFrontier
from polaris_synapse.domain.messages import AuditEntry

ENTRY_LINE_BYTES_MAX: Final = 65_536


class Tampering(StrEnum):
    """What was done to the log, as far as it can be told."""

    EDITED = "EDITED"
    REPLACED = "REPLACED"
    DELETED = "DELETED"
    INSERTED = "INSERTED"
    SWAPPED = "SWAPPED"
    UNREADABLE = "UNREADABLE"
    TRUNCATED = "TRUNCATED"
    REWRITTEN = "REWRITTEN"
    FORKED = "FORKED"
    CHECKPOINTS_ALTERED = "CHECKPOINTS_ALTERED"


class AuditReport(Struct, frozen=True, kw_only=True):
    """What verifying found.

    ``entries`` were read, up to the first bad one. ``bad_sequence`` is the first place at which the log cannot be what
    the desk wrote (0: none, or a problem of the checkpoints alone), ``tampering`` what it looks like, ``problem`` says
    it in a sentence. ``unsigned_entries`` came after the last checkpoint. ``signatures_checked`` is false where no
    public key was given.
    """

    valid: bool
    entries: int
    head_hash: str
    checkpoints: int = 0
    signatures_checked: bool = False
    unsigned_entries: int = 0
    bad_sequence: int = 0
    tampering: Tampering | None = None
    problem: str = ""


class _Finding(Struct, frozen=True):
    tampering: Tampering
    bad_sequence: int
    problem: str


class AuditVerifier:
    """Takes entries one by one, in the order of the log, in constant memory; ``report`` ends it."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint] = (),
        public_key: Ed25519PublicKey | None = None,
        *,
        partition: int = 0,
    ) -> None:
        self._checkpoints = sorted(checkpoints, key=lambda checkpoint: checkpoint.size)
        self._finding = _problem_of(checkpoints, public_key)
        self._signatures_checked = public_key is not None
        self._next_checkpoint = 0
        self._head_hash = genesis_hash(partition)
        self._tree = MerkleFrontier()
        self._signed_size = 0
        self._gap: AuditEntry | None = None
        self._compare_with_checkpoints()

    @property
    def finding(self) -> bool:
        """Whether something was found already, so that reading on adds nothing."""
        return self._finding is not None

    def feed(self, entry: AuditEntry) -> None:
        """Judge the next entry. After the first finding nothing more is judged."""
        if self._finding is not None:
            return
        expected = self._tree.size + 1
        if self._gap is not None:
            self._finding = _gap_finding(self._gap, expected, entry)
        elif entry.sequence > expected:
            # One entry more tells a swap from a removal.
            self._gap = entry
        elif entry.sequence < expected:
            text = f"entry {entry.sequence} stands again where entry {expected} belongs"
            self._finding = _Finding(Tampering.INSERTED, expected, text)
        elif hash_of(entry) != entry.entry_hash:
            text = f"entry {expected} does not have the hash of what it says"
            self._finding = _Finding(Tampering.EDITED, expected, text)
        elif entry.previous_hash != self._head_hash:
            text = f"entry {expected} does not follow entry {expected - 1}: one of the two was replaced"
            self._finding = _Finding(Tampering.REPLACED, expected, text)
        else:
            self._head_hash = entry.entry_hash
            self._tree.append(bytes.fromhex(entry.entry_hash))
            self._compare_with_checkpoints()

    def feed_unreadable(self, problem: str) -> None:
        """The next entry could not be read."""
        if self._finding is None:
            self._finding = _Finding(Tampering.UNREADABLE, self._tree.size + 1, problem)

    def report(self) -> AuditReport:
        """What was found, now that there are no more entries."""
        size = self._tree.size
        if self._finding is None and self._gap is not None:
            self._finding = _gap_finding(self._gap, size + 1, None)
        left = self._checkpoints[self._next_checkpoint :]
        if self._finding is None and left:
            last = left[-1]
            text = f"checkpoint {last.number} was signed over {last.size} entries, only {size} are here"
            self._finding = _Finding(Tampering.TRUNCATED, size + 1, text)
        finding = self._finding
        return AuditReport(
            valid=finding is None,
            entries=size,
            head_hash=self._head_hash,
            checkpoints=len(self._checkpoints),
            signatures_checked=self._signatures_checked and bool(self._checkpoints),
            unsigned_entries=size - self._signed_size,
            bad_sequence=0 if finding is None else finding.bad_sequence,
            tampering=None if finding is None else finding.tampering,
            problem="" if finding is None else finding.problem,
        )

    def _compare_with_checkpoints(self) -> None:
        size = self._tree.size
        while self._next_checkpoint < len(self._checkpoints) and self._finding is None:
            checkpoint = self._checkpoints[self._next_checkpoint]
            if checkpoint.size > size:
                return
            if checkpoint.head_hash != self._head_hash or checkpoint.root_hash != self._tree.root().hex():
                text = (
                    f"the entries up to {size} are a chain, but not the one that checkpoint {checkpoint.number} was "
                    f"signed over: it was written anew after entry {self._signed_size}"
                )
                self._finding = _Finding(Tampering.REWRITTEN, self._signed_size + 1, text)
                return
            self._signed_size = checkpoint.size
            self._next_checkpoint += 1


def _gap_finding(jumped_to: AuditEntry, expected: int, following: AuditEntry | None) -> _Finding:
    there = jumped_to.sequence
    if following is not None and following.sequence == expected and there != expected + 1:
        return _Finding(Tampering.INSERTED, expected, f"entry {there} was put in before entry {expected}")
    adjacent = following is not None and following.sequence == expected
    apart = following is not None and following.sequence == expected + 1 and there != expected + 1
    if adjacent or apart:
        return _Finding(Tampering.SWAPPED, expected, f"entry {there} stands where entry {expected} belongs")
    last = jumped_to.sequence - 1
    text = f"entry {expected} is missing" if last == expected else f"entries {expected} to {last} are missing"
    return _Finding(Tampering.DELETED, expected, text)


def _problem_of(checkpoints: Sequence[Checkpoint], public_key: Ed25519PublicKey | None) -> _Finding | None:
    """What is wrong with the checkpoints among themselves. Two histories that were both signed are a fork."""
    signed = [checkpoint for checkpoint in checkpoints if public_key is None or signature_holds(checkpoint, public_key)]
    of_size: dict[int, Checkpoint] = {}
    of_number: dict[int, Checkpoint] = {}
    for checkpoint in signed:
        other = of_size.setdefault(checkpoint.size, checkpoint)
        twin = of_number.setdefault(checkpoint.number, checkpoint)
        if other.root_hash != checkpoint.root_hash or twin.content_hash() != checkpoint.content_hash():
            text = f"two different histories of {checkpoint.size} entries were both signed as checkpoints"
            before = max((size for size in of_size if size < min(checkpoint.size, twin.size)), default=0)
            return _Finding(Tampering.FORKED, before + 1, text)
    previous: Checkpoint | None = None
    for checkpoint in checkpoints:
        problem = problem_between(previous, checkpoint)
        if public_key is not None and not signature_holds(checkpoint, public_key):
            problem = f"checkpoint {checkpoint.number} does not bear this key's signature"
        if problem:
            return _Finding(Tampering.CHECKPOINTS_ALTERED, 0, problem)
        previous = checkpoint
    return None


def verify_audit(
    entries: Iterable[AuditEntry],
    checkpoints: Sequence[Checkpoint] = (),
    public_key: Ed25519PublicKey | None = None,
    *,
    partition: int = 0,
) -> AuditReport:
    """Verify a log, in the order in which it is given, against the checkpoints signed over it."""
    verifier = AuditVerifier(checkpoints, public_key, partition=partition)
    for entry in entries:
        verifier.feed(entry)
        if verifier.finding:
            break
    return verifier.report()


class UnreadableEntryError(ValueError):
    """A line of an audit file that the desk did not write."""


def read_entries(path: Path) -> Iterator[AuditEntry]:
    """The entries of an audit file, or of a folder of daily ones. Raises UnreadableEntryError and OSError."""
    files = sorted(path.glob("audit-*.jsonl")) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield _entry_of(line, f"{file.name} line {number}")


def _entry_of(line: bytes, where: str) -> AuditEntry:
    if len(line) > ENTRY_LINE_BYTES_MAX:
        raise UnreadableEntryError(f"{where} is too long for an entry")
    try:
        entry = msgspec.json.decode(line, type=AuditEntry)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableEntryError(f"{where} is no audit entry: {error}") from None
    # A line may say more than its entry does, such as a field twice: what people would read is not what was hashed.
    if msgspec.json.encode(entry) != line.rstrip(b"\r\n"):
        raise UnreadableEntryError(f"{where} is not written as the desk writes entries")
    return entry


def verify_file(file: Path, checkpoints: Path | None = None, public_key: Path | None = None) -> AuditReport:
    """Verify an exported log (JSON lines, or a folder of daily files) offline.

    Raises OSError for files that cannot be read and CheckpointError for a key that is none.
    """
    key = None if public_key is None else load_public_key(public_key)
    try:
        signed = [] if checkpoints is None else read_checkpoints(checkpoints)
    except CheckpointError as error:
        return AuditReport(
            valid=False, entries=0, head_hash="", tampering=Tampering.CHECKPOINTS_ALTERED, problem=str(error)
        )
    verifier = AuditVerifier(signed, key)
    try:
        for entry in read_entries(file):
            verifier.feed(entry)
            if verifier.finding:
                break
    except UnreadableEntryError as error:
        verifier.feed_unreadable(str(error))
    return verifier.report()


class DaysReport(Struct, frozen=True, kw_only=True):
    """What the daily files say, compared with the record: ``problem`` is empty where they are the same chain."""

    entries: int
    bad_sequence: int = 0
    problem: str = ""


def verify_days(folder: Path, record_entries: int, record_head: str) -> DaysReport:
    """Verify the folder of daily files as a chain, and that its entry number ``record_entries`` is the record's head.

    Files that hold more than the record did when it was verified are right up to there. Raises OSError.
    """
    verifier, head = AuditVerifier(), ""
    try:
        for entry in read_entries(folder):
            verifier.feed(entry)
            if verifier.finding:
                break
            if entry.sequence == record_entries:
                head = entry.entry_hash
    except UnreadableEntryError as error:
        verifier.feed_unreadable(str(error))
    report = verifier.report()
    if not report.valid:
        return DaysReport(entries=report.entries, bad_sequence=report.bad_sequence, problem=report.problem)
    if report.entries < record_entries:
        text = f"they end at entry {report.entries}, the record has {record_entries}"
        return DaysReport(entries=report.entries, bad_sequence=report.entries + 1, problem=text)
    if record_entries and head != record_head:
        text = f"entry {record_entries} is another one than in the record: one of the two was written anew"
        return DaysReport(entries=report.entries, bad_sequence=record_entries, problem=text)
    return DaysReport(entries=report.entries)
