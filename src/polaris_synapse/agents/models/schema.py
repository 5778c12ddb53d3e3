"""Validation of a model's JSON against the schema that was asked for, whatever the vendor promises.

Takes the part of JSON Schema that every vendor's structured output takes, and refuses to be given any other: a keyword
that is not checked would be a promise nobody keeps.
"""

from __future__ import annotations

import json
from typing import Any, Final

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KEYWORDS: Final = frozenset(
    {
        "type", "properties", "required", "additionalProperties", "items", "enum", "minLength", "maxLength", "minItems",
        "maxItems", "minimum", "maximum", "description", "title", "anyOf",
    }
)  # fmt: skip
#: An answer nested deeper than this is refused unread.
DEPTH_MAX: Final = 16
#: The longest answer that is looked at.
OUTPUT_CHARACTERS_MAX: Final = 100_000


class SchemaError(ValueError):
    """A schema that uses what is not checked here: a bug of whoever asks."""


def check_schema(schema: dict[str, Any], depth: int = 0) -> None:
    """Raise SchemaError for a schema that ``problem_of`` could not hold an answer to."""
    unknown = sorted(set(schema) - _KEYWORDS)
    if unknown or depth > DEPTH_MAX:
        raise SchemaError(f"the schema uses {', '.join(unknown) or 'too many levels'}, which is not checked here")
    if any(name not in _TYPES for name in _types_of(schema)):
        raise SchemaError(f"the schema has the unknown type {schema['type']}")
    for part in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        check_schema(part, depth + 1)
    if "items" in schema:
        check_schema(schema["items"], depth + 1)


def read_object(text: str, schema: dict[str, Any]) -> tuple[str, str]:
    """``(the object as compact JSON, "")``, or ``("", what is wrong with it)`` without repeating the text.

    A fence of backticks around the object is taken off: models put one on whatever they are told.
    """
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare.removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if len(bare) > OUTPUT_CHARACTERS_MAX:
        return "", f"the answer is longer than {OUTPUT_CHARACTERS_MAX} characters"
    try:
        value = json.loads(bare, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return "", "the answer is not one JSON object"
    if not isinstance(value, dict):
        return "", "the answer is not one JSON object"
    problem = problem_of(value, schema)
    if problem:
        return "", problem
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")), ""


def problem_of(value: object, schema: dict[str, Any], path: str = "the answer") -> str:
    """The first thing in which a value differs from a schema, or an empty text."""
    if "anyOf" in schema:
        found = [problem_of(value, part, path) for part in schema["anyOf"]]
        return "" if "" in found else found[0]
    types = _types_of(schema)
    if types and not any(_is(value, name) for name in types):
        return f"{path} is not {' or '.join(types)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path} is none of the allowed values"
    if isinstance(value, str):
        return _outside(len(value), schema, "minLength", "maxLength", f"{path}'s length")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _outside(value, schema, "minimum", "maximum", path)
    if isinstance(value, list):
        problem = _outside(len(value), schema, "minItems", "maxItems", f"the number of items of {path}")
        parts = (problem_of(item, schema.get("items", {}), f"an item of {path}") for item in value)
        return problem or next((found for found in parts if found), "")
    return _object_problem(value, schema, path) if isinstance(value, dict) else ""


def _object_problem(value: dict[str, object], schema: dict[str, Any], path: str) -> str:
    properties: dict[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"{path} has no {name}"
    if schema.get("additionalProperties") is False and not set(value) <= set(properties):
        return f"{path} has a field that was not asked for"
    for name, part in properties.items():
        if name in value and (problem := problem_of(value[name], part, name)):
            return problem
    return ""


def _outside(size: float, schema: dict[str, Any], least: str, most: str, what: str) -> str:
    if least in schema and size < schema[least]:
        return f"{what} is below {schema[least]}"
    if most in schema and size > schema[most]:
        return f"{what} is above {schema[most]}"
    return ""


def _types_of(schema: dict[str, Any]) -> tuple[str, ...]:
    named = schema.get("type", ())
    return (named,) if isinstance(named, str) else tuple(named)


def _is(value: object, name: str) -> bool:
    # True is an int to Python, and not to anybody else.
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found
