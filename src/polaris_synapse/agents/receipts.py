"""Receipts: one agent's order from what was asked of models to its fills, as a chain of hashes that anybody can check.

A part's hash covers the part before it, so a changed, missing or moved part shows. What a chain alone cannot show, that
somebody wrote all of it anew, the desk's Ed25519 signature over its end does. Checking needs no desk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from polaris_synapse.domain.messages import Approval, DecisionRecorded, ExecutionRecorded
from polaris_synapse.domain.orders import Order, OrderRequest

FORMAT: Final = "polaris-synapse receipt v1"
RECEIPT_BYTES_MAX: Final = 4 * 1024 * 1024
_PART_CONTEXT: Final = b"polaris-synapse receipt part v1\n"
_SIGNED_CONTEXT: Final = b"polaris-synapse receipt signature v1\n"
#: The order in which parts come, and which there is exactly one of.
_KINDS: Final = ("prompt", "facts", "proposal", "verdict", "approval", "order", "fill")
_ONCE: Final = frozenset({"prompt", "facts", "proposal", "verdict"})

#: What a receipt says that nobody could sign.
NO_KEY: Final = "the service that made it has no signing key"

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class ReceiptError(ValueError):
    """A file that is no receipt; the message says why in one sentence."""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One link. ``hash`` covers ``number``, ``kind``, ``body`` and ``previous_hash``."""

    number: int
    kind: str
    body: dict[str, Any]
    previous_hash: str
    hash: str


class Receipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole chain. ``signature`` covers the id, the time, the number of parts and the last hash.

    Where it is empty, ``unsigned_because`` says why.
    """

    format: str
    receipt_id: str
    account: str
    made_time_ns: int
    parts: tuple[Part, ...]
    head_hash: str
    key_id: str = ""
    signature: str = ""
    unsigned_because: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        said = [self.format, self.receipt_id, self.account, self.made_time_ns, len(self.parts), self.head_hash]
        return _SIGNED_CONTEXT + _ENCODER.encode([*said, self.key_id])


class Report(Struct, frozen=True, kw_only=True):
    """What checking found. ``signature`` is ``verified``, ``unchecked`` (no key was given), ``none`` or ``wrong``."""

    valid: bool
    receipt_id: str = ""
    parts: int = 0
    signature: str = "none"
    key_id: str = ""
    problem: str = ""


#: Signs bytes with the desk's key: the key's id and the signature in hex. None: the desk has no key.
Signer = Callable[[bytes], str]


class Sources(Struct, frozen=True, kw_only=True):
    """Everything that a receipt is made from. Without a decision it is about an outside agent's order."""

    receipt_id: str
    account: str
    decision: DecisionRecorded | None
    order: OrderRequest | None
    actor: str
    approvals: tuple[Approval, ...]
    orders: tuple[Order, ...]
    fills: tuple[ExecutionRecorded, ...]


def make_receipt(sources: Sources, *, now_ns: int, key_id: str = "", sign: Signer | None = None) -> Receipt:
    """The receipt, signed where there is a key."""
    parts: list[Part] = []
    previous = _first_hash(sources.receipt_id)
    for number, (kind, body) in enumerate(_bodies(sources), start=1):
        digest = _hash(number, kind, body, previous)
        parts.append(Part(number=number, kind=kind, body=body, previous_hash=previous, hash=digest))
        previous = digest
    unsigned = Receipt(
        format=FORMAT,
        receipt_id=sources.receipt_id,
        account=sources.account,
        made_time_ns=now_ns,
        parts=tuple(parts),
        head_hash=previous,
        key_id=key_id if sign is not None else "",
        unsigned_because=NO_KEY if sign is None else "",
    )
    if sign is None:
        return unsigned
    return msgspec.structs.replace(unsigned, signature=sign(unsigned.signed_bytes()))


def _bodies(sources: Sources) -> Iterator[tuple[str, dict[str, Any]]]:
    decision = sources.decision
    if decision is not None:
        yield (
            "prompt",
            _plain(
                {
                    "case_digest": decision.case_digest,
                    "call_digests": decision.call_digests,
                    "cost_micro_usd": decision.cost_micro_usd,
                }
            ),
        )
        yield "facts", _plain({"facts": decision.facts, "votes": decision.votes})
    order = sources.order
    yield (
        "proposal",
        _plain(
            {
                "actor": sources.actor,
                "decision_id": decision.decision_id if decision is not None else "",
                "view": decision.view if decision is not None else "",
                "confidence_ppm": decision.confidence_ppm if decision is not None else 0,
                "thesis": decision.thesis if decision is not None else "",
                "order": order,
                "order_hash": order_hash(order) if order is not None else "",
            }
        ),
    )
    yield (
        "verdict",
        _plain(
            {
                "action": decision.action if decision is not None else "",
                "reason": decision.reason.name if decision is not None else "",
                "detail": decision.detail if decision is not None else "",
                "approval_ids": [one.approval_id for one in sources.approvals],
                "order_ids": [one.order_id for one in sources.orders],
                "fills": len(sources.fills),
            }
        ),
    )
    for approval in sources.approvals:
        yield "approval", _plain(approval)
    for placed in sources.orders:
        yield "order", _plain(placed)
    for fill in sources.fills:
        yield "fill", _plain(fill)


