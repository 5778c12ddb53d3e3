"""What a core is, and how a message is identified. Pure: cores import this and ``domain``, nothing else of the bus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from polaris_synapse.domain.messages import AnyMessage, Message

#: What a core's handler returns when it has nothing to say.
NOTHING: Final[tuple[Message, ...]] = ()


class Core(Protocol):
    """A pure, synchronous, deterministic fold over one ordered inbox.

    No clock, no I/O, no randomness; the same messages in the same order give the same outputs and the same state.
    ``name`` is the room's: ``"risk"``; its inbox is ``f"{name}.inbox"``.
    """

    name: str

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Fold one message. The outputs are addressed by their types (see domain.topics). Raises only for bugs."""
        ...

    def snapshot(self) -> bytes:
        """The whole state, versioned."""
        ...

    def restore(self, snapshot: bytes, /) -> None:
        """Replace the state by a snapshot's. Raises SnapshotError when it is not one of ours."""
        ...

    def state_hash(self) -> str:
        """A hash of the state, equal for equal states in every process."""
        ...


class SnapshotError(ValueError):
    """Bytes that are not a snapshot this version can read."""


class Envelope(Struct, frozen=True, kw_only=True, gc=False):
    """A message on its way, with an identity that is a pure function of what caused it.

    ``core`` at ``partition`` was applying the input at ``offset`` of its log and this was output number ``index``;
    ``core`` is ``"input"`` for a message from outside. The same id twice has one effect.
    """

    topic: str
    core: str
    partition: int
    offset: int
    index: int
    message: AnyMessage

    @property
    def id(self) -> str:
        """``core/partition/offset/index``."""
        return f"{self.core}/{self.partition}/{self.offset}/{self.index}"


_MESSAGE_ENCODER = msgspec.json.Encoder()
_MESSAGE_DECODER = msgspec.json.Decoder(AnyMessage)


def encode_message(message: Message) -> bytes:
    """A message as JSON."""
    return _MESSAGE_ENCODER.encode(message)


def decode_message(data: bytes | memoryview) -> Message:
    """A message from JSON. Raises msgspec.DecodeError for what is none."""
    message: Message = _MESSAGE_DECODER.decode(data)
    return message


S = TypeVar("S")


def encode_state(version: int, state: Struct) -> bytes:
    """A core's state struct as a versioned snapshot: JSON, since amounts may pass 64 bits, with its keys sorted."""
    return msgspec.json.encode((version, state), order="deterministic")


def decode_state(version: int, state_type: type[S], snapshot: bytes) -> S:
    """The state struct of a snapshot. Raises SnapshotError when the version or the shape differs."""
    try:
        found, raw = msgspec.json.decode(snapshot, type=tuple[int, msgspec.Raw])
        if found != version:
            raise SnapshotError(f"the snapshot has version {found}, this desk reads version {version}")
        return msgspec.json.decode(raw, type=state_type)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"the snapshot cannot be read: {error}") from error


def hash_state(snapshot: bytes) -> str:
    """The hash of a deterministic snapshot, 32 hex digits."""
    return blake2b(snapshot, digest_size=16).hexdigest()


Handler = Callable[[Any], Sequence[Message]]


class UnexpectedMessageError(TypeError):
    """A core was given a message that its inbox never carries: a routing bug."""


def dispatch(handlers: dict[type[Message], Handler], message: Message, core_name: str) -> Sequence[Message]:
    """Call the handler of the message's type. Raises UnexpectedMessageError when there is none."""
    handler = handlers.get(type(message))
    if handler is None:
        raise UnexpectedMessageError(f"{core_name} does not take {type(message).__name__}")
    return handler(message)
