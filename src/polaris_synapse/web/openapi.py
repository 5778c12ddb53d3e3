"""The OpenAPI document of a service, made from its routes' documentation and msgspec's JSON schemas."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, inspect
from starlette.routing import BaseRoute

import polaris_synapse
from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.web.errors import ErrorBody, http_status
from polaris_synapse.web.routes import ApiRoute, RouteDocs
from polaris_synapse.web.strictness import required

_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_REF_TEMPLATE: Final = "#/components/schemas/{name}"

_ANY_ROUTE: Final = (
    Reason.MALFORMED_REQUEST,
    Reason.HOST_NOT_ALLOWED,
    Reason.REQUEST_TOO_SLOW,
    Reason.HEADERS_TOO_LARGE,
    Reason.TOO_MANY_CONNECTIONS,
)
_WITH_BODY: Final = (
    Reason.MALFORMED_JSON,
    Reason.MISSING_FIELD,
    Reason.UNKNOWN_FIELD,
    Reason.INVALID_VALUE,
    Reason.DUPLICATE_FIELD,
    Reason.BODY_TOO_LARGE,
    Reason.UNSUPPORTED_MEDIA_TYPE,
)
_WITH_PARAMETERS: Final = (
    Reason.MISSING_FIELD,
    Reason.UNKNOWN_FIELD,
    Reason.INVALID_VALUE,
    Reason.DUPLICATE_FIELD,
)
_AUTHENTICATED: Final = (
    Reason.NOT_AUTHENTICATED,
    Reason.TOKEN_EXPIRED,
    Reason.SIGNATURE_INVALID,
    Reason.TIMESTAMP_OUTSIDE_WINDOW,
    Reason.NONCE_REUSED,
    Reason.KEY_REVOKED,
    Reason.ADDRESS_NOT_ALLOWED,
    Reason.ROLE_NOT_ALLOWED,
    Reason.RATE_LIMITED,
)


class OpenApiInfo(Struct, frozen=True, kw_only=True):
    """What the document says about the whole. ``security_schemes`` are OpenAPI's, by name; any one of them will do."""

    description: str = ""
    security_schemes: dict[str, Any] = {}


def openapi_document(*, title: str, info: OpenApiInfo, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The document as plain data."""
    documented = [route for route in routes if isinstance(route, ApiRoute)]
    types = [ErrorBody, *_types_of(route.docs for route in documented)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF_TEMPLATE)
    by_type = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in documented:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths[path][route.method.lower()] = _operation(route, by_type, bool(info.security_schemes))
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": polaris_synapse.__version__, "description": info.description},
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {"schemas": components, "securitySchemes": info.security_schemes},
    }


def _key(type_: Any) -> str:
    return repr(type_)


def _types_of(docs: Iterable[RouteDocs]) -> list[Any]:
    found: dict[str, Any] = {}
    for doc in docs:
        for type_ in (doc.body, doc.response, *(type_ for type_, _ in doc.also.values())):
            if type_ is not None:
                found.setdefault(_key(type_), type_)
    return list(found.values())


def _parameters(type_: Any, place: str) -> list[dict[str, Any]]:
    """The fields of a struct as OpenAPI parameters, with the schema of each written out."""
    info = inspect.type_info(type_)
    assert isinstance(info, inspect.StructType), f"{type_} is not a struct"
    parameters = []
    for field in info.fields:
        (schema,), components = msgspec.json.schema_components(
            [_field_type(type_, field.name)],
            ref_template="{name}",
        )
        while "$ref" in schema:
            schema = components[schema["$ref"]]
        schema = _inline(schema, components)
        parameter: dict[str, Any] = {
            "name": field.encode_name,
            "in": place,
            "required": place == "path" or required(field),
            "schema": schema,
        }
        if isinstance(field.default, str | int | bool) and field.default != "":
            schema["default"] = field.default
        parameters.append(parameter)
    return parameters


def _field_type(type_: Any, name: str) -> Any:
    return next(field.type for field in msgspec.structs.fields(type_) if field.name == name)


def _inline(schema: Any, components: dict[str, Any]) -> Any:
    """A schema without references. Parameters are small, and never contain themselves."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inline(components[schema["$ref"]], components)
        return {key: _inline(value, components) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_inline(item, components) for item in schema]
    return schema


def _operation(route: ApiRoute, by_type: dict[str, Any], secured: bool) -> dict[str, Any]:
    docs = route.docs
    parameters = _parameters(docs.path, "path") if docs.path is not None else _path_texts(route.path)
    if docs.query is not None:
        parameters += _parameters(docs.query, "query")
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_')}",
        "summary": docs.summary,
        "description": _description(docs),
        "tags": [docs.tag or "API"],
        "parameters": parameters,
        "responses": _responses(docs, by_type),
    }
    if docs.body is not None:
        content = {"application/json": {"schema": by_type[_key(docs.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    if docs.roles is not None and secured:
        operation["security"] = [{"token": []}, {"signature": []}]
    return operation


def _path_texts(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _description(docs: RouteDocs) -> str:
    if docs.roles is None:
        who = "Open to anybody."
    elif docs.roles:
        who = f"Roles: {', '.join([*docs.roles, 'ADMIN'])}."
    else:
        who = "Every role."
    return f"{docs.description} {who}".strip()


def _responses(docs: RouteDocs, by_type: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {str(docs.status): {"description": docs.summary}}
    if docs.response is not None:
        responses[str(docs.status)]["content"] = {"application/json": {"schema": by_type[_key(docs.response)]}}
    for status, (type_, meaning) in docs.also.items():
        content = {"application/json": {"schema": by_type[_key(type_)]}}
        responses[str(status)] = {"description": meaning, "content": content}
    by_status: dict[int, list[Reason]] = defaultdict(list)
    for reason in _reasons(docs):
        by_status[http_status(reason)].append(reason)
    error_schema = {"application/json": {"schema": by_type[_key(ErrorBody)]}}
    for status, reasons in sorted(by_status.items()):
        if str(status) not in responses:
            sentences = " ".join(f"{reason.name} ({int(reason)}): {explain(reason)}" for reason in reasons)
            responses[str(status)] = {"description": sentences, "content": error_schema}
    return responses


def _reasons(docs: RouteDocs) -> list[Reason]:
    reasons = [*_ANY_ROUTE, *docs.reasons]
    if docs.body is not None:
        reasons += _WITH_BODY
    if docs.query is not None or docs.path is not None:
        reasons += _WITH_PARAMETERS
    if docs.roles is not None:
        reasons += _AUTHENTICATED
    return sorted(set(reasons))
