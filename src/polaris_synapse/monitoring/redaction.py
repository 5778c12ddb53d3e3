"""Keeping secrets out of the logs: by the name of a field, by the look of a text, and by the value itself.

Three nets, each of which would do for most mistakes:

1. a field whose name says it is secret loses its value, however deep it lies;
2. text that looks like ``password=...``, an Authorization header, a PEM private key or a URL with a password is masked;
3. values that were registered are masked wherever they turn up, also quoted, escaped or in base64.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "[redacted]"
#: Values that may be registered in one process.
SECRETS_MAX: Final = 10_000
#: Bounds on what is walked through of one log event; what lies deeper is written as its type's name.
LEVELS_MAX: Final = 8
ITEMS_MAX: Final = 1_000
TEXT_CHARACTERS_MAX: Final = 65_536

_NAMES: Final = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|api[-_. ]?key|signing[-_. ]?key|private|authorization|"
    r"authentication|credential|cookie|signature|mnemonic|jwt|bearer|session[-_. ]?id|access[-_. ]?key"
)
_SECRET_NAME: Final = re.compile(_NAMES, re.IGNORECASE)
# Counting tokens is what language models charge for; a number of them is no secret.
_COUNTED_NAME: Final = re.compile(r"tokens(?:_|$)", re.IGNORECASE)

_TEXT_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), MASK),
    # Authorization: Bearer xyz, Proxy-Authorization: Basic xyz, in a header or a dictionary of headers
    (
        re.compile(
            r"(?i)(authorization\\?[\"']?\s{0,4}[=:,]\s{0,4}(?:b(?=[\"']))?\\?[\"']?)"
            r"(?:(?:bearer|basic|digest|token|negotiate)\s+)?[^\s\"',\\]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{16,}"), rf"\1 {MASK}"),
    # scheme://user:password@host
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,256}):[^\s/@]{1,256}@"), rf"\1:{MASK}@"),
    # password=..., "api_key": "...", secret: ...; quotes may be escaped where the text is JSON within JSON
    (
        re.compile(
            rf"(?i)((?:{_NAMES})[A-Za-z0-9_.-]{{0,64}}\\?[\"']?\s{{0,4}}[=:]\s{{0,4}})"
            r"(?:b?\"(?:[^\"\\]|\\.)*\"|b?'(?:[^'\\]|\\.)*'|\\\"(?:(?!\\\").)*\\\"|[^\s,;&\"'(){}\[\]\\]+)"
        ),
        rf"\1{MASK}",
    ),
    # A JSON web token, whatever stands around it.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"), MASK),
)


class TooManySecretsError(RuntimeError):
    """More values were registered than a process can need: somebody registers what is no secret."""


class SecretRegistry:
    """Values that must never be written. Safe to use from several threads. Shows none of them in its repr."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"<SecretRegistry of {len(self._values)} values>"

    def register(self, *values: str) -> None:
        """Mask these values from now on. An empty text is no secret. Raises TooManySecretsError."""
        with self._lock:
            added = {value for value in values if value}
            if len(self._values | added) > SECRETS_MAX:
                raise TooManySecretsError(f"at most {SECRETS_MAX} secrets can be registered")
            self._values |= added
            forms = {form for value in self._values for form in _forms_of(value)}
            # The longest first, so that no rest of a longer one stays behind a shorter one.
            ordered = sorted(forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def mask(self, text: str) -> str:
        """The text without any registered value."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(MASK, text)


def _forms_of(value: str) -> set[str]:
    """A value and the ways in which it is written inside other text."""
    raw = value.encode("utf-8", "surrogatepass")
    forms = {value, quote(value, safe="", errors="replace"), quote_plus(value, errors="replace")}
    forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1], repr(raw)[2:-1]}
    if len(value) >= 4:
        # Shorter ones have forms that turn up by chance.
        encoded = (base64.b64encode(raw), base64.urlsafe_b64encode(raw))
        forms |= {text.decode("ascii").rstrip("=") for text in encoded} | {raw.hex()}
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        # A traceback or a wrapped message may show one line of a key only.
        forms |= {line for line in lines if len(line) >= 16 and not line.startswith("-----")}
    return forms - {""}


#: The process's own registry.
secrets: Final = SecretRegistry()


def register_secret(*values: str) -> None:
    """Mask these values in every log of this process from now on."""
    secrets.register(*values)


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


class Redactor:
    """Makes plain data of anything, without secrets. One instance a process is enough."""

    def __init__(self, registry: SecretRegistry = secrets) -> None:
        self._registry = registry

    def text(self, text: str) -> str:
        """A text without secrets, cut to TEXT_CHARACTERS_MAX."""
        text = self._registry.mask(text)
        if len(text) > TEXT_CHARACTERS_MAX:
            text = f"{text[:TEXT_CHARACTERS_MAX]}… ({len(text)} characters)"
        for pattern, replacement in _TEXT_PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: object, *, name: str = "", level: int = 0) -> object:
        """Any value as text, numbers and containers of them, without secrets. ``name`` is the field it stands in."""
        if name and is_secret_name(name) and not _is_count(name, value):
            return None if value is None else MASK
        if value is None or isinstance(value, bool):
            return value
        if type(value) in (int, float):
            return self._number(value)
        if isinstance(value, str):
            return self.text(str(value))
        if level >= LEVELS_MAX:
            return f"<{type(value).__name__}>"
        if isinstance(value, Mapping):
            return self._mapping(value, level)
        if isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray | memoryview):
            return self._items(value, level)
        return self.text(_shown(value))

    def _number(self, value: object) -> object:
        # A secret can be digits only.
        text = str(value)
        return value if self._registry.mask(text) == text else MASK

    def _mapping(self, value: Mapping[object, object], level: int) -> dict[str, object]:
        redacted: dict[str, object] = {}
        for count, (key, item) in enumerate(value.items()):
            if count >= ITEMS_MAX:
                redacted["…"] = f"{len(value)} items"
                break
            name = key if isinstance(key, str) else _shown(key)
            redacted[self.text(name)] = self.value(item, name=name, level=level + 1)
        return redacted

    def _items(self, value: Iterable[object], level: int) -> list[object]:
        redacted: list[object] = []
        for item in value:
            if len(redacted) >= ITEMS_MAX:
                redacted.append("…")
                break
            redacted.append(self.value(item, level=level + 1))
        return redacted


def _is_count(name: str, value: object) -> bool:
    return type(value) in (int, float) and _COUNTED_NAME.search(name) is not None


def _shown(value: object) -> str:
    """The repr of a value; its type's name where that fails, because a log must not raise."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
