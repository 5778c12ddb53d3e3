"""What the variables of a function hold, as far as it follows from annotations.

The compiler checks each value again when a variable takes it, so a mistake here is a TypeError and nothing worse.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from polaris_synapse.compiled.reading import Class, Field, Sources, without_none

#: Methods of a dict that give one of its values.
_TAKES = frozenset({"get", "pop"})


def local_types(sources: Sources, module: str, function: ast.FunctionDef, owner: Class | None) -> dict[str, Class]:
    """The classes of ours that variables of a function hold, arguments included, beside None.

    ``owner`` is the class whose method it is. A variable that is set to several kinds of things is left out.
    """
    known: dict[str, Field] = {}
    for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
        known[one.arg] = Field(module, one.annotation)
    if owner is not None:
        known["self"] = Field(owner.module, ast.Name(owner.name))
    unknown: set[str] = set()
    for target, value in _settings(sources, module, function, known):
        if isinstance(value, Field):
            found: Field | None = value
        else:
            found = type_of(sources, module, value, known)
        held, before = sources.held(found) if found is not None else None, known.get(target)
        if isinstance(value, ast.Constant) and value.value is None:
            continue
        if held is None or (before is not None and sources.held(before) != held):
            unknown.add(target)
        elif found is not None:
            known[target] = found
    types = {name: sources.held(field) for name, field in known.items() if name not in unknown}
    return {name: held for name, held in types.items() if held is not None}


def type_of(sources: Sources, module: str, value: ast.expr, known: dict[str, Field]) -> Field | None:
    """What an expression is annotated to be, as a field would be; None where nothing says so."""
    if isinstance(value, ast.Name):
        return known.get(value.id)
    if isinstance(value, ast.Attribute):
        owner = type_of(sources, module, value.value, known)
        held = sources.held(owner) if owner is not None else None
        return (sources.fields(held) or {}).get(value.attr) if held is not None else None
    if isinstance(value, ast.Subscript):
        return _item(type_of(sources, module, value.value, known))
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _TAKES:
        return _item(type_of(sources, module, value.func.value, known)) if len(value.args) == 1 else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        if sources.find(module, value.func.id) is not None:
            return Field(module, value.func)
        called = sources.function(module, value.func.id)
        return Field(called[0], called[1].returns) if called is not None else None
    if isinstance(value, ast.IfExp) and ast.unparse(value.body) == "None":
        return type_of(sources, module, value.orelse, known)
    return None


def _item(container: Field | None) -> Field | None:
    """What a container holds: the values of a dict, the items of a list or of a tuple of any length."""
    annotation = without_none(container.annotation) if container is not None else None
    if container is None or not isinstance(annotation, ast.Subscript) or not isinstance(annotation.value, ast.Name):
        return None
    kind, inner = annotation.value.id, annotation.slice
    if kind == "list":
        return Field(container.module, inner)
    if not isinstance(inner, ast.Tuple) or len(inner.elts) != 2:
        return None
    if kind == "dict":
        return Field(container.module, inner.elts[1])
    return Field(container.module, inner.elts[0]) if kind == "tuple" and ast.unparse(inner.elts[1]) == "..." else None


def _settings(
    sources: Sources, module: str, function: ast.FunctionDef, known: dict[str, Field]
) -> Iterator[tuple[str, ast.expr | Field]]:
    """Each variable that is set, in the order of the lines, and what it is set to; itself where nobody can tell."""
    for node in _in_order(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _pairs(target, node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, Field(module, node.annotation)
        elif isinstance(node, ast.NamedExpr):
            yield node.target.id, node.value
        elif isinstance(node, (ast.For, ast.comprehension)):
            item = _item(type_of(sources, module, node.iter, known))
            for name in _names(node.target):
                yield name, item if item is not None and isinstance(node.target, ast.Name) else ast.Constant(0)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, ast.Constant(0)
        elif isinstance(node, (ast.With, ast.AugAssign, ast.Import, ast.ImportFrom, ast.Match)):
            for name in _names(node):
                yield name, ast.Constant(0)


def _in_order(function: ast.FunctionDef) -> list[ast.AST]:
    placed = [node for node in ast.walk(function) if hasattr(node, "lineno") or isinstance(node, ast.comprehension)]
    return sorted(placed, key=lambda node: (node.target if isinstance(node, ast.comprehension) else node).lineno)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        several = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else None
        for number, one in enumerate(target.elts):
            yield from _pairs(one, several[number] if several is not None else ast.Constant(0))


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
