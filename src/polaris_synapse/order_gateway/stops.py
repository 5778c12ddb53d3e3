"""What only stops: requests that pass while nobody can tell whether their sender's right was taken away elsewhere.

A cancel, a breaker tripped or the kill switch pulled by somebody who was locked out seconds ago is a nuisance. An
officer who cannot stop the desk is worse. The same holds for a copy of such a request: made twice it does no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

_ALWAYS: Final = (
    ("DELETE", re.compile(r"/orders(/[^/]+){0,2}", re.ASCII)),
    ("DELETE", re.compile(r"/order-lists(/[^/]+){1,2}", re.ASCII)),
    ("DELETE", re.compile(r"/standing/[^/]+", re.ASCII)),
    ("POST", re.compile(r"/circuit-breaker/activate", re.ASCII)),
    ("POST", re.compile(r"/approvals/[^/]+/reject", re.ASCII)),
    ("POST", re.compile(r"/logout", re.ASCII)),
)
_CLOSED: Final = frozenset({"HALTED", "CANCEL_ONLY"})
#: Requests that stop or let go, by what their body says.
_BY_BODY: Final[tuple[tuple[str, re.Pattern[str], Callable[[Mapping[str, Any]], bool]], ...]] = (
    ("POST", re.compile(r"/kill-switch", re.ASCII), lambda body: _is_level(body.get("level"))),
    ("POST", re.compile(r"/accounts/[^/]+/sanctions-hold", re.ASCII), lambda body: body.get("held") is True),
    ("POST", re.compile(r"/accounts/[^/]+/block", re.ASCII), lambda body: body.get("blocked") is True),
    ("POST", re.compile(r"/restrictions", re.ASCII), lambda body: body.get("restricted") is True),
    ("PUT", re.compile(r"/symbols/[^/]+/status", re.ASCII), lambda body: body.get("status") in _CLOSED),
)
#: Methods of the WebSocket and the order port that only stop, or say nothing of the desk.
STOPPING_METHODS: Final = frozenset({"cancel", "cancel_all", "cancel_list", "ping", "unsubscribe"})


def only_stops(method: str, path: str, body: bytes) -> bool:
    """Whether a request can do nothing but stop or cancel. ``path`` is without its query."""
    if any(method == known and pattern.fullmatch(path) for known, pattern in _ALWAYS):
        return True
    for known, pattern, stops in _BY_BODY:
        if method == known and pattern.fullmatch(path):
            try:
                return stops(msgspec.json.decode(body, type=dict[str, Any]))
            except msgspec.DecodeError:
                return False
    return False


def _is_level(level: object) -> bool:
    """A level of the kill switch that stops something; 0 lets go."""
    return isinstance(level, int) and not isinstance(level, bool) and level > 0
