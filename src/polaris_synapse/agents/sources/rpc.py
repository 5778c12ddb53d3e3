"""JSON-RPC 2.0 over the bounded fetcher, and strict reading of what chains answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from polaris_synapse.agents.sources.fetch import Fetcher
from polaris_synapse.agents.sources.port import Failure, SourceError

_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
#: 256 bits: no number of Ethereum is larger.
_QUANTITY_DIGITS_MAX: Final = 64
_RATE_LIMIT_CODES: Final = frozenset({-32005, -32097, 429})


class Rpc:
    """Calls of one node. Each raises SourceError."""

    def __init__(self, fetcher: Fetcher, url: str, headers: Mapping[str, str]) -> None:
        self._fetcher = fetcher
        self._url = url
        self._headers = headers
        self._calls = 0

    async def call(self, method: str, *parameters: object) -> Any:
        """The result of a call; None where the node says that there is nothing."""
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": parameters}
        answer = await self._fetcher.post_json(self._url, request, headers=self._headers)
        if not isinstance(answer, dict) or answer.get("id") != self._calls:
            raise SourceError(Failure.MALFORMED, f"The node's answer to {method} does not belong to the question.")
        error = answer.get("error")
        if error is not None:
            code = error.get("code") if isinstance(error, dict) else None
            if code in _RATE_LIMIT_CODES:
                raise SourceError(Failure.RATE_LIMITED, f"The node limits {method}.", retry_after_seconds=60)
            shown = code if isinstance(code, int) and abs(code) < 1_000_000 else "none"
            raise SourceError(Failure.SERVER_ERROR, f"The node refused {method} (code {shown}).")
        if "result" not in answer:
            raise SourceError(Failure.MALFORMED, f"The node's answer to {method} has no result.")
        return answer["result"]


def malformed(what: str) -> SourceError:
    """What a field that cannot be read is answered with; ``what`` is our word for it."""
    return SourceError(Failure.MALFORMED, f"The node gave no usable {what}.")


def quantity(value: Any, what: str) -> int:
    """A hexadecimal quantity such as ``0x1b4``, exact. Raises SourceError."""
    digits = value[2:] if isinstance(value, str) and value.startswith("0x") else ""
    if not 0 < len(digits) <= _QUANTITY_DIGITS_MAX or not _HEX_DIGITS.issuperset(digits):
        raise malformed(what)
    return int(digits, 16)


def fixed_hex(value: Any, digits: int, what: str) -> str:
    """A hexadecimal text of a fixed length, lower-case with ``0x``. Raises SourceError."""
    if not isinstance(value, str) or len(value) != digits + 2 or not value.startswith("0x"):
        raise malformed(what)
    if not _HEX_DIGITS.issuperset(value[2:]):
        raise malformed(what)
    return value.lower()


def whole(value: Any, what: str) -> int:
    """A JSON integer that is not negative. Raises SourceError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise malformed(what)
    return value
