"""Makes the committed journals in tests/data that every later version must read: one message of each kind that a
journal can hold, and a snapshot.

    python tests/unit/bus/journal_fixture.py tests/data/journal-v1

Only ever make a new one for a new format version; the old ones stay as they are.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
from msgspec.inspect import (
    BoolType,
    DictType,
    EnumType,
    Field,
    FloatType,
    IntType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from polaris_synapse.bus.cascade import durable_inboxes
from polaris_synapse.bus.core import encode_message, hash_state
from polaris_synapse.bus.journal import FORMAT_VERSION, Snapshot, SnapshotPart
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.domain.messages import Message
from polaris_synapse.domain.topics import ROUTES

DATA = Path(__file__).resolve().parents[2] / "data"
#: What stands beside a journal: the JSON of its messages as the version that wrote it knew them.
MESSAGES_FILE = "messages.jsonl"
SNAPSHOT_DATA = b'[1,{"state":"of a core"}]'


def sample(kind: type[Any], number: int) -> Any:
    """A value of a struct with every field given; ``number`` makes it differ from the others."""
    info = type_info(kind)
    assert isinstance(info, StructType)
    return msgspec.convert(
        {"kind": info.tag} | _fields(info.fields, number) if info.tag else _fields(info.fields, number), kind
    )


def _fields(fields: tuple[Field, ...], number: int) -> dict[str, Any]:
    return {field.encode_name: _value(field.type, number, field.name) for field in fields}


def _value(info: Type, number: int, name: str) -> Any:
    match info:
        case IntType():
            # Small enough for every range that a message keeps; a tick times a lot must be whole minor units.
            return {"decimals": 8, "tick_units": 10**6, "lot_units": 10**3}.get(name, 100 + number)
        case StrType():
            return f"{name}-{number}"
        case BoolType():
            return True
        case FloatType():
            return 0.5
        case EnumType(cls=cls):
            member: Enum = list(cls)[-1]
            return member.value
        case LiteralType(values=values):
            return values[0]
        case NoneType():
            return None
        case UnionType(types=types):
            return _value(next(kind for kind in types if not isinstance(kind, NoneType)), number, name)
        case VarTupleType(item_type=item):
            return [_value(item, number, name)]
        case DictType(key_type=key, value_type=value):
            return {_value(key, number, name): _value(value, number, name)}
        case StructType(fields=fields, tag=tag):
            return _fields(fields, number) | ({"kind": tag} if tag else {})
        case _:
            if hasattr(info, "item_types"):
                return [_value(item, number, name) for item in info.item_types]
            raise TypeError(f"no sample of {info}")


def every_kind() -> list[Message]:
    """One message of each kind that can be an input of a durable core, in the order of their names."""
    kinds = sorted((kind for kind in ROUTES if durable_inboxes(kind)), key=lambda kind: kind.__name__)
    return [sample(kind, number) for number, kind in enumerate(kinds, start=1)]


def make(directory: Path) -> None:
    """Write the journal and what is in it. Raises FileExistsError where there is one."""
    directory.mkdir(parents=True)
    messages = every_kind()
    journal = SqliteJournal(directory)
    half = len(messages) // 2
    last = journal.append(messages[:half])
    parts = tuple(SnapshotPart(name, hash_state(SNAPSHOT_DATA), SNAPSHOT_DATA) for name in ("host", "risk"))
    journal.append(messages[half:], Snapshot(offset=last, time_ns=messages[half - 1].time_ns, parts=parts))
    journal.close()
    (directory / "desk.lock").unlink()
    lines = b"".join(encode_message(message) + b"\n" for message in messages)
    (directory / MESSAGES_FILE).write_bytes(lines)
    sys.stdout.write(f"{len(messages)} messages in format {FORMAT_VERSION}\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
