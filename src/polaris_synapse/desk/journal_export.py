"""The journal as JSON lines, whole or in part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.bus.core import decode_message
from polaris_synapse.bus.journal_reader import JournalReader, Progress
from polaris_synapse.domain.messages import Message
from polaris_synapse.domain.topics import ROUTES

_PROGRESS_MESSAGES: Final = 4_096


class UnknownKindError(ValueError):
    """No message is called that."""


class _Head(Struct):
    """What every line says of its message, read without the rest."""

    kind: str
    time_ns: int


class ExportFilter(Struct, frozen=True, kw_only=True):
    """Which messages: from and to an offset (0: to the end), of some kinds, of one account. Empty: all."""

    from_offset: int = 1
    to_offset: int = 0
    kinds: frozenset[str] = frozenset()
    account: str = ""


_HEAD: Final = msgspec.json.Decoder(_Head)


def kind_names() -> dict[str, str]:
    """Every name that a message goes by, its class's and the one in JSON, to the one in JSON."""
    tags = {kind.__name__: str(kind.__struct_config__.tag) for kind in ROUTES}
    return tags | {tag: tag for tag in tags.values()}


def parse_kinds(names: list[str]) -> frozenset[str]:
    """Kinds by either of their names. Raises UnknownKindError."""
    known = kind_names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownKindError(f"no message is called {unknown[0]}; see docs/reference/messages.md")
    return frozenset(known[name] for name in names)


def account_of(message: Message) -> str:
    """The account that a message is about, empty where it is about none."""
    order = getattr(message, "order", None)
    return str(getattr(message, "account", "") or getattr(order, "account", ""))


def export_lines(directory: Path, wanted: ExportFilter, progress: Progress | None = None) -> Iterator[bytes]:
    """Lines of ``{"offset": 7, "message": {…}}`` from the journal in ``directory``, each with its line end.

    A message stands there byte for byte as it was journaled. Raises JournalError where the journal cannot be read.
    """
    with JournalReader(directory) as journal:
        for offset, line in journal.lines(max(wanted.from_offset, journal.first_offset)):
            if wanted.to_offset and offset > wanted.to_offset:
                return
            if progress is not None and offset % _PROGRESS_MESSAGES == 0:
                progress(offset)
            if wanted.kinds and _HEAD.decode(line).kind not in wanted.kinds:
                continue
            if wanted.account and account_of(decode_message(line)) != wanted.account:
                continue
            yield b'{"offset":%d,"message":%b}\n' % (offset, line)