def order_hash(order: OrderRequest) -> str:
    """The hash that approvals of an order are bound to."""
    return sha256(_ENCODER.encode(order)).hexdigest()


def read_receipt(data: bytes) -> Receipt:
    """The receipt of a file. Raises ReceiptError."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise ReceiptError(f"the file is larger than {RECEIPT_BYTES_MAX} bytes")
    try:
        receipt = msgspec.json.decode(data, type=Receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReceiptError(f"the file is no receipt: {error}") from None
    if receipt.format != FORMAT:
        raise ReceiptError(f"the receipt is of the format {receipt.format!r}, this reads {FORMAT!r}")
    return receipt


def verify_receipt(receipt: Receipt, public_key: Ed25519PublicKey | None = None) -> Report:
    """Check a receipt by itself, and its signature where the key is given."""
    problem = _chain_problem(receipt) or _content_problem(receipt)
    signature = "none"
    if receipt.signature:
        signature = "unchecked"
        if receipt.unsigned_because:
            problem = problem or "the receipt bears a signature and says that it has none"
        if public_key is not None:
            signature = "verified" if _signature_holds(receipt, public_key) else "wrong"
            problem = problem or ("" if signature == "verified" else "the signature is not the key's over this receipt")
    elif public_key is not None:
        problem = problem or "the receipt is not signed, and a key was given to check it with"
    return Report(
        valid=not problem,
        receipt_id=receipt.receipt_id,
        parts=len(receipt.parts),
        signature=signature,
        key_id=receipt.key_id,
        problem=problem,
    )


def _chain_problem(receipt: Receipt) -> str:
    previous = _first_hash(receipt.receipt_id)
    for place, part in enumerate(receipt.parts, start=1):
        if part.number != place:
            return f"part {part.number} stands at place {place}: a part is missing or was moved"
        if part.previous_hash != previous:
            return f"part {place} ({part.kind}) does not follow the part before it"
        if part.hash != _hash(part.number, part.kind, part.body, previous):
            return f"part {place} ({part.kind}) was changed"
        previous = part.hash
    return "" if receipt.head_hash == previous else "the end of the chain is missing or was changed"


def _content_problem(receipt: Receipt) -> str:
    """Whether the parts are all there and about the same order, even if somebody linked them anew."""
    kinds = [part.kind for part in receipt.parts]
    if any(kind not in _KINDS for kind in kinds) or kinds != sorted(kinds, key=_place):
        return "the parts are not those of a receipt, or not in their order"
    for kind in _ONCE:
        wanted = 1 if kind in {"proposal", "verdict"} or receipt.receipt_id.startswith("D") else 0
        if kinds.count(kind) != wanted:
            return f"there are {kinds.count(kind)} parts of the kind {kind}, there should be {wanted}"
    bodies = {kind: [part.body for part in receipt.parts if part.kind == kind] for kind in _KINDS}
    proposal, verdict = bodies["proposal"][0], bodies["verdict"][0]
    for kind, name, key in (("approval", "approval_ids", "approval_id"), ("order", "order_ids", "order_id")):
        if verdict.get(name) != [body.get(key) for body in bodies[kind]]:
            return f"the verdict names other {kind}s than there are"
    if verdict.get("fills") != len(bodies["fill"]):
        return "the verdict counts other fills than there are"
    hashed = proposal.get("order_hash")
    requests = [proposal.get("order"), *(body.get("order") for body in bodies["approval"])]
    requests += [body.get("request") for body in bodies["order"]]
    if any(request is not None and _request_hash(request) != hashed for request in requests):
        return "an order is not the one that was proposed"
    if any(body.get("order_hash") != hashed for body in bodies["approval"]):
        return "an approval is bound to another order"
    placed = {body.get("order_id") for body in bodies["order"]}
    if any(body.get("order_id") not in placed for body in bodies["fill"]):
        return "a fill belongs to another order"
    return ""


def _place(kind: str) -> int:
    return _KINDS.index(kind)


def _request_hash(request: Any) -> str:
    try:
        return order_hash(msgspec.convert(request, OrderRequest))
    except msgspec.ValidationError:
        return ""


def _signature_holds(receipt: Receipt, public_key: Ed25519PublicKey) -> bool:
    try:
        public_key.verify(bytes.fromhex(receipt.signature), receipt.signed_bytes())
    except (InvalidSignature, ValueError):
        return False
    return True


def _plain(value: Any) -> dict[str, Any]:
    """The value as JSON would give it back, so that a receipt read from a file hashes the same."""
    found: dict[str, Any] = msgspec.json.decode(_ENCODER.encode(value))
    return found


def _first_hash(receipt_id: str) -> str:
    return sha256(_PART_CONTEXT + receipt_id.encode()).hexdigest()


def _hash(number: int, kind: str, body: dict[str, Any], previous: str) -> str:
    return sha256(_PART_CONTEXT + _ENCODER.encode([number, kind, body, previous])).hexdigest()
