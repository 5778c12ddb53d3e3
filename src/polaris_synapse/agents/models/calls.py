"""The store of calls and cases, each under the sha256 of its content, so that nobody can change one unnoticed."""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.engine import Connection

from polaris_synapse.agents.models.database import ModelDatabase
from polaris_synapse.agents.models.settings import StoreSettings
from polaris_synapse.storage import schema

_NS_A_DAY: Final = 86_400 * 1_000_000_000
#: A stored record that unpacks to more than this is not one of ours.
RECORD_BYTES_MAX: Final = 4_000_000
#: Old records are looked for after each so many new ones.
_PRUNE_EVERY: Final = 100

_TABLE: Final = schema.model_records
CALL: Final = "call"
CASE: Final = "case"


class TamperedRecordError(ValueError):
    """A stored record is not what its digest says."""


class Call(Struct, frozen=True, kw_only=True):
    """One call of a model, with everything that its answer depended on and the answer as it came.

    ``output`` is the validated object's text; empty for a call whose answer was refused, and then ``problem`` says why.
    """

    provider: str
    model: str
    purpose: str
    decision_id: str
    system: str
    prompt: str
    schema: dict[str, Any]
    parameters: dict[str, Any]
    response: str
    output: str
    problem: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    called_time_ns: int = 0


def encode_call(call: Call) -> str:
    """The canonical JSON of a call."""
    return msgspec.json.encode(call, order="deterministic").decode()


class CallStore:
    """Records by digest. Writing the same one again changes nothing."""

    def __init__(self, database: ModelDatabase, settings: StoreSettings) -> None:
        self._database = database
        self._settings = settings
        self._written = 0

    async def put_call(self, call: Call) -> str:
        """Store a call; returns its digest."""
        text = encode_call(call)
        return await self._put(CALL, call.decision_id, text, call.called_time_ns)

    async def put_case(self, decision_id: str, text: str, time_ns: int) -> str:
        """Store the canonical text of a case; returns its digest."""
        return await self._put(CASE, decision_id, text, time_ns)

    async def call(self, digest: str) -> Call | None:
        """A call by its digest. Raises TamperedRecordError."""
        text = await self._get(CALL, digest)
        if text is None:
            return None
        try:
            return msgspec.json.decode(text.encode(), type=Call)
        except msgspec.MsgspecError as error:
            raise TamperedRecordError(f"the call {digest} cannot be read: {error}") from error

    async def case(self, digest: str) -> str | None:
        """The text of a case by its digest. Raises TamperedRecordError."""
        return await self._get(CASE, digest)

    async def _put(self, kind: str, decision_id: str, text: str, time_ns: int) -> str:
        data = text.encode()
        digest = sha256(data).hexdigest()
        await self._database.write(lambda connection: self._write(connection, kind, decision_id, digest, data, time_ns))
        return digest

    def _write(
        self, connection: Connection, kind: str, decision_id: str, digest: str, data: bytes, time_ns: int
    ) -> None:
        packed = zlib.compress(data, 6)
        row = {
            "digest": digest,
            "kind": kind,
            "decision_id": decision_id,
            "time_ns": time_ns,
            "size_bytes": len(packed),
            "body": packed,
        }
        connection.execute(schema.upsert(_TABLE, connection.dialect.name), [row])
        self._written += 1
        if self._written % _PRUNE_EVERY == 1:
            self._prune(connection, time_ns)

    def _prune(self, connection: Connection, now_ns: int) -> None:
        """Drop what is too old, then the oldest until what is left fits."""
        oldest_ns = now_ns - self._settings.days_max * _NS_A_DAY
        connection.execute(_TABLE.delete().where(_TABLE.c.time_ns < oldest_ns))
        newer = sa.func.sum(_TABLE.c.size_bytes).over(order_by=(_TABLE.c.time_ns.desc(), _TABLE.c.digest))
        summed = sa.select(_TABLE.c.digest, newer.label("newer")).subquery()
        beyond = sa.select(summed.c.digest).where(summed.c.newer > self._settings.bytes_max)
        connection.execute(_TABLE.delete().where(_TABLE.c.digest.in_(beyond)))

    async def _get(self, kind: str, digest: str) -> str | None:
        query = sa.select(_TABLE.c.body).where(_TABLE.c.digest == digest, _TABLE.c.kind == kind)
        packed = await self._database.read(lambda connection: connection.execute(query).scalar())
        if packed is None:
            return None
        try:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(bytes(packed), RECORD_BYTES_MAX)
        except zlib.error as error:
            raise TamperedRecordError(f"the {kind} {digest} cannot be unpacked") from error
        if unpacker.unconsumed_tail or sha256(data).hexdigest() != digest:
            raise TamperedRecordError(f"the {kind} {digest} is not what was stored under that digest")
        return data.decode()
