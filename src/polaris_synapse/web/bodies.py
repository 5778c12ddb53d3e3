"""Strict JSON in, exact JSON out: nothing a client sends is guessed at, rounded or silently dropped.

A body is refused for a wrong media type, its size, its depth, a key given twice, a field that does not exist, NaN,
infinities, integers past 64 bits and text that is not Unicode. Prices and quantities are declared ``str``, so a JSON
number in their place is refused with a sentence that says how to send it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.strictness import reads_strictly, unknown_field

T = TypeVar("T")

BODY_BYTES_MAX: Final = 65_536
BODY_LEVELS_MAX: Final = 16
QUERY_FIELDS_MAX: Final = 64
INTEGER_MAX: Final = 2**63 - 1

_JSON: Final = "application/json"
_UNTYPED: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()

_MISSING: Final = re.compile(r"missing required field `([^`]*)`")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_EXPECTED: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_AT: Final = re.compile(r"^(.*?)(?: - at `(?:key in )?\$\.?([^`]*)`)?$", re.DOTALL)

_NUMBER_AS_TEXT: Final = 'send numbers such as prices and quantities as text, such as "61837.64"'


class _DuplicateKeyError(ValueError):
    """A key that an object has twice."""


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return found


class _TooDeepError(ValueError):
    """Objects and lists lie in each other too often."""


def _count_keys(value: Any, levels_left: int = BODY_LEVELS_MAX) -> int:
    """The keys of all objects in a decoded value. Refuses integers past 64 bits and deep nesting on the way."""
    kind = type(value)
    if kind is dict:
        keys, items = len(value), value.values()
    elif kind is list:
        keys, items = 0, value
    else:
        if kind is int and not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
            raise ApiError(Reason.INVALID_VALUE, "A whole number has at most 64 bits here.")
        return 0
    if not levels_left:
        raise _TooDeepError
    for item in items:
        if type(item) is not str:
            keys += _count_keys(item, levels_left - 1)
    return keys


def _quoted(name: str) -> str:
    """A client's name for something, safe to send back: at most 64 printable characters."""
    return "".join(c if c.isprintable() else "?" for c in name[:64])


def refusal(error: Exception) -> ApiError:
    """The refusal that a msgspec or Unicode error stands for, with a sentence a person can act on."""
    if isinstance(error, UnicodeDecodeError):
        return ApiError(Reason.MALFORMED_JSON, "The body is not valid UTF-8.")
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return ApiError(Reason.MALFORMED_JSON, _quoted(text) + ".")
    what, where = _AT.match(text).groups()  # type: ignore[union-attr]  # the pattern matches every text
    where = _quoted(where or "")
    inside = f" in {where}" if where else ""
    if found := _MISSING.search(what):
        return ApiError(Reason.MISSING_FIELD, f"The field {found.group(1)} is missing{inside}.")
    if found := _UNKNOWN.search(what):
        return ApiError(Reason.UNKNOWN_FIELD, f"There is no field {_quoted(found.group(1))}{inside}.")
    subject = where or "The body"
    if (found := _EXPECTED.search(what)) and found.group(1).startswith("str") and found.group(2) in {"int", "float"}:
        return ApiError(Reason.INVALID_VALUE, f"{subject}: {_NUMBER_AS_TEXT}.")
    return ApiError(Reason.INVALID_VALUE, f"{subject}: {what[:1].lower()}{what[1:200]}.".replace("`", ""))


@lru_cache(maxsize=256)
def _decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_)


