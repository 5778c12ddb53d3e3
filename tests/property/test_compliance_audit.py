"""Every kind of tampering with the audit log is found, wherever it is done."""

from __future__ import annotations

from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polaris_synapse.compliance.audit import AuditReport, Tampering, verify_audit
from polaris_synapse.compliance.checkpoints import Checkpoint, sign_checkpoint
from polaris_synapse.compliance.core.audit_chain import AuditHead, genesis_hash
from polaris_synapse.compliance.core.audit_trail import Record
from polaris_synapse.compliance.core.recording import append
from polaris_synapse.compliance.merkle import MerkleFrontier
from polaris_synapse.domain.messages import AuditEntry

LENGTH = 60
SIGNED_AT = (20, 40, 50)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FIELDS = ("time_ns", "actor", "action", "subject", "detail", "previous_hash", "entry_hash", "sequence")


def chain(texts: list[str], start: AuditHead | None = None) -> list[AuditEntry]:
    """A well-made chain with these details."""
    head = start or AuditHead(0, genesis_hash())
    return [append(head, Record("user:a", "x.y", "s", text), n) for n, text in enumerate(texts)]


def sign(entries: list[AuditEntry], sizes: tuple[int, ...], key: Ed25519PrivateKey = KEY) -> list[Checkpoint]:
    """The checkpoints that a desk would have signed at these sizes."""
    made: list[Checkpoint] = []
    tree = MerkleFrontier()
    for entry in entries:
        tree.append(bytes.fromhex(entry.entry_hash))
        if tree.size in sizes:
            previous = made[-1] if made else None
            made.append(
                sign_checkpoint(key, previous, tree=tree, head_hash=entry.entry_hash, time_ns=tree.size * 1_000)
            )
    return made


@cache
def honest() -> tuple[tuple[AuditEntry, ...], tuple[Checkpoint, ...]]:
    """A log and its checkpoints, as the desk made them."""
    entries = chain([f"entry {n}" for n in range(LENGTH)])
    return tuple(entries), tuple(sign(entries, SIGNED_AT))


def verify(entries: list[AuditEntry], checkpoints: list[Checkpoint] | None = None) -> AuditReport:
    """Verify against the honest checkpoints unless others are given."""
    signed = list(honest()[1]) if checkpoints is None else checkpoints
    return verify_audit(entries, signed, KEY.public_key())


places = st.integers(0, LENGTH - 1)


def test_an_honest_log_verifies() -> None:
    """Nothing is found in a log that nobody touched, and the entries not yet signed for are counted."""
    report = verify(list(honest()[0]))
    assert report == AuditReport(
        valid=True,
        entries=LENGTH,
        head_hash=honest()[0][-1].entry_hash,
        checkpoints=3,
        signatures_checked=True,
        unsigned_entries=LENGTH - SIGNED_AT[-1],
    )
    assert verify_audit([]).valid


@given(places, st.sampled_from(FIELDS), st.text(min_size=1, max_size=5), st.integers(1, 10**6))
def test_an_edit_is_found_at_its_place(place: int, field: str, text: str, number: int) -> None:
    """Changing any field of any entry is found at that entry, whatever it is changed to."""
    entries = list(honest()[0])
    before = getattr(entries[place], field)
    changed = before + number if isinstance(before, int) else before + text
    entries[place] = replace(entries[place], **{field: changed})
    report = verify(entries)
    assert not report.valid
    assert report.bad_sequence == place + 1


@given(places, st.integers(1, 5))
def test_a_removal_is_found_at_its_place(place: int, count: int) -> None:
    """Removing entries from the middle is found at the first one that is missing; from the end, by the checkpoint."""
    entries = list(honest()[0])
    del entries[place : place + count]
    report = verify(entries)
    if place + count < LENGTH:
        assert (report.tampering, report.bad_sequence) == (Tampering.DELETED, place + 1)
    else:
        assert report.valid is (place >= SIGNED_AT[-1])


@given(places, places)
def test_a_swap_is_found_at_the_first_of_the_two(one: int, other: int) -> None:
    """Two entries in each other's place are found at the first of them."""
    first, second = sorted((one, other))
    entries = list(honest()[0])
    entries[first], entries[second] = entries[second], entries[first]
    report = verify(entries)
    if first == second:
        assert report.valid
    else:
        assert (report.tampering, report.bad_sequence) == (Tampering.SWAPPED, first + 1)


