"""What the C compiler has to know of a package, written from its source. Only `hatch_build.py` calls this.

Compiled code reads a field of a struct in 1 ns where it knows the place of the field, and in 20 ns where it has to ask
the class. So each struct that a compiled module imports is declared as the C struct that it is, and the package's
``layouts.misplaced`` compares every place with the real class before any compiled module is used. A compiled module's
functions are declared too, so that one calls the other in C.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from polaris_synapse.compiled import making
from polaris_synapse.compiled.inference import local_types
from polaris_synapse.compiled.making import Maker
from polaris_synapse.compiled.reading import Class, Field, Layouts, Sources, slots_of
from polaris_synapse.compiled.sources import COMPILED, LAYOUTS

#: What a function may not contain to be declared: C has no closures.
_CLOSURES: Final = (ast.GeneratorExp, ast.Lambda, ast.FunctionDef, ast.Yield, ast.YieldFrom)

_LAYOUTS_SOURCE: Final = '''
import importlib

cdef extern from *:
    """
    #include <stddef.h>
    #include <string.h>
    #include <structmember.h>
C_CODE
    typedef struct { const char *module, *name, *key; Py_ssize_t place; } PolarisPlace;
    static const PolarisPlace polaris_places[] = {
TABLE
        {NULL, NULL, NULL, 0}
    };
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
    Py_ssize_t polaris_place(object field)
C_SIGNATURES

def misplaced():
    cdef Py_ssize_t number = 0
    found = []
    while polaris_places[number].module:
        module, name = polaris_places[number].module.decode(), polaris_places[number].name.decode()
        key = polaris_places[number].key.decode()
        owner = getattr(importlib.import_module(module), name, None)
        if polaris_place(getattr(owner, key, None)) != polaris_places[number].place:
            found.append(f"{module}.{name}.{key}")
        number += 1
    return found

def _default(owner, name):
    fields, defaults = owner.__struct_fields__, owner.__struct_defaults__
    return defaults[fields.index(name) - len(fields) + len(defaults)]

