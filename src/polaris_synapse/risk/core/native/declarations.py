"""What the C compiler has to know of the risk core, written from its source. Only `hatch_build.py` calls this.

Compiled code reads a field of a struct in 1 ns where it knows the place of the field, and in 20 ns where it has to ask
the class. Python lays the fields of a class out in one way: those of its base, then its own by name (what
``__slots__`` gives). So each struct that the core imports is declared as the C struct that it is, and
``places.misplaced`` compares every place with the real class before any compiled module is used.

A compiled module's functions are declared too, so that one calls the other in C. Nothing is declared by hand: a field
or a function that is added or goes is found here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

CORE: Final = "polaris_synapse.risk.core"
LAYOUTS: Final = f"{CORE}.native.layouts"
#: The compiled module that compares the layouts with the real classes.
PLACES: Final = f"{CORE}.native.places"
#: The modules that an order passes through. The others are as quick as they need to be, and ``state`` is all structs.
COMPILED: Final = (
    "answers",
    "breakers",
    "check_limits",
    "checks",
    "context",
    "fees",
    "kill_switch",
    "ledger",
    "leverage",
    "list_legs",
    "losses",
    "machine",
    "orders",
    "positions",
    "reports",
    "reservations",
    "valuation",
)
_MODULES: Final = frozenset(f"{CORE}.{name}" for name in COMPILED)
#: Types that compiled code knows. Not ``int``, which may be larger than any that C has, nor ``str``, which may be an
#: enum's member.
_BUILT_IN: Final = frozenset({"dict", "list", "set", "tuple"})
#: What a function may not contain to be declared: C has no closures.
_CLOSURES: Final = (ast.GeneratorExp, ast.Lambda, ast.FunctionDef, ast.Yield, ast.YieldFrom)


_PLACES_SOURCE: Final = '''
import importlib

cdef extern from *:
    """
    #include <stddef.h>
    #include <structmember.h>
STRUCTS
    typedef struct { const char *module, *name, *key; Py_ssize_t place; } PolarisPlace;
    static const PolarisPlace polaris_places[] = {
TABLE
    };
    #define POLARIS_PLACES ((Py_ssize_t)(sizeof(polaris_places) / sizeof(polaris_places[0])))
    static Py_ssize_t polaris_place(PyObject *field) {
        if (!Py_IS_TYPE(field, &PyMemberDescr_Type)) return -1;
        return ((PyMemberDescrObject *)field)->d_member->offset;
    }
    """
    ctypedef struct PolarisPlace:
        const char *module
        const char *name
        const char *key
        Py_ssize_t place
    const PolarisPlace *polaris_places
    Py_ssize_t POLARIS_PLACES
    Py_ssize_t polaris_place(object field)

def misplaced():
    cdef Py_ssize_t number
    found = []
    for number in range(POLARIS_PLACES):
        module, name = polaris_places[number].module.decode(), polaris_places[number].name.decode()
        key = polaris_places[number].key.decode()
        owner = getattr(importlib.import_module(module), name, None)
        if polaris_place(getattr(owner, key, None)) != polaris_places[number].place:
            found.append(f"{module}.{name}.{key}")
    return found
'''


class _Class(NamedTuple):
    module: str
    node: ast.ClassDef


class _Field(NamedTuple):
    """A field: the module whose names its annotation is made of, and the annotation where it has one."""

    module: str
    annotation: ast.expr | None


def declarations(texts: Mapping[str, str]) -> dict[str, str]:
    """The files that the compiler needs beside the sources, by their path: ``texts`` are the sources by module."""
    sources = _Sources(texts)
    layouts = _with_field_types(sources, _imported_structs(sources))
    functions = {module: dict(_functions(sources, module, layouts)) for module in sorted(_MODULES)}
    files = {
        f"{module.replace('.', '/')}.pxd": _module_declarations(sources, module, layouts, functions)
        for module in functions
    }
    structs = _c_structs(sources, layouts)
    return files | {
        f"{LAYOUTS.replace('.', '/')}.pxd": _layout_declarations(sources, layouts, structs),
        f"{PLACES.replace('.', '/')}.pyx": _layout_check(sources, layouts, structs),
    }


class _Sources:
    """The modules of the package by name, and where a name in one of them comes from."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.trees = {module: ast.parse(text) for module, text in texts.items()}
        self.imports = {module: dict(_imports(tree)) for module, tree in self.trees.items()}
        self._classes = {
            (module, node.name): _Class(module, node)
            for module, tree in self.trees.items()
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        }

    def find(self, module: str, name: str) -> _Class | None:
        """The class that a name means in a module, wherever it is defined."""
        while (module, name) not in self._classes:
            origin = self.imports.get(module, {}).get(name)
            if origin is None:
                return None
            module, name = origin
        return self._classes[module, name]

    def fields(self, found: _Class) -> dict[str, _Field] | None:
        """The fields of a struct, or of a class with ``__slots__``, as they lie in memory. None for any other class."""
        slots = _slots(found.node)
        if slots is not None:
            annotations = dict(_attributes(found.node))
            return {name: _Field(found.module, annotations.get(name)) for name in sorted(slots)}
        for base in found.node.bases:
            name = ast.unparse(base).partition("[")[0]
            inherited: dict[str, _Field] | None = None
            if self.imports[found.module].get(name) == ("msgspec", "Struct"):
                inherited = {}
            elif (parent := self.find(found.module, name)) is not None:
                inherited = self.fields(parent)
            if inherited is not None:
                own = dict(_annotated(found.node.body))
                return inherited | {name: _Field(found.module, own[name]) for name in sorted(own.keys() - inherited)}
        return None