@given(places, places)
def test_an_insertion_is_found(place: int, copied: int) -> None:
    """An entry put in a second time, or a forged one with a hash of its own, is found where it begins to show."""
    entries = list(honest()[0])
    entries.insert(place, entries[copied])
    report = verify(entries)
    assert not report.valid
    assert report.bad_sequence in (place + 1, place + 2)
    entries = list(honest()[0])
    previous = entries[place - 1].entry_hash if place else genesis_hash()
    (forged,) = chain(["forged"], AuditHead(place, previous))
    entries.insert(place, forged)
    report = verify(entries)
    if place + 1 in SIGNED_AT:
        # It took the place of the very entry that a checkpoint names.
        assert (report.tampering, report.bad_sequence <= place + 1) == (Tampering.REWRITTEN, True)
    else:
        assert (report.tampering, report.bad_sequence) == (Tampering.INSERTED, place + 2)


@given(st.integers(0, LENGTH))
def test_a_truncated_end_is_found_by_the_checkpoint(kept: int) -> None:
    """Cutting entries off the end is found as long as a checkpoint was signed over one of them."""
    report = verify(list(honest()[0][:kept]))
    if kept >= SIGNED_AT[-1]:
        assert report.valid
    else:
        assert (report.tampering, report.bad_sequence) == (Tampering.TRUNCATED, kept + 1)
        assert verify_audit(honest()[0][:kept]).valid, "the chain alone cannot show it"


@given(st.integers(0, SIGNED_AT[-1] - 1), st.integers(0, 30))
def test_a_fork_of_the_chain_is_found_by_the_checkpoint(fork_at: int, more: int) -> None:
    """A log written anew from some entry on, as long or longer, is no longer the one that was signed over."""
    entries = list(honest()[0])
    last = entries[fork_at - 1].entry_hash if fork_at else genesis_hash()
    forged = entries[:fork_at] + chain(
        [f"forged {n}" for n in range(LENGTH - fork_at + more)], AuditHead(fork_at, last)
    )
    assert verify_audit(forged).valid, "the chain alone cannot show it"
    report = verify(forged)
    signed_before = max((size for size in SIGNED_AT if size <= fork_at), default=0)
    assert (report.tampering, report.bad_sequence) == (Tampering.REWRITTEN, signed_before + 1)


def test_a_log_written_anew_from_the_start_is_found() -> None:
    """A whole new chain, however well made, does not lead to the signed roots."""
    report = verify(chain([f"rosy {n}" for n in range(LENGTH)]))
    assert (report.tampering, report.bad_sequence) == (Tampering.REWRITTEN, 1)


def test_an_attacker_without_the_key_cannot_sign_anew() -> None:
    """A new chain with checkpoints signed by another key is refused for its signatures."""
    entries = chain([f"rosy {n}" for n in range(LENGTH)])
    report = verify(entries, sign(entries, SIGNED_AT, Ed25519PrivateKey.generate()))
    assert report.tampering is Tampering.CHECKPOINTS_ALTERED


def test_two_signed_histories_are_a_fork() -> None:
    """Where the desk's own key signed two different histories, the checkpoints together prove it."""
    entries = list(honest()[0])
    other = entries[:30] + chain(["other"] * 20, AuditHead(30, entries[29].entry_hash))
    report = verify(entries, [*honest()[1], *sign(other, (20, 50))[1:]])
    assert report.tampering is Tampering.FORKED
    assert report.bad_sequence == 21


@given(
    st.integers(0, 2),
    st.sampled_from(["number", "size", "root_hash", "head_hash", "time_ns", "frontier", "previous_hash", "signature"]),
)
def test_an_edited_checkpoint_is_found(index: int, field: str) -> None:
    """Changing anything in a checkpoint breaks its signature."""
    checkpoints = list(honest()[1])
    before = getattr(checkpoints[index], field)
    changed = before + 1 if isinstance(before, int) else before[:-1]
    checkpoints[index] = replace(checkpoints[index], **{field: changed})
    report = verify(list(honest()[0]), checkpoints)
    assert report.tampering is Tampering.CHECKPOINTS_ALTERED


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_missing_checkpoint_is_found(left_out: int) -> None:
    """Taking out a checkpoint other than the last breaks their own chain."""
    checkpoints = list(honest()[1])
    del checkpoints[left_out]
    report = verify(list(honest()[0]), checkpoints)
    assert report.tampering is Tampering.CHECKPOINTS_ALTERED


def test_the_tree_of_a_checkpoint_grows_on() -> None:
    """A checkpoint's own frontier leads to its root and on to the next one's."""
    first, second, _ = honest()[1]
    tree = first.tree()
    for entry in honest()[0][first.size : second.size]:
        tree.append(bytes.fromhex(entry.entry_hash))
    assert tree.root().hex() == second.root_hash
    with pytest.raises(ValueError, match="frontier"):
        replace(first, frontier=()).tree()
