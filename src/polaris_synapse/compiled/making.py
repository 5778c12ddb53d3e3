"""Structs made in C: a call of a struct's class, or of ``structs.replace``, becomes a function that sets the fields.

msgspec's own constructor looks each keyword up and each default too; where the compiler knows both, a struct takes
30 ns to make instead of 200 and more. For each set of fields that some call gives there is one function, in the
package's ``layouts`` module; the calls are changed in the text that the compiler sees, line by line where they stand.
Only plain structs are made so: no ``__post_init__``, and no default that must be made anew each time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

from polaris_synapse.compiled.inference import local_types
from polaris_synapse.compiled.reading import Layouts, Sources

#: C's part: a new object without fields, and the collector told of it where it can be part of a circle.
ALLOCATION: Final = """
    static PyObject *polaris_new(PyObject *type) {
        PyTypeObject *tp = (PyTypeObject *)type;
        PyObject *self = PyType_IS_GC(tp) ? PyObject_GC_New(PyObject, tp) : PyObject_New(PyObject, tp);
        if (self) memset((char *)self + sizeof(PyObject), 0, tp->tp_basicsize - sizeof(PyObject));
        return self;
    }
    static int polaris_may_circle(PyObject *value) {
        return PyType_IS_GC(Py_TYPE(value)) && !(PyTuple_CheckExact(value) && !PyObject_GC_IsTracked(value));
    }
    static PyObject *polaris_made(PyObject *self) {
        if (PyType_IS_GC(Py_TYPE(self))) {
            PyObject **field = (PyObject **)((char *)self + sizeof(PyObject));
            PyObject **end = (PyObject **)((char *)self + Py_TYPE(self)->tp_basicsize);
            for (; field < end; field++)
                if (*field && polaris_may_circle(*field)) { PyObject_GC_Track(self); break; }
        }
        return self;
    }
"""


class Maker(NamedTuple):
    """A function that makes a struct from ``given`` fields, the others being defaults or those of a ``copied`` one."""

    struct: tuple[str, str]
    given: tuple[str, ...]
    copied: bool


class _Call(NamedTuple):
    """A call to change: where the name that is called stands, and what to call instead."""

    callee: ast.expr
    maker: Maker


def makers(sources: Sources, layouts: Layouts) -> dict[Maker, str]:
    """The names of all functions that calls in the compiled modules need."""
    found = {call.maker for module in sources.compiled for call in _calls(sources, module, layouts)}
    return {maker: f"make_{maker.struct[1]}_{number}" for number, maker in enumerate(sorted(found))}


def rewritten(sources: Sources, module: str, layouts: Layouts, names: dict[Maker, str]) -> str:
    """A module's text for the compiler, each line where it was."""
    lines = [line.encode() for line in sources.texts[module].split("\n")]
    calls = sorted(_calls(sources, module, layouts), key=lambda call: (-call.callee.lineno, -call.callee.col_offset))
    for callee, maker in calls:
        assert callee.lineno == callee.end_lineno
        line = lines[callee.lineno - 1]
        lines[callee.lineno - 1] = line[: callee.col_offset] + names[maker].encode() + line[callee.end_col_offset :]
    for node in ast.walk(sources.trees[module]):
        # Arguments by place only cannot be declared; nobody gives them by name.
        if isinstance(node, ast.FunctionDef) and node.args.posonlyargs:
            for number in range(node.lineno - 1, node.body[0].lineno):
                lines[number] = lines[number].replace(b", /", b"", 1)
    return b"\n".join(lines).decode()


def used_in(sources: Sources, module: str, layouts: Layouts, names: dict[Maker, str]) -> list[str]:
    """The functions that a module needs."""
    return sorted({names[call.maker] for call in _calls(sources, module, layouts)})


def _calls(sources: Sources, module: str, layouts: Layouts) -> Iterator[_Call]:
    places = {(known.module, known.name): place for place, known in layouts.items()}
    for owner, function in sources.functions(module):
        held = local_types(sources, module, function, owner)
        types = {name: places.get((one.module, one.name)) for name, one in held.items()}
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and (maker := _maker(sources, module, node, layouts, types)):
                yield _Call(node.func, maker)