def _imports(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, (node.module, alias.name)


def _annotated(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.annotation


def _slots(node: ast.ClassDef) -> tuple[str, ...] | None:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
            return tuple(ast.literal_eval(statement.value))
    return None


def _attributes(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """What ``__init__`` says of the types of attributes: by an annotation, or by setting an annotated argument."""
    made = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if made is None:
        return
    arguments = {one.arg: one.annotation for one in (*made.args.args, *made.args.kwonlyargs)}
    for item in ast.walk(made):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Attribute):
            yield item.target.attr, item.annotation
        elif isinstance(item, ast.Assign) and isinstance(item.value, ast.Name) and len(item.targets) == 1:
            target, annotation = item.targets[0], arguments.get(item.value.id)
            if isinstance(target, ast.Attribute) and annotation is not None:
                yield target.attr, annotation


#: Classes in memory by the module and name that they are imported under.
_Layouts = dict[tuple[str, str], _Class]


def _imported_structs(sources: _Sources) -> _Layouts:
    """The structs that compiled modules import from others."""
    found: _Layouts = {}
    for module in sorted(_MODULES):
        for origin, name in sources.imports[module].values():
            known = sources.find(origin, name)
            if known is not None and known.module not in _MODULES and sources.fields(known) is not None:
                found[origin, name] = known
    return found


def _with_field_types(sources: _Sources, imported: _Layouts) -> _Layouts:
    """These structs and those that their fields hold, each after what it needs."""
    places = {(known.module, known.node.name): place for place, known in imported.items()}
    ordered: _Layouts = {}

    def add(known: _Class) -> None:
        place = places.get((known.module, known.node.name), (known.module, known.node.name))
        if place in ordered:
            return
        for field in (sources.fields(known) or {}).values():
            held = _held(sources, field)
            if held is not None and held != known and sources.fields(held) is not None:
                add(held)
        ordered[place] = known

    for known in imported.values():
        add(known)
    return ordered


def _one_type(annotation: ast.expr | None) -> str:
    """The name of the only type that an annotation allows beside None; empty where there are more."""
    if isinstance(annotation, ast.BinOp):
        sides = [_one_type(side) for side in (annotation.left, annotation.right) if ast.unparse(side) != "None"]
        return sides[0] if len(sides) == 1 else ""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return annotation.id if isinstance(annotation, ast.Name) else ""


def _held(sources: _Sources, field: _Field) -> _Class | None:
    return sources.find(field.module, _one_type(field.annotation))


def _c_type(sources: _Sources, field: _Field, layouts: _Layouts) -> str:
    """A field's or argument's type as C has it: a known struct, a built-in type, or any object."""
    held = _held(sources, field)
    if held is not None:
        return held.node.name if held in layouts.values() or _is_compiled(held) else "object"
    name = _one_type(field.annotation)
    return name if name in _BUILT_IN else "object"


def _is_compiled(found: _Class) -> bool:
    """Whether a class becomes one of C: those with slots in compiled modules do."""
    return found.module in _MODULES and _slots(found.node) is not None


def _c_structs(sources: _Sources, layouts: _Layouts) -> list[str]:
    """The structs in C, each field an object of its kind."""
    named = {known.node.name for known in layouts.values()}
    lines = [f"    typedef struct Polaris{name} Polaris{name};" for name in sorted(named)]
    for known in layouts.values():
        fields = (sources.fields(known) or {}).items()
        kinds = {key: _c_type(sources, one, layouts) for key, one in fields}
        members = " ".join(
            f"{f'Polaris{kind}' if kind in named else 'PyObject'} *{key};" for key, kind in kinds.items()
        )
        lines.append(f"    struct Polaris{known.node.name} {{ PyObject_HEAD {members} }};")
    return lines


def _layout_declarations(sources: _Sources, layouts: _Layouts, structs: list[str]) -> str:
    """The classes with their structs, for all compiled modules."""
    quotes, classes = '    """', list[str]()
    for (module, name), known in layouts.items():
        classes.append(f"    ctypedef class {module}.{name} [object Polaris{name}, check_size ignore]:")
        for key, one in (sources.fields(known) or {}).items():
            classes.append(f"        cdef {_c_type(sources, one, layouts)} {key}")
    return "\n".join(["cdef extern from *:", quotes, *structs, quotes, *classes, ""])


def _layout_check(sources: _Sources, layouts: _Layouts, structs: list[str]) -> str:
    """A module that compares the places of all fields with the real classes."""
    table = [
        f'        {{"{module}", "{name}", "{key}", offsetof(Polaris{name}, {key})}},'
        for (module, name), known in layouts.items()
        for key in sources.fields(known) or {}
    ]
    return _PLACES_SOURCE.replace("STRUCTS", "\n".join(structs)).replace("TABLE", "\n".join(table))


def _functions(sources: _Sources, module: str, layouts: _Layouts) -> Iterator[tuple[str, str]]:
    """A module's functions that C can call, by name."""
    for node in sources.trees[module].body:
        if isinstance(node, ast.FunctionDef) and (declared := _function(sources, module, node, layouts)):
            yield node.name, declared


def _function(sources: _Sources, module: str, node: ast.FunctionDef, layouts: _Layouts) -> str:
    arguments = node.args
    if arguments.kwonlyargs or arguments.vararg or arguments.kwarg or node.decorator_list:
        return ""
    if any(isinstance(inner, _CLOSURES) for item in node.body for inner in ast.walk(item)):
        return ""
    first_default = len(arguments.args) - len(arguments.defaults)
    declared: list[str] = []
    for number, one in enumerate(arguments.args):
        kind = "" if one.arg == "self" else f"{_c_type(sources, _Field(module, one.annotation), layouts)} "
        declared.append(f"{kind}{one.arg}{'=*' if number >= first_default else ''}")
    returned = _c_type(sources, _Field(module, node.returns), layouts)
    return f"cpdef {returned} {node.name}({', '.join(declared)})"


def _module_declarations(
    sources: _Sources, module: str, layouts: _Layouts, functions: Mapping[str, Mapping[str, str]]
) -> str:
    """A module's own classes with slots and functions, and what it takes from other compiled modules."""
    own: list[str] = []
    for node in sources.trees[module].body:
        if isinstance(node, ast.ClassDef) and _slots(node) is not None:
            fields = sources.fields(_Class(module, node)) or {}
            own.append(f"cdef class {node.name}:")
            own += [f"    cdef public {_c_type(sources, one, layouts)} {key}" for key, one in fields.items()]
            methods = (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name != "__init__")
            own += [f"    {line}" for item in methods if (line := _function(sources, module, item, layouts))]
    own += functions[module].values()
    taken: list[str] = []
    for origin, name in sources.imports[module].values():
        found = sources.find(origin, name)
        if name in functions.get(origin, {}) or (found is not None and _is_compiled(found)):
            taken.append(f"from {origin} cimport {name}")
    words = set(" ".join(own).replace("(", " ").replace(":", " ").split())
    here = {name for origin, name in sources.imports[module].values() if (origin, name) in layouts}
    named = sorted({name for _, name in layouts if name in words} | here)
    structs = [f"from {LAYOUTS} cimport {', '.join(named)}"] if named else []
    return "\n".join([*structs, *taken, *own, ""])
