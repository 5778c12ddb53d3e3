"""A case: everything one decision is made from, as one value that can be stored and decided again.

``decide`` is a function of a case and of nothing else, so the same case gives the same decision, word for word. Its
canonical form leaves the outputs of language models out: they are named by the digest of their call, and the store of
calls has them.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec
from msgspec import Struct

from polaris_synapse.agents.core.evidence import Item
from polaris_synapse.agents.core.fusion import Record
from polaris_synapse.agents.core.opinions import Answered
from polaris_synapse.agents.core.signals import NoReading, Reading
from polaris_synapse.agents.core.sizing import Means
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import AgentSettings, Fact, Lesson, Mandate
from polaris_synapse.domain.money import Asset


class Case(Struct, frozen=True, kw_only=True):
    """The inputs of one decision at ``clock_ns``.

    Exactly one of ``reading`` and ``missing`` is given. ``means`` None: the account's equity is not known yet.
    ``mandate`` None: the agent has none on its account. ``busy`` says in a sentence why the agent leaves the symbol
    alone for now, or is empty. ``records`` are the voices' records on the symbol in the reading's regime. ``asked`` are
    the facts that models were asked about, and ``answers`` what came of it; both are empty where none was asked.
    """

    decision_id: str
    clock_ns: int
    settings: AgentSettings
    instrument: Instrument
    listed_time_ns: int
    valuation: Asset
    mandate: Mandate | None
    means: Means | None
    paused: bool
    busy: str = ""
    reading: Reading | None = None
    missing: NoReading | None = None
    items: tuple[Item, ...] = ()
    records: dict[str, Record] = {}
    lessons: tuple[Lesson, ...] = ()
    asked: tuple[Fact, ...] = ()
    answers: tuple[Answered, ...] = ()


class CaseError(ValueError):
    """Text that is no case of this version."""


def encode_case(case: Case) -> str:
    """The canonical JSON of a case, without the outputs of models."""
    bare = tuple(msgspec.structs.replace(answer, output="") for answer in case.answers)
    return msgspec.json.encode(msgspec.structs.replace(case, answers=bare), order="deterministic").decode()


def decode_case(text: str) -> Case:
    """The case of ``encode_case``. Raises CaseError."""
    try:
        return msgspec.json.decode(text.encode(), type=Case)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise CaseError(f"the case cannot be read: {error}") from error


def digest_of(text: str) -> str:
    """The sha256 of a text, 64 hex digits: how cases are named."""
    return sha256(text.encode()).hexdigest()
