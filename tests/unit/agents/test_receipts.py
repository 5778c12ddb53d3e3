"""Receipts: any part that was changed, removed, moved or made anew shows, with no desk at hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polaris_synapse.agents.receipts import (
    Receipt,
    ReceiptError,
    Sources,
    make_receipt,
    order_hash,
    read_receipt,
    verify_receipt,
)
from polaris_synapse.domain.messages import Approval, ApprovalState, DecisionRecorded, ExecutionRecorded, Fact
from polaris_synapse.domain.orders import Fill, Liquidity, Order, OrderRequest, OrderState, OrderType, Side

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ORDER = OrderRequest(
    account="jarvis", client_order_id="D0-1-jarvis", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT,
    quantity_lots=1_000, price_ticks=6_000_000, decision_id="D0-1",
)  # fmt: skip
DECISION = DecisionRecorded(
    time_ns=9, decision_id="D0-1", agent="jarvis", account="jarvis", symbol="BTCUSDT", view="BUY",
    confidence_ppm=700_000, action="FILLED", thesis="It rises [D0-1.1].", order=ORDER, order_id=1024,
    facts=(Fact(fact_id="D0-1.1", name="mid", value="60000", unit="USDT", source="simulated/market summary"),),
    case_digest="a" * 64, call_digests=("b" * 64,),
)  # fmt: skip
APPROVAL = Approval(
    approval_id="1", account="jarvis", agent="jarvis", actor="agent:jarvis", order=ORDER, order_hash=order_hash(ORDER),
    value_units=600 * 10**8, created_time_ns=1, expires_time_ns=2, state=ApprovalState.APPROVED,
    decided_by="user:alice", decided_role="TRADER", order_id=1024,
)  # fmt: skip
PLACED = Order(
    order_id=1024, request=ORDER, venue="paper", state=OrderState.FILLED, quantity_lots=1_000, price_ticks=6_000_000,
    stop_price_ticks=0, filled_lots=1_000,
)  # fmt: skip


def fill(number: int) -> ExecutionRecorded:
    """Half of the order."""
    made = Fill(
        trade_id=f"t{number}", price_ticks=6_000_000, quantity_lots=500, liquidity=Liquidity.TAKER, fee_units=1,
        fee_asset="BTC", simulated=True, how="took it",
    )  # fmt: skip
    return ExecutionRecorded(
        time_ns=number, execution_id=f"1024-t{number}", order_id=1024, client_order_id="D0-1-jarvis", account="jarvis",
        symbol="BTCUSDT", venue="paper", side=Side.BUY, fill=made, notional_units=1,
    )  # fmt: skip


SOURCES = Sources(
    receipt_id="D0-1", account="jarvis", decision=DECISION, order=ORDER, actor="agent:jarvis", approvals=(APPROVAL,),
    orders=(PLACED,), fills=(fill(1), fill(2)),
)  # fmt: skip


def made(*, signed: bool = True) -> Receipt:
    """The receipt, as read back from its file."""
    sign = (lambda data: KEY.sign(data).hex()) if signed else None
    receipt = make_receipt(SOURCES, now_ns=5, key_id="test", sign=sign)
    return read_receipt(msgspec.json.encode(receipt))


def relinked(parts: list[tuple[str, dict[str, Any]]]) -> Receipt:
    """A forger's receipt: every hash is right, and only the signature and the sense of it are not."""
    import hashlib

    encoder = msgspec.json.Encoder(order="deterministic")
    context = b"polaris-synapse receipt part v1\n"
    previous = hashlib.sha256(context + b"D0-1").hexdigest()
    links: list[dict[str, Any]] = []
    for number, (kind, body) in enumerate(parts, start=1):
        digest = hashlib.sha256(context + encoder.encode([number, kind, body, previous])).hexdigest()
        links.append({"number": number, "kind": kind, "body": body, "previous_hash": previous, "hash": digest})
        previous = digest
    whole = msgspec.to_builtins(made(signed=False)) | {"parts": links, "head_hash": previous}
    return read_receipt(msgspec.json.encode(whole))