def decode_json(body: bytes, type_: type[T]) -> T:
    """JSON bytes as ``type_``, strictly. Raises ApiError."""
    any_type: Any = type_
    try:
        raw = _UNTYPED.decode(body)
        # As many colons as keys prove that no key came twice. Otherwise a text holds a colon, or a key did: look.
        if body.count(b":") != _count_keys(raw):
            json.loads(body, object_pairs_hook=_refuse_duplicates)
        value: T = _decoder(any_type).decode(body)
    except _DuplicateKeyError as error:
        raise ApiError(Reason.DUPLICATE_FIELD, f"The field {_quoted(str(error))} is given twice.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise refusal(error) from None
    except (_TooDeepError, RecursionError):
        detail = f"Objects and lists lie at most {BODY_LEVELS_MAX} levels deep here."
        raise ApiError(Reason.MALFORMED_JSON, detail) from None
    except ValueError:
        raise ApiError(Reason.MALFORMED_JSON, "The body cannot be read as JSON.") from None
    if not reads_strictly(any_type) and (name := unknown_field(raw, any_type)):
        raise ApiError(Reason.UNKNOWN_FIELD, f"There is no field {_quoted(name)}.")
    return value


def decode_part(part: bytes | msgspec.Raw, type_: type[T]) -> T:
    """A part of a body that ``decode_json`` has read, whose type forbids unknown fields. Raises ApiError."""
    any_type: Any = type_
    try:
        value: T = _decoder(any_type).decode(part)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise refusal(error) from None
    return value


def _check_media_type(header: str | None) -> None:
    if header == _JSON:
        return
    media_type, _, parameters = (header or "").partition(";")
    if media_type.strip().lower() != _JSON:
        raise ApiError(Reason.UNSUPPORTED_MEDIA_TYPE)
    for parameter in filter(None, (part.strip().lower() for part in parameters.split(";"))):
        name, _, value = parameter.partition("=")
        if name.strip() != "charset" or value.strip().strip('"') not in {"utf-8", "utf8"}:
            raise ApiError(Reason.UNSUPPORTED_MEDIA_TYPE, "JSON is sent in UTF-8, without other parameters.")


async def read_bytes(request: Request, *, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The body, refused as soon as it is known to be too long. Kept, so that a second call gives the same."""
    kept: bytes | None = request.scope.get("polaris.body")
    if kept is not None:
        return kept
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced[:19]) > bytes_max:
        raise ApiError(Reason.BODY_TOO_LARGE, f"At most {bytes_max} bytes are taken here.")
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > bytes_max:
                raise ApiError(Reason.BODY_TOO_LARGE, f"At most {bytes_max} bytes are taken here.")
            parts.append(part)
    except ClientDisconnect:
        raise ApiError(Reason.MALFORMED_REQUEST, "The body ended early.") from None
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    request.scope["polaris.body"] = body
    return body


async def read_struct(request: Request, type_: type[T], *, bytes_max: int = BODY_BYTES_MAX) -> T:
    """The JSON body as ``type_``. Raises ApiError for anything that is not exactly one such object."""
    _check_media_type(request.headers.get("content-type"))
    body = await read_bytes(request, bytes_max=bytes_max)
    if not body:
        raise ApiError(Reason.MALFORMED_JSON, "The body is empty.")
    return decode_json(body, type_)


async def refuse_body(request: Request) -> None:
    """For addresses that take no body: refuse one, so that nobody believes that it was read."""
    if await read_bytes(request):
        raise ApiError(Reason.UNKNOWN_FIELD, "This address takes no body.")


@lru_cache(maxsize=256)
def _field_names(type_: Any) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(type_))


def convert_texts(values: Mapping[str, str], type_: type[T]) -> T:
    """Texts of a query or a path as ``type_``: numbers and booleans are read from text. Raises ApiError."""
    any_type: Any = type_
    names = _field_names(any_type)
    for name in values:
        if name not in names:
            raise ApiError(Reason.UNKNOWN_FIELD, f"There is no parameter {_quoted(name)}.")
    try:
        value = msgspec.convert(dict(values), type_, strict=False)
    except msgspec.ValidationError as error:
        raise refusal(error) from None
    for name in names:
        field = getattr(value, name, None)
        if type(field) is int and not -INTEGER_MAX - 1 <= field <= INTEGER_MAX:
            raise ApiError(Reason.INVALID_VALUE, f"{name}: a whole number has at most 64 bits here.")
        if type(field) is int and not values.get(name, "0").lstrip("-").isdigit():
            raise ApiError(Reason.INVALID_VALUE, f"{name}: expected a whole number.")
    return value


def query_struct(request: Request, type_: type[T]) -> T:
    """The query parameters as ``type_``: none unknown, none twice, each of its type. Raises ApiError."""
    query: bytes = request.scope.get("query_string", b"")
    values: dict[str, str] = {}
    if query:
        try:
            pairs = parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=QUERY_FIELDS_MAX,
            )
        except ValueError:
            raise ApiError(Reason.INVALID_VALUE, "The query is not of the form name=value&name=value.") from None
        for name, value in pairs:
            if name in values:
                raise ApiError(Reason.DUPLICATE_FIELD, f"The parameter {_quoted(name)} is given twice.")
            values[name] = value
    return convert_texts(values, type_)


def path_struct(request: Request, type_: type[T]) -> T:
    """The parameters in the path as ``type_``. Raises ApiError."""
    return convert_texts({name: str(value) for name, value in request.path_params.items()}, type_)


class JsonBytes(Response):
    """A response of JSON bytes that are made already."""

    media_type = _JSON


def encode_json(body: object) -> bytes:
    """``body`` as JSON by msgspec: structs, enums and containers of them."""
    return _ENCODER.encode(body)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with ``body`` as JSON, see ``encode_json``."""
    return JsonBytes(encode_json(body), status, headers)
