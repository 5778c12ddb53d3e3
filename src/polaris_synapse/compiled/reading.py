"""The sources as the compiler's declarations need them: classes, their fields as they lie in memory, names, types.

Only the build calls this, and with the standard library's means alone. Nothing is declared by hand: a field or a
function that is added or goes is found here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

#: Types that compiled code knows. Not ``int``, which may be larger than any that C has, nor ``str``, which may be an
#: enum's member.
_BUILT_IN: Final = frozenset({"dict", "list", "set", "tuple"})


class Class(NamedTuple):
    """A class and the module that defines it."""

    module: str
    node: ast.ClassDef

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name


class Field(NamedTuple):
    """A field: the module whose names its annotation is made of, the annotation and the default where it has them."""

    module: str
    annotation: ast.expr | None
    default: ast.expr | None = None


#: Classes in memory by the module and name that they are imported under.
Layouts = dict[tuple[str, str], Class]


class Sources:
    """Modules by name, and where a name in one of them comes from. ``compiled``: the modules that become C.

    ``used`` are the modules that classes were taken from: what is compiled depends on them.
    """

    def __init__(self, texts: Mapping[str, str], compiled: frozenset[str]) -> None:
        self.texts = texts
        self.compiled = compiled
        self.trees = {module: ast.parse(text) for module, text in texts.items()}
        self.imports = {module: dict(_imports(tree)) for module, tree in self.trees.items()}
        self.used: set[str] = set(compiled)
        self._classes = {
            (module, node.name): Class(module, node)
            for module, tree in self.trees.items()
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        }

    def find(self, module: str, name: str) -> Class | None:
        """The class that a name means in a module, wherever it is defined."""
        while (module, name) not in self._classes:
            origin = self.imports.get(module, {}).get(name)
            if origin is None:
                return None
            module, name = origin
        self.used.add(module)
        return self._classes[module, name]

    def fields(self, found: Class) -> dict[str, Field] | None:
        """The fields of a struct, or of a class with ``__slots__``, as they lie in memory. None for any other class.

        Python lays the fields of a class out in one way: those of its base, then its own by name.
        """
        slots = slots_of(found.node)
        if slots is not None:
            annotations = dict(_attributes(found.node))
            return {name: Field(found.module, annotations.get(name)) for name in sorted(slots)}
        lines = self._struct_line(found)
        if lines is None:
            return None
        fields: dict[str, Field] = {}
        for one in lines:
            own = dict(_annotated(one))
            fields |= {name: own[name] for name in sorted(own.keys() - fields.keys())}
            # A field that is declared once more keeps its place and changes its default.
            fields |= {name: own[name] for name in own.keys() & fields.keys()}
        return fields

    def positional(self, found: Class) -> tuple[str, ...]:
        """The fields that a struct takes by place, in their order; empty where it takes none."""
        lines = self._struct_line(found) or []
        if any(keyword.arg == "kw_only" for one in lines for keyword in one.node.keywords):
            return ()
        return tuple({name: None for one in lines for name, _ in _annotated(one)})

    def is_plain_struct(self, found: Class) -> bool:
        """Whether making one is setting its fields and nothing else."""
        lines = self._struct_line(found)
        return lines is not None and not any(
            isinstance(item, ast.FunctionDef) and item.name == "__post_init__"
            for one in lines
            for item in one.node.body
        )

    def _struct_line(self, found: Class) -> list[Class] | None:
        """A struct and the structs that it is made from, the first one first."""
        for base in found.node.bases:
            name = ast.unparse(base).partition("[")[0]
            if self.imports[found.module].get(name) == ("msgspec", "Struct"):
                return [found]
            parent = self.find(found.module, name)
            line = self._struct_line(parent) if parent is not None else None
            if line is not None:
                return [*line, found]
        return None

    def held(self, field: Field) -> Class | None:
        """The class of ours that a field or argument holds, beside None; None where there is no single one."""
        return self.find(field.module, _one_type(field.annotation))

    def is_compiled(self, found: Class) -> bool:
        """Whether a class becomes one of C: those with slots in compiled modules do."""
        return found.module in self.compiled and slots_of(found.node) is not None

    def function(self, module: str, name: str) -> tuple[str, ast.FunctionDef] | None:
        """The function that a name means in a module, with the module that defines it."""
        origin, known = self.imports.get(module, {}).get(name, (module, name))
        for node in self.trees[origin].body if origin in self.compiled else ():
            if isinstance(node, ast.FunctionDef) and node.name == known:
                return origin, node
        return None

    def functions(self, module: str) -> Iterator[tuple[Class | None, ast.FunctionDef]]:
        """A module's functions, and its classes' methods with their class. Those inside others are left out."""
        for node in self.trees[module].body:
            if isinstance(node, ast.FunctionDef):
                yield None, node
            elif isinstance(node, ast.ClassDef):
                yield from ((Class(module, node), item) for item in node.body if isinstance(item, ast.FunctionDef))

    def c_type(self, field: Field, layouts: Layouts) -> str:
        """A field's or argument's type as C has it: a known struct, a built-in type, or any object."""
        held = self.held(field)
        if held is not None:
            return held.name if held in layouts.values() or self.is_compiled(held) else "object"
        name = _one_type(field.annotation)
        return name if name in _BUILT_IN else "object"


def without_none(annotation: ast.expr | None) -> ast.expr | None:
    """What an annotation allows beside None; None where that is more than one type."""
    if not isinstance(annotation, ast.BinOp):
        return annotation
    sides = [side for side in (annotation.left, annotation.right) if ast.unparse(side) != "None"]
    return without_none(sides[0]) if len(sides) == 1 else None


def slots_of(node: ast.ClassDef) -> tuple[str, ...] | None:
    """What ``__slots__`` of a class names; None for a class without."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
            return tuple(ast.literal_eval(statement.value))
    return None


def _imports(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, (node.module, alias.name)


def _annotated(found: Class) -> Iterator[tuple[str, Field]]:
    for node in found.node.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, Field(found.module, node.annotation, node.value)


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


def _one_type(annotation: ast.expr | None) -> str:
    """The name of the only type that an annotation allows beside None; empty where there are more."""
    annotation = without_none(annotation)
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return annotation.id if isinstance(annotation, ast.Name) else ""
