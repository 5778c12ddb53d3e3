"""What a host's cores said, put before those who hear it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from polaris_synapse.bus.cascade import Output
from polaris_synapse.bus.core import Envelope
from polaris_synapse.domain.messages import Answer, Message


class Hearer(Protocol):
    """A subscriber; what is ``pending`` is handed over to it when a batch is released."""

    pending: list[Envelope]


#: Those who hear a type of message, each with the topic on which it does.
Hearers = tuple[tuple[Hearer, str], ...]


def publish(hearers: Hearers, core: str, offset: int, index: int, message: Message) -> None:
    """Put one message before everybody who hears it. Those of one topic get the same envelope."""
    envelope: Envelope | None = None
    for hearer, topic in hearers:
        if envelope is None or envelope.topic != topic:
            envelope = Envelope(
                topic=topic,
                core=core,
                partition=0,
                offset=offset,
                index=index,
                message=message,  # type: ignore[arg-type]  # AnyMessage is the union of every Message
            )
        hearer.pending.append(envelope)


def publish_outputs(
    outputs: Sequence[Output], offset: int, listeners: Mapping[type[Message], Hearers], answers: list[Answer]
) -> None:
    """Publish what followed from the input at ``offset``, and add the answers among it to ``answers``."""
    for core, index, message in outputs:
        if type(message) is Answer:
            answers.append(message)
        hearers = listeners.get(type(message))
        if hearers is not None:
            publish(hearers, core, offset, index, message)
