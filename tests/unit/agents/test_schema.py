"""Our own check of a model's JSON: what fits, what does not, and schemas that promise more than is checked."""

from __future__ import annotations

from typing import Any

import pytest

from polaris_synapse.agents.models.schema import SchemaError, check_schema, problem_of, read_object

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 4},
        "share": {"type": "integer", "minimum": 0, "maximum": 100},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
        "note": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "x"}',
        '{"name": "x", "share": 100, "tags": ["a"], "note": null}',
        '```\n{"name": "x", "note": true}\n```',
    ],
)
def test_what_fits_is_read(text: str) -> None:
    """An object that fits comes back as compact JSON."""
    output, problem = read_object(text, SCHEMA)
    assert problem == ""
    assert output.startswith('{"name":"x"')


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[1]", "{", '{"name": ""}', '{"name": "abcde"}', '{"share": 1}', '{"name": 1}',
        '{"name": "x", "a": 1}',
        '{"name": "x", "share": true}', '{"name": "x", "share": 101}', '{"name": "x", "share": -1}',
        '{"name": "x", "share": 1.5}', '{"name": "x", "share": NaN}', '{"name": "x", "tags": []}',
        '{"name": "x", "tags": ["c"]}', '{"name": "x", "tags": ["a", "a", "a"]}', '{"name": "x", "note": "no"}',
        '{"name": "x", "name": "y"}', '{"name": "x"} and more', "[" * 100_000, '{"name": "' + "x" * 200_000 + '"}',
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(text: str) -> None:
    """One sentence says what is wrong, and never repeats the answer."""
    output, problem = read_object(text, SCHEMA)
    assert output == ""
    assert problem
    assert "xxxxx" not in problem


@pytest.mark.parametrize("schema", [{"pattern": "a"}, {"type": "date"}, {"items": {"format": "uri"}}])
def test_a_schema_that_is_not_checked_is_refused(schema: dict[str, Any]) -> None:
    """A keyword nobody checks would be a promise nobody keeps."""
    with pytest.raises(SchemaError):
        check_schema(schema)


def test_a_schema_too_deep_is_refused() -> None:
    """Nesting is bounded."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(30):
        schema = {"type": "array", "items": schema}
    with pytest.raises(SchemaError):
        check_schema(schema)
    assert problem_of("x", {"type": ["string", "null"]}) == ""
