"""Finding fields that a type does not have, also in types that were not declared with ``forbid_unknown_fields``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect


@lru_cache(maxsize=256)
def _info(type_: Any) -> inspect.Type:
    return inspect.type_info(type_)


@lru_cache(maxsize=256)
def reads_strictly(type_: Any) -> bool:
    """Whether msgspec itself refuses unknown fields everywhere inside ``type_``."""
    return _strict(_info(type_), set())


def _strict(info: inspect.Type, seen: set[Any]) -> bool:
    if isinstance(info, inspect.StructType):
        if info.cls in seen:
            return True
        seen.add(info.cls)
        return info.forbid_unknown_fields and all(_strict(field.type, seen) for field in info.fields)
    return all(_strict(inner, seen) for inner in _inner(info))


def _inner(info: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(info, inspect.UnionType):
        return info.types
    if isinstance(info, inspect.DictType):
        return (info.value_type,)
    if isinstance(info, inspect.TupleType):
        return info.item_types
    if isinstance(info, inspect.VarTupleType | inspect.ListType | inspect.SetType | inspect.FrozenSetType):
        return (info.item_type,)
    return ()


def unknown_field(raw: Any, type_: Any) -> str:
    """The first field in decoded JSON that ``type_`` does not have, or an empty text. ``raw`` is valid otherwise."""
    return _unknown(raw, _info(type_))


def _unknown(raw: Any, info: inspect.Type) -> str:
    if isinstance(raw, dict):
        if isinstance(info, inspect.StructType):
            return _unknown_in_struct(raw, info)
        if isinstance(info, inspect.UnionType):
            return _unknown_in_union(raw, info)
        if isinstance(info, inspect.DictType):
            return next(filter(None, (_unknown(value, info.value_type) for value in raw.values())), "")
    elif isinstance(raw, list):
        if isinstance(info, inspect.TupleType):
            pairs = zip(raw, info.item_types, strict=False)
            return next(filter(None, (_unknown(item, inner) for item, inner in pairs)), "")
        for inner in _inner(info):
            if found := next(filter(None, (_unknown(item, inner) for item in raw)), ""):
                return found
    return ""


def _unknown_in_struct(raw: dict[str, Any], info: inspect.StructType) -> str:
    fields = {field.encode_name: field.type for field in info.fields}
    for name, value in raw.items():
        if name == info.tag_field:
            continue
        if name not in fields:
            return str(name)
        if found := _unknown(value, fields[name]):
            return found
    return ""


def _unknown_in_union(raw: dict[str, Any], info: inspect.UnionType) -> str:
    """Of a tagged union the member with the tag counts; of ``X | None`` the X."""
    for member in info.types:
        if isinstance(member, inspect.StructType):
            if member.tag_field is None or raw.get(member.tag_field) == member.tag:
                return _unknown_in_struct(raw, member)
        elif isinstance(member, inspect.DictType):
            return _unknown(raw, member)
    return ""


def required(field: inspect.Field) -> bool:
    """Whether a field must be given."""
    return field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
