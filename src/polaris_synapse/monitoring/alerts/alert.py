"""An alert, and how much it matters."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

TITLE_CHARACTERS_MAX: Final = 160
BODY_CHARACTERS_MAX: Final = 1_500


class Severity(IntEnum):
    """INFO: good to know. WARNING: look at it today. CRITICAL: look at it now, also at night."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


class Alert(Struct, frozen=True, kw_only=True):
    """``key`` names what it is about: the same key again within the repeat time is counted and not sent.

    ``title`` and ``body`` are plain text; parts of them may be words that a person outside wrote.
    """

    key: str
    severity: Severity
    title: str
    body: str = ""
    time_ns: int = 0

    def cut(self) -> Alert:
        """The same within the bounds that every channel can carry, on one line and without control characters."""
        return Alert(
            key=self.key,
            severity=self.severity,
            title=_line(self.title, TITLE_CHARACTERS_MAX),
            body=_line(self.body, BODY_CHARACTERS_MAX),
            time_ns=self.time_ns,
        )


def _line(text: str, characters_max: int) -> str:
    clean = " ".join("".join(part if part.isprintable() else " " for part in text).split())
    return clean if len(clean) <= characters_max else clean[: characters_max - 1] + "…"
