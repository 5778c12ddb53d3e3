"""Requests that no well-meaning client sends, made from what a service says of itself in its OpenAPI document."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

#: Texts for any place that takes one: empty, long, no number, another language, markup, queries, control characters.
TEXTS: Final = (
    "", " ", "0", "-1", "-0", "1e5", "NaN", "Infinity", "1" * 400, "A" * 3_000, "null", "true", "*", "..",
    "../../etc/passwd", "%00", "a\x00b", "\x1b[31m", "\n", "é", "中文", "🙂", "\ud83d", "' OR 1=1 --",
    "<script>alert(1)</script>", "{{7*7}}", "${jndi:ldap://x}", "BTCUSDT", "BTCUSDT\n", "btcusdt", "main", "9" * 19,
    "18446744073709551616", "0x10", "1_000", "0.1.2", "0.0000000000000000001", "1" * 41, "2026-13-45T99:99:99Z",
    "1970-01-01T00:00:00Z", "+1", "\u0663", "\uff11\uff12",
)  # fmt: skip
#: Values for any field of a JSON body.
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**200, 0.1, -0.0, 1e308, [], {}, [[]], [None],
    {"a": {"b": {}}}, [1] * 500, *TEXTS,
)  # fmt: skip
#: Whole bodies that are no JSON object of the right kind.
BODIES: Final = (
    b"", b" ", b"{", b"}", b"[]", b"null", b"0", b'""', b"nul", b"{}{}", b'{"a":}', b"\xff\xfe", b"\xef\xbb\xbf{}",
    b'{"a":1,"a":2}', b'{"\\ud800":1}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"9" * 5_000 + b"}",
    b"[" * 2_000 + b"]" * 2_000, b'{"a":' * 500 + b"1" + b"}" * 500, b"<xml/>", b"a=1&b=2",
    b"{" + b" " * 70_000 + b"}",
)  # fmt: skip
QUERIES: Final = (
    "a=1", "limit=0", "limit=-1", "limit=1e3", "limit=99999999999999999999", "limit=", "limit", "limit=1&limit=2", "=",
    "&&", "symbol=%ff", "symbol=%", "symbol=%00", "account=*", "account=..", "%F0%9F%99%82=1", "a" * 2_000,
    "&".join(["x=1"] * 100), "before_time_ns=9223372036854775808", "wait_ms=abc", "open_only=maybe", "depth=0x10",
    "newest=true&after_sequence=1",
)  # fmt: skip
MEDIA_TYPES: Final = (
    "text/plain",
    "application/xml",
    "application/json; charset=latin-1",
    "multipart/form-data",
    "json",
    "",
)
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND")


class HostileRequest(Struct, frozen=True):
    """One request: method, path with query, body, and the body's media type."""

    method: str
    target: str
    body: bytes = b""
    media_type: str = "application/json"


def _chars(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")


class Attacker:
    """Makes hostile requests for one service, the same ones for the same seed."""

    def __init__(self, document: dict[str, Any], *, seed: int) -> None:
        self._document = document
        self._chance = random.Random(seed)

    def requests(self, *, each_max: int) -> Iterator[HostileRequest]:
        """At most ``each_max`` requests for each operation, and some for addresses that do not exist."""
        for path, operations in sorted(self._document["paths"].items()):
            for method, operation in sorted(operations.items()):
                if method.upper() not in METHODS:
                    continue
                for _ in range(each_max):
                    yield self._of(path, method.upper(), operation)
            for method in METHODS:
                if method.lower() not in operations and method not in {"TRACE", "HEAD"}:
                    yield HostileRequest(method, self._filled(path))
        for text in TEXTS:
            yield HostileRequest("GET", "/" + _chars(text))

    def _of(self, path: str, method: str, operation: dict[str, Any]) -> HostileRequest:
        target = self._filled(path)
        kind = self._chance.random()
        if kind < 0.35:
            target += "?" + self._query(operation)
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            body = self._chance.choice(BODIES) if kind > 0.8 else b""
            return HostileRequest(method, target, body)
        schema = self._resolved(next(iter(content.values()))["schema"])
        if kind < 0.3:
            return HostileRequest(method, target, self._chance.choice(BODIES))
        media_type = self._chance.choice(MEDIA_TYPES) if kind > 0.95 else "application/json"
        return HostileRequest(method, target, _encoded(self._bent(schema)), media_type)

    def _filled(self, path: str) -> str:
        """The path with something in place of each of its parameters."""
        while "{" in path:
            before, _, rest = path.partition("{")
            path = before + (_chars(self._chance.choice(TEXTS)) or "x") + rest.partition("}")[2]
        return path

    def _query(self, operation: dict[str, Any]) -> str:
        names = [p["name"] for p in operation.get("parameters", ()) if p.get("in") == "query"]
        if not names or self._chance.random() < 0.3:
            return self._chance.choice(QUERIES)
        chosen = self._chance.sample(names, self._chance.randint(1, min(3, len(names))))
        return "&".join(f"{name}={_chars(self._chance.choice(TEXTS))}" for name in chosen)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            found: Any = self._document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema

    def _bent(self, schema: dict[str, Any]) -> Any:
        """A body that fits the schema but for a field or two, so that it gets past the first checks."""
        body = {name: self._fitting(field) for name, field in schema.get("properties", {}).items()}
        required = set(schema.get("required", ()))
        body = {name: value for name, value in body.items() if name in required or self._chance.random() < 0.5}
        for _ in range(self._chance.choice((1, 1, 2))):
            spoil = self._chance.random()
            if spoil < 0.15 and body:
                body.pop(self._chance.choice(sorted(body)))
            elif spoil < 0.25:
                body[self._chance.choice(("extra", "__class__", "", "id", "\x00"))] = self._chance.choice(VALUES)
            elif properties := sorted(schema.get("properties", {})):
                body[self._chance.choice(properties)] = self._chance.choice(VALUES)
        return body

    def _fitting(self, schema: dict[str, Any]) -> Any:
        schema = self._resolved(schema)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self._fitting(self._chance.choice(schema[several]))
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        kind = schema.get("type")
        if kind == "integer":
            return self._chance.randint(schema.get("minimum", -5), min(schema.get("maximum", 1_000), 10**6))
        if kind == "number":
            return self._chance.random()
        if kind == "boolean":
            return self._chance.random() < 0.5
        if kind == "array":
            return [self._fitting(schema.get("items", {})) for _ in range(self._chance.randint(0, 2))]
        if kind == "object":
            return {}
        if kind == "null":
            return None
        return self._chance.choice((*schema.get("examples", ()), "BTCUSDT", "main", "0.01", "61000", "a-note"))