def test_a_receipt_holds_the_whole_chain_and_verifies() -> None:
    """Prompt, facts, proposal, verdict, approval, order and both fills, signed."""
    receipt = made()
    kinds = [part.kind for part in receipt.parts]
    assert kinds == ["prompt", "facts", "proposal", "verdict", "approval", "order", "fill", "fill"]
    assert receipt.parts[0].body["call_digests"] == ["b" * 64]
    report = verify_receipt(receipt, KEY.public_key())
    assert (report.valid, report.signature, report.parts) == (True, "verified", 8)
    assert verify_receipt(receipt).signature == "unchecked"
    assert receipt.unsigned_because == ""


def test_an_unsigned_receipt_says_so_itself() -> None:
    """Made without a key it verifies as a chain and says why nobody signed it; a signed one cannot say that."""
    receipt = made(signed=False)
    report = verify_receipt(receipt)
    assert (report.valid, report.signature) == (True, "none")
    assert receipt.unsigned_because == "the service that made it has no signing key"
    both = msgspec.structs.replace(made(), unsigned_because="no key")
    assert not verify_receipt(both, KEY.public_key()).valid


@given(data=st.data())
def test_any_changed_byte_of_a_file_shows(data: st.DataObject) -> None:
    """One character of the file anywhere: it is no receipt any more, or it does not verify."""
    content = bytearray(msgspec.json.encode(made()))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(32, 126).filter(lambda byte: byte != content[place]))
    try:
        receipt = read_receipt(bytes(content))
    except ReceiptError:
        return
    assert not verify_receipt(receipt, KEY.public_key()).valid


@given(place=st.integers(0, 7), other=st.integers(0, 7))
def test_a_missing_or_moved_part_shows(place: int, other: int) -> None:
    """Removed, swapped or doubled parts break the chain, even without the key."""
    receipt = made()
    parts = list(receipt.parts)
    removed = replace(receipt, parts=tuple(parts[:place] + parts[place + 1 :]))
    assert not verify_receipt(removed).valid
    if place != other:
        parts[place], parts[other] = parts[other], parts[place]
        assert not verify_receipt(replace(receipt, parts=tuple(parts))).valid
    doubled = replace(receipt, parts=(*receipt.parts, receipt.parts[place]))
    assert not verify_receipt(doubled).valid


def bodies() -> list[tuple[str, dict[str, Any]]]:
    """The parts as a forger could take them."""
    return [(part.kind, dict(part.body)) for part in made().parts]


@pytest.mark.parametrize("kind", ["prompt", "facts", "proposal", "verdict", "approval", "order", "fill"])
def test_a_part_that_is_left_out_shows_even_where_all_is_linked_anew(kind: str) -> None:
    """Without the signature too: the verdict says how many approvals, orders and fills there are."""
    assert verify_receipt(relinked(bodies())).valid
    forged = relinked([part for part in bodies() if part[0] != kind])
    assert not verify_receipt(forged).valid


def test_another_order_shows_even_where_all_is_linked_anew() -> None:
    """Proposal, approval and order are about the same order, to the field."""
    for kind, field in (("proposal", "order"), ("approval", "order"), ("order", "request")):
        forged = bodies()
        for part_kind, body in forged:
            if part_kind == kind:
                body[field] = body[field] | {"quantity_lots": 9_999}
        assert not verify_receipt(relinked(forged)).valid, kind
    stranger = bodies()
    stranger[-1][1]["order_id"] = 2048
    assert not verify_receipt(relinked(stranger)).valid


def test_only_the_desks_key_counts() -> None:
    """A forger's own signature, another key, or none where a key is given: not valid."""
    other = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    assert verify_receipt(made(), other.public_key()).signature == "wrong"
    assert not verify_receipt(made(), other.public_key()).valid
    assert not verify_receipt(made(signed=False), KEY.public_key()).valid
    assert not verify_receipt(relinked(bodies()), KEY.public_key()).valid


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"format":"x"}', b"x" * (5 * 1024 * 1024)])
def test_what_is_no_receipt_is_said_to_be_none(content: bytes) -> None:
    """A clear error, whatever the file holds."""
    with pytest.raises(ReceiptError):
        read_receipt(content)
