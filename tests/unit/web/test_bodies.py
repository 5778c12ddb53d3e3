"""Strict JSON: a corpus of hostile bodies, and properties over arbitrary ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.bodies import BODY_LEVELS_MAX, convert_texts, decode_json
from polaris_synapse.web.errors import ApiError, http_status


class Inner(Struct):
    """A nested struct that does not itself forbid unknown fields."""

    n: int = 0
    tags: list[str] = []


class Body(Struct, forbid_unknown_fields=True):
    """Something to decode."""

    price: str
    count: int = 0
    inner: Inner | None = None
    free: dict[str, Any] = {}


class Query(Struct):
    """Something to read from a query."""

    limit: int = 1
    name: str = ""
    flag: bool = False


HOSTILE: dict[str, tuple[bytes, Reason]] = {
    "empty": (b"", Reason.MALFORMED_JSON),
    "blank": (b"  ", Reason.MALFORMED_JSON),
    "array": (b"[]", Reason.INVALID_VALUE),
    "null": (b"null", Reason.INVALID_VALUE),
    "cut off": (b'{"price":"1"', Reason.MALFORMED_JSON),
    "trailing": (b'{"price":"1"} x', Reason.MALFORMED_JSON),
    "two documents": (b'{"price":"1"}{"price":"2"}', Reason.MALFORMED_JSON),
    "single quotes": (b"{'price':'1'}", Reason.MALFORMED_JSON),
    "comment": (b'{"price":"1"/*x*/}', Reason.MALFORMED_JSON),
    "byte order mark": (b'\xef\xbb\xbf{"price":"1"}', Reason.MALFORMED_JSON),
    "utf-16": ('{"price":"1"}'.encode("utf-16"), Reason.MALFORMED_JSON),
    "overlong utf-8": (b'{"price":"\xc0\xaf"}', Reason.MALFORMED_JSON),
    "surrogate bytes": (b'{"price":"\xed\xa0\x80"}', Reason.MALFORMED_JSON),
    "lone surrogate": (b'{"price":"\\ud800abc"}', Reason.MALFORMED_JSON),
    "raw control": (b'{"price":"\x00"}', Reason.MALFORMED_JSON),
    "NaN": (b'{"price":"1","count":NaN}', Reason.MALFORMED_JSON),
    "Infinity": (b'{"price":"1","count":Infinity}', Reason.MALFORMED_JSON),
    "minus Infinity": (b'{"price":"1","count":-Infinity}', Reason.MALFORMED_JSON),
    "1e400": (b'{"price":"1","count":1e400}', Reason.INVALID_VALUE),
    "1e400 in anything": (b'{"price":"1","free":{"x":1e400}}', Reason.INVALID_VALUE),
    "float": (b'{"price":"1","count":1.5}', Reason.INVALID_VALUE),
    "whole float": (b'{"price":"1","count":1.0}', Reason.INVALID_VALUE),
    "65 bits": (b'{"price":"1","count":%d}' % 2**64, Reason.INVALID_VALUE),
    "5000 digits": (b'{"price":"1","count":' + b"9" * 5_000 + b"}", Reason.INVALID_VALUE),
    "65 bits inside": (b'{"price":"1","free":{"x":[%d]}}' % 2**64, Reason.INVALID_VALUE),
    "price as number": (b'{"price":1.5}', Reason.INVALID_VALUE),
    "price as true": (b'{"price":true}', Reason.INVALID_VALUE),
    "price as null": (b'{"price":null}', Reason.INVALID_VALUE),
    "count as text": (b'{"price":"1","count":"5"}', Reason.INVALID_VALUE),
    "missing": (b"{}", Reason.MISSING_FIELD),
    "unknown": (b'{"price":"1","admin":true}', Reason.UNKNOWN_FIELD),
    "unknown inside": (b'{"price":"1","inner":{"n":1,"role":"ADMIN"}}', Reason.UNKNOWN_FIELD),
    "__proto__": (b'{"price":"1","__proto__":{"role":"ADMIN"}}', Reason.UNKNOWN_FIELD),
    "__class__": (b'{"price":"1","__class__":"x"}', Reason.UNKNOWN_FIELD),
    "twice": (b'{"price":"1","price":"2"}', Reason.DUPLICATE_FIELD),
    "twice by escape": (b'{"price":"1","pric\\u0065":"2"}', Reason.DUPLICATE_FIELD),
    "twice inside": (b'{"price":"1","inner":{"n":1,"n":2}}', Reason.DUPLICATE_FIELD),
    "twice in anything": (b'{"price":"1","free":{"a":{"b":1,"b":1}}}', Reason.DUPLICATE_FIELD),
    "twice, with colons": (b'{"price":"a:b","price":"c"}', Reason.DUPLICATE_FIELD),
    "deep arrays": (b"[" * 10_000, Reason.MALFORMED_JSON),
    "deep objects": (b'{"price":' * 10_000 + b"1" + b"}" * 10_000, Reason.MALFORMED_JSON),
    "deep in anything": (
        b'{"price":"1","free":{"x":' + b"[" * BODY_LEVELS_MAX + b"]" * BODY_LEVELS_MAX + b"}}",
        Reason.MALFORMED_JSON,
    ),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_bodies_are_refused(name: str) -> None:
    """Each is refused with its own reason and a detail that is one printable sentence."""
    body, reason = HOSTILE[name]
    with pytest.raises(ApiError) as refused:
        decode_json(body, Body)
    assert refused.value.reason is reason, refused.value.detail
    assert refused.value.detail.isprintable()
    assert 0 < len(refused.value.detail) < 300


def test_brackets_in_texts_are_no_depth() -> None:
    """A text full of brackets is only a text."""
    text = "[{" * 100 + '\\"'
    assert decode_json(b'{"price":"' + text.encode() + b'"}', Body).price == "[{" * 100 + '"'


def test_colons_in_texts_are_no_duplicates() -> None:
    """A time or an address in a text does not look like a key given twice."""
    assert decode_json(b'{"price":"12:30:00","free":{"a":"b:c"}}', Body).price == "12:30:00"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab:") | st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_an_internal_error(body: bytes) -> None:
    """Whatever the bytes, they are decoded or refused with a 4xx."""
    status = 400
    try:
        decode_json(body, Body)
    except ApiError as error:
        status = http_status(error.reason)
    assert 400 <= status < 500


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 5) | st.text(max_size=4)), max_size=6))
def test_duplicates_are_found_exactly(pairs: list[tuple[str, object]]) -> None:
    """An object is refused for a duplicate if and only if it has one, whatever its keys and texts contain."""
    text = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs)
    duplicated = len({key for key, _ in pairs}) != len(pairs)
    body = f"{{{text}}}".encode()
    if duplicated:
        with pytest.raises(ApiError) as refused:
            decode_json(body, dict)
        assert refused.value.reason is Reason.DUPLICATE_FIELD
    else:
        assert decode_json(body, dict) == dict(pairs)


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"limit": "x"}, Reason.INVALID_VALUE),
        ({"limit": "1.0"}, Reason.INVALID_VALUE),
        ({"limit": "1e3"}, Reason.INVALID_VALUE),
        ({"limit": "+1"}, Reason.INVALID_VALUE),
        ({"limit": ""}, Reason.INVALID_VALUE),
        ({"limit": "9" * 30}, Reason.INVALID_VALUE),
        ({"flag": "maybe"}, Reason.INVALID_VALUE),
        ({"other": "1"}, Reason.UNKNOWN_FIELD),
    ],
)
def test_parameters_are_strict(values: dict[str, str], reason: Reason) -> None:
    """Text parameters are whole numbers and booleans or they are refused."""
    with pytest.raises(ApiError) as refused:
        convert_texts(values, Query)
    assert refused.value.reason is reason


def test_parameters_are_read_from_text() -> None:
    """Numbers and booleans come from text; a text stays one."""
    assert convert_texts({"limit": "-5", "name": "7", "flag": "true"}, Query) == Query(-5, "7", True)


def test_encoding_is_exact() -> None:
    """What is decoded and encoded again is the same text."""
    body = b'{"price":"0.10","count":9007199254740993,"inner":null,"free":{}}'
    assert msgspec.json.encode(decode_json(body, Body)) == body
