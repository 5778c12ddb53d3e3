"""Text with U+0000 in PostgreSQL, whose text type cannot hold it.

Where a row's columns are all there is of a text (the audit chain, whose hashes cover every character), U+0000 is
written as an escape that reading takes back. Where the whole text is in ``body`` as well, a plain replacement serves.
"""

from __future__ import annotations

from typing import Final

#: A private character of plane 15 that no text means anything by; doubled where a text holds it itself.
_ESCAPE: Final = "\U000f0000"
_NUL: Final = _ESCAPE + "0"
_ITSELF: Final = _ESCAPE + _ESCAPE


def escape_nul(text: str) -> str:
    """A text without U+0000 that ``unescape_nul`` makes the same again."""
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ITSELF).replace("\0", _NUL)


def unescape_nul(text: str) -> str:
    """The text that ``escape_nul`` was given."""
    if _ESCAPE not in text:
        return text
    return _ESCAPE.join(part.replace(_NUL, "\0") for part in text.split(_ITSELF))


def replace_nul(text: str) -> str:
    """A text with U+FFFD in the place of each U+0000."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