def _maker(
    sources: Sources, module: str, node: ast.Call, layouts: Layouts, types: dict[str, tuple[str, str] | None]
) -> Maker | None:
    """The function that a call becomes, where it can."""
    named = tuple(keyword.arg for keyword in node.keywords if keyword.arg is not None)
    if len(named) < len(node.keywords) or any(isinstance(one, ast.Starred) for one in node.args):
        return None
    if _is_replace(sources, module, node.func):
        struct = types.get(node.args[0].id) if isinstance(node.args[0], ast.Name) else None
        if struct is None or not sources.is_plain_struct(layouts[struct]):
            return None
        return Maker(struct, named, copied=True)
    struct = sources.imports[module].get(node.func.id) if isinstance(node.func, ast.Name) else None
    known = layouts.get(struct) if struct is not None else None
    if struct is None or known is None or not sources.is_plain_struct(known):
        return None
    places = sources.positional(known)
    if len(node.args) > len(places):
        return None
    given = (*places[: len(node.args)], *named)
    left = {name: field for name, field in (sources.fields(known) or {}).items() if name not in given}
    if not all(_is_shared(field.default) for field in left.values()):
        return None
    return Maker(struct, given, copied=False)


def _is_replace(sources: Sources, module: str, callee: ast.expr) -> bool:
    text, imports = ast.unparse(callee), sources.imports[module]
    if text == "structs.replace":
        return imports.get("structs") == ("msgspec", "structs")
    return imports.get(text) == ("msgspec.structs", "replace")


def _is_shared(default: ast.expr | None) -> bool:
    """Whether a default is one object for all: a constant, a member of an enumeration, an empty tuple."""
    if isinstance(default, ast.Tuple):
        return not default.elts
    return isinstance(default, (ast.Constant, ast.Name, ast.Attribute))


def signatures(layouts: Layouts, names: dict[Maker, str]) -> list[str]:
    """The functions as other modules see them."""
    return [f"cdef {maker.struct[1]} {name}({_arguments(maker)})" for maker, name in names.items()]


def _arguments(maker: Maker) -> str:
    copied = [f"{maker.struct[1]} polaris_copied"] if maker.copied else []
    return ", ".join([*copied, *(f"object {name}" for name in maker.given)])


def c_makers(sources: Sources, layouts: Layouts, names: dict[Maker, str]) -> list[str]:
    """For each struct that is made, the C function that sets all its fields."""
    lines: list[str] = []
    for module, name in sorted({maker.struct for maker in names}):
        fields = list(sources.fields(layouts[module, name]) or {})
        arguments = ", ".join(["PyObject *type", *(f"PyObject *value_{field}" for field in fields)])
        lines += [
            f"    static PyObject *polaris_make_{name}({arguments}) {{",
            "        PyObject *self = polaris_new(type);",
            "        if (!self) return NULL;",
            *(
                f"        *(PyObject **)&((Polaris{name} *)self)->{field} = Py_NewRef(value_{field});"
                for field in fields
            ),
            "        return polaris_made(self);",
            "    }",
        ]
    return lines


def c_signatures(sources: Sources, layouts: Layouts, names: dict[Maker, str]) -> list[str]:
    """The C functions as the layouts module calls them."""
    lines: list[str] = []
    for module, name in sorted({maker.struct for maker in names}):
        fields = sources.fields(layouts[module, name]) or {}
        lines.append(
            f"    {name} polaris_make_{name}({', '.join(['object type', *(f'object value_{one}' for one in fields)])})"
        )
    return lines


def maker_functions(sources: Sources, layouts: Layouts, names: dict[Maker, str]) -> list[str]:
    """The functions themselves, and the defaults that they take, read from the classes once."""
    defaults: dict[str, str] = {}
    lines: list[str] = []
    for maker, name in names.items():
        struct = maker.struct[1]
        values: list[str] = []
        for field in sources.fields(layouts[maker.struct]) or {}:
            if field in maker.given:
                values.append(field)
            elif maker.copied:
                values.append(f"polaris_copied.{field}")
            else:
                values.append(f"default_{struct}_{field}")
                defaults[values[-1]] = f'_default({struct}, "{field}")'
        lines += [
            f"cdef {struct} {name}({_arguments(maker)}):",
            f"    return polaris_make_{struct}({', '.join([struct, *values])})",
        ]
    return [*(f"cdef object {name} = {value}" for name, value in defaults.items()), *lines]