FUNCTIONS
'''


class Declared(NamedTuple):
    """A package ready for the compiler: the files by path, the modules to compile, and the sources of all of it."""

    files: dict[str, str]
    modules: tuple[str, ...]
    sources: tuple[str, ...]


def declared(package: str, texts: Mapping[str, str]) -> Declared:
    """What the compiler needs of a package; ``texts`` are the sources by module."""
    modules = tuple(f"{package}.{name}" for name in COMPILED[package])
    sources = Sources(texts, frozenset(modules))
    layouts = _with_field_types(sources, _imported_structs(sources))
    names = making.makers(sources, layouts)
    functions = {module: dict(_functions(sources, module, layouts)) for module in modules}
    home = f"{package}.{LAYOUTS}"
    structs = _c_structs(sources, layouts)
    files = {
        f"{_path(home)}.pxd": _layout_declarations(sources, layouts, structs, names),
        f"{_path(home)}.pyx": _layout_module(sources, layouts, names),
    }
    for module in modules:
        files[f"{_path(module)}.py"] = making.rewritten(sources, module, layouts, names)
        taken = [f"from {home} cimport {name}" for name in making.used_in(sources, module, layouts, names)]
        files[f"{_path(module)}.pxd"] = _module_declarations(sources, module, home, layouts, functions, taken)
    return Declared(files, (home, *modules), tuple(sorted(sources.used)))


def _path(module: str) -> str:
    return module.replace(".", "/")


def _imported_structs(sources: Sources) -> Layouts:
    """The structs that compiled modules import from others."""
    found: Layouts = {}
    for module in sorted(sources.compiled):
        for origin, name in sources.imports[module].values():
            known = sources.find(origin, name)
            if known is not None and known.module not in sources.compiled and sources.fields(known) is not None:
                found[origin, name] = known
    return found


def _with_field_types(sources: Sources, imported: Layouts) -> Layouts:
    """These structs and those that their fields hold, each after what it needs."""
    places = {(known.module, known.name): place for place, known in imported.items()}
    ordered: Layouts = {}

    def add(known: Class) -> None:
        place = places.get((known.module, known.name), (known.module, known.name))
        if place in ordered:
            return
        for field in (sources.fields(known) or {}).values():
            held = sources.held(field)
            if held is not None and held != known and sources.fields(held) is not None:
                add(held)
        ordered[place] = known

    for known in imported.values():
        add(known)
    return ordered


def _c_structs(sources: Sources, layouts: Layouts) -> list[str]:
    """The structs in C, each field an object of its kind."""
    named = {known.name for known in layouts.values()}
    lines = [f"    typedef struct Polaris{name} Polaris{name};" for name in sorted(named)]
    for known in layouts.values():
        fields = (sources.fields(known) or {}).items()
        kinds = {key: sources.c_type(one, layouts) for key, one in fields}
        members = " ".join(
            f"{f'Polaris{kind}' if kind in named else 'PyObject'} *{key};" for key, kind in kinds.items()
        )
        lines.append(f"    struct Polaris{known.name} {{ PyObject_HEAD {members} }};")
    return lines


def _layout_declarations(sources: Sources, layouts: Layouts, structs: list[str], names: dict[Maker, str]) -> str:
    """The classes with their structs, for all compiled modules of the package."""
    if not layouts:
        return ""
    quotes, classes = '    """', list[str]()
    for (module, name), known in layouts.items():
        classes.append(f"    ctypedef class {module}.{name} [object Polaris{name}, check_size ignore]:")
        for key, one in (sources.fields(known) or {}).items():
            classes.append(f"        cdef {sources.c_type(one, layouts)} {key}")
    made = making.signatures(layouts, names)
    return "\n".join(["cdef extern from *:", quotes, *structs, quotes, *classes, *made, ""])


def _layout_module(sources: Sources, layouts: Layouts, names: dict[Maker, str]) -> str:
    """A module that makes structs, and compares the places of all fields with the real classes."""
    table = [
        f'        {{"{module}", "{name}", "{key}", offsetof(Polaris{name}, {key})}},'
        for (module, name), known in layouts.items()
        for key in sources.fields(known) or {}
    ]
    code = [making.ALLOCATION, *making.c_makers(sources, layouts, names)] if names else []
    return (
        _LAYOUTS_SOURCE.replace("C_CODE", "\n".join(code))
        .replace("TABLE", "\n".join(table))
        .replace("C_SIGNATURES", "\n".join(making.c_signatures(sources, layouts, names)))
        .replace("FUNCTIONS", "\n".join(making.maker_functions(sources, layouts, names)))
    )


def _functions(sources: Sources, module: str, layouts: Layouts) -> Iterator[tuple[str, str]]:
    """A module's functions that C can call, by name."""
    for node in sources.trees[module].body:
        if isinstance(node, ast.FunctionDef) and (line := _function(sources, module, node, layouts, None)):
            yield node.name, line


def _function(
    sources: Sources, module: str, node: ast.FunctionDef, layouts: Layouts, owner: Class | None, indent: str = ""
) -> str:
    """A function's declaration with the variables that hold structs; empty for one that C cannot call."""
    arguments = node.args
    if arguments.kwonlyargs or arguments.vararg or arguments.kwarg or node.decorator_list or node.name[:2] == "__":
        return ""
    if any(isinstance(inner, _CLOSURES) for item in node.body for inner in ast.walk(item)):
        return ""
    names = [*arguments.posonlyargs, *arguments.args]
    first_default = len(names) - len(arguments.defaults)
    written: list[str] = []
    for number, one in enumerate(names):
        kind = "" if one.arg == "self" else f"{sources.c_type(Field(module, one.annotation), layouts)} "
        written.append(f"{kind}{one.arg}{'=*' if number >= first_default else ''}")
    returned = sources.c_type(Field(module, node.returns), layouts)
    held = local_types(sources, module, node, owner)
    known = {name: one for name, one in held.items() if one in layouts.values() or sources.is_compiled(one)}
    inside = sorted(known.keys() - {one.arg for one in names})
    local = ", ".join(f"{name}={known[name].name}" for name in inside)
    decorated = f"{indent}@cython.locals({local})\n" if local else ""
    return f"{decorated}{indent}cpdef {returned} {node.name}({', '.join(written)})"


def _module_declarations(
    sources: Sources,
    module: str,
    home: str,
    layouts: Layouts,
    functions: Mapping[str, Mapping[str, str]],
    made: list[str],
) -> str:
    """A module's own classes with slots and functions, and what it takes from other compiled modules."""
    own: list[str] = []
    for node in sources.trees[module].body:
        if isinstance(node, ast.ClassDef) and slots_of(node) is not None:
            fields = sources.fields(Class(module, node)) or {}
            own.append(f"cdef class {node.name}:")
            own += [f"    cdef public {sources.c_type(one, layouts)} {key}" for key, one in fields.items()]
            methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
            owner = Class(module, node)
            own += [line for item in methods if (line := _function(sources, module, item, layouts, owner, "    "))]
    own += functions[module].values()
    words = set(re.findall(r"\w+", " ".join(own)))
    taken: list[str] = []
    for origin, name in sources.imports[module].values():
        found = sources.find(origin, name)
        if name in functions.get(origin, {}):
            taken.append(f"from {origin} cimport {name}")
        elif found is not None and sources.is_compiled(found):
            words.add(found.name)
    # Variables can hold what a module never names.
    for other in sorted(sources.compiled - {module}):
        classes = (node for node in sources.trees[other].body if isinstance(node, ast.ClassDef))
        names = [node.name for node in classes if slots_of(node) is not None and node.name in words]
        taken += [f"from {other} cimport {name}" for name in names]
    here = {name for origin, name in sources.imports[module].values() if (origin, name) in layouts}
    named = sorted({name for _, name in layouts if name in words} | here)
    structs = [f"from {home} cimport {', '.join(named)}"] if named else []
    return "\n".join(["cimport cython", *structs, *taken, *made, *own, ""])
