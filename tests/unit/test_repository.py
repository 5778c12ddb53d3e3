"""The repository's own lint: rules of this project that no general tool knows."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src" / "polaris_synapse"

MODULE_LINES_MAX: Final = 600
FUNCTION_LINES_MAX: Final = 90

#: ``{"path" or "path::function": (lines allowed, why it stays in one piece)}``. An entry that is no longer needed
#: fails the test that uses it.
SIZE_EXCEPTIONS: Final[dict[str, tuple[int, str]]] = {
    "src/polaris_synapse/storage/migrations/orders/first_tables.py::upgrade": (
        200,
        "a migration is a list of tables, never changed once it has run somewhere",
    ),
}

#: Folders whose text is ours. Everything else in a checkout is made by tools or brought by people.
OUR_FOLDERS: Final = (
    ".ci", "benchmarks", "configs", "deployments", "docs", "examples", "scripts", "src", "tests", "web",
)  # fmt: skip
OUR_SUFFIXES: Final = frozenset(
    {".css", ".html", ".md", ".pxd", ".py", ".pyx", ".sh", ".sql", ".toml", ".ts", ".tsx", ".yaml", ".yml"}
)
NOT_OURS: Final = frozenset({"__pycache__", "node_modules", "dist", "build"})

#: Rooms that decide about money: no floating point in their cores.
MONEY_ROOMS: Final = ("risk", "matching")

#: What a pure part may not call: clocks, chance, the terminal, files. ``module.*`` stands for every function of it.
BANNED_CALLS: Final = frozenset(
    {
        "time.*", "random.*", "secrets.*", "os.*", "uuid.uuid1", "uuid.uuid4",
        "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
        "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
        "print", "input", "open", "breakpoint", "exec", "eval",
    }
)  # fmt: skip


def our_files(*suffixes: str) -> Iterator[Path]:
    """Every file of ours with one of the suffixes, in a stable order."""
    tops = [ROOT / name for name in OUR_FOLDERS if (ROOT / name).is_dir()]
    for top in tops:
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(set(folders) - NOT_OURS)
            for name in sorted(names):
                if Path(name).suffix in suffixes:
                    yield Path(folder, name)
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in suffixes)


def modules_under(*tops: Path) -> list[Path]:
    """The modules in packages, or the modules themselves, whichever of them exist already."""
    found: list[Path] = []
    for top in tops:
        found.extend(sorted(top.rglob("*.py")) if top.is_dir() else [])
        single = top.with_suffix(".py")
        found.extend([single] if single.is_file() else [])
    return found


def compiled_sources() -> list[Path]:
    """The Cython sources of the package."""
    return sorted([*SOURCE.rglob("*.pyx"), *SOURCE.rglob("*.pxd")])


def domain_modules() -> list[Path]:
    """The vocabulary of the desk."""
    return modules_under(SOURCE / "domain")


def pure_modules() -> list[Path]:
    """The domain, the bus's core, and every room's core."""
    cores = [room / "core" for room in sorted(SOURCE.iterdir()) if room.is_dir()]
    return domain_modules() + modules_under(*cores)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    """Where something is, as people write it: path from the checkout, and the line."""
    relative = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    return f"{relative}:{getattr(node, 'lineno', 1)}" if node is not None else relative


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for a chain of names, an empty text for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def floats_in(tree: ast.Module) -> Iterator[ast.AST]:
    """Float and complex literals, uses of the name ``float``, and true divisions, which make floats of integers.

    ``isinstance(value, float)`` is how a float is refused, so it is no use of it.
    """
    refusals: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "isinstance":
            refusals.update(inner for argument in node.args[1:] for inner in ast.walk(argument))
    for node in ast.walk(tree):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, float | complex)
        name = isinstance(node, ast.Name) and node.id == "float" and node not in refusals
        division = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
        if literal or name or division:
            yield node


def floats_in_cython(text: str) -> Iterator[int]:
    """Lines of Cython with a float type, a float literal or a true division, outside of strings and comments."""
    bare = re.sub(r'""".*?"""', lambda found: "\n" * found.group().count("\n"), text, flags=re.DOTALL)
    for number, line in enumerate(bare.splitlines(), start=1):
        code = re.sub(r'"[^"]*"', "", line).partition("#")[0]
        # A lone slash before a bracket ends a function's positional parameters.
        if re.search(r"\b(float|double)\b|\b\d+\.\d|\b\d+e-?\d|[^/]/(?![/)])", code):
            yield number


def cython_functions_in(text: str) -> Iterator[tuple[str, int]]:
    """Every function of a Cython source, by its first line, and how many lines it has."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if not re.match(r" *(cdef|cpdef|def) .*\(", line) or " extern " in line:
            continue
        margin = len(line) - len(line.lstrip())
        length = next(
            (
                count
                for count, after in enumerate(lines[start + 1 :], start=1)
                if after.strip() and len(after) - len(after.lstrip()) <= margin and not after.lstrip().startswith(")")
            ),
            len(lines) - start,
        )
        yield line.strip(), length


def banned_calls_in(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Calls that a pure part may not make, also under another name that an import gave them."""
    full_names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full_names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom):
            full_names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, *rest = dotted(node.func).split(".")
            name = ".".join([full_names.get(first, first), *rest])
            if name in BANNED_CALLS or f"{name.split('.')[0]}.*" in BANNED_CALLS:
                yield node, name


def swallowed_exceptions_in(tree: ast.Module) -> Iterator[ast.AST]:
    """Handlers of everything (bare, Exception or BaseException) that do nothing about it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            everything = node.type is None or dotted(node.type) in {"Exception", "BaseException"}
            silent = all(
                isinstance(statement, ast.Pass)
                or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
                for statement in node.body
            )
            if everything and silent:
                yield node


def functions_in(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_money_is_integers() -> None:
    """The domain and the cores of risk and matching hold no floating point, without exception."""
    modules = domain_modules() + modules_under(*(SOURCE / room / "core" for room in MONEY_ROOMS))
    found = [place(path, node) for path in modules for node in floats_in(parse(path))]
    assert found == []


def test_compiled_sources_keep_the_rules() -> None:
    """Cython sources begin with a docstring, hold no floating point and keep a readable size."""
    found = []
    for path in compiled_sources():
        text = path.read_text(encoding="utf-8")
        if not text.startswith('"""'):
            found.append(f"{place(path)} has no docstring")
        found += [f"{place(path)}:{number} holds a float" for number in floats_in_cython(text)]
        if len(text.splitlines()) > MODULE_LINES_MAX:
            found.append(f"{place(path)} is too long")
        found += [
            f"{place(path)}: {head} is too long"
            for head, lines in cython_functions_in(text)
            if lines > FUNCTION_LINES_MAX
        ]
    assert found == []


def test_pure_parts_call_nothing_of_the_world() -> None:
    """The domain and every core call no clock, no chance, no file and no terminal."""
    found = [
        f"{place(path, node)} calls {name}" for path in pure_modules() for node, name in banned_calls_in(parse(path))
    ]
    assert found == []


def test_no_exception_is_swallowed() -> None:
    """Nothing catches everything and goes on as if nothing had happened."""
    found = [place(path, node) for path in our_files(".py") for node in swallowed_exceptions_in(parse(path))]
    assert found == []


def test_modules_and_functions_keep_a_readable_size() -> None:
    """A module holds one idea and a function fits a screen, save for the exceptions listed with their reasons."""
    limits = dict.fromkeys(SIZE_EXCEPTIONS, 0)
    too_long = []
    for path in modules_under(SOURCE):
        text = path.read_text(encoding="utf-8")
        sizes = {place(path): (len(text.splitlines()), MODULE_LINES_MAX)}
        for function in functions_in(ast.parse(text)):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            key = f"{place(path)}::{function.name}"
            sizes[key] = max(sizes.get(key, (0, 0)), (lines, FUNCTION_LINES_MAX))
        for key, (lines, lines_max) in sizes.items():
            if lines > lines_max and key in limits:
                limits[key] = lines
            elif lines > lines_max:
                too_long.append(f"{key} has {lines} lines, {lines_max} are allowed")
    for key, lines in limits.items():
        allowed, why = SIZE_EXCEPTIONS[key]
        assert why, f"{key} is excepted without a reason"
        assert lines, f"{key} no longer needs its exception"
        if lines > allowed:
            too_long.append(f"{key} has {lines} lines, its exception allows {allowed}")
    assert too_long == []


def test_nothing_is_left_to_do_in_the_text() -> None:
    """Work that is left lives in the issue tracker, not in comments that nobody counts."""
    words = ("TO" + "DO", "FIX" + "ME", "X" * 3 + ":")
    found = [
        f"{place(path)}:{number}"
        for path in our_files(*OUR_SUFFIXES)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if any(word in line for word in words)
    ]
    assert found == []


def test_every_public_module_says_what_it_is_for() -> None:
    """Every module of the package whose name is public begins with a docstring."""
    found = [
        place(path)
        for path in modules_under(SOURCE)
        if (path.name == "__init__.py" or not path.name.startswith("_")) and not ast.get_docstring(parse(path))
    ]
    assert found == []


def test_every_test_says_what_it_holds() -> None:
    """Every test function's docstring says in one line which behaviour it holds."""
    found = []
    for path in modules_under(ROOT / "tests"):
        for function in functions_in(parse(path)):
            if function.name.startswith("test_"):
                first, *rest = (ast.get_docstring(function) or "").split("\n")
                if not first or (rest and rest[0]):
                    found.append(place(path, function))
    assert found == []


def test_shell_scripts_stop_at_the_first_error() -> None:
    """Every shell script sets its safety options, and can be run unless it is a library for the others."""
    found = []
    for path in [*our_files(".sh"), ROOT / ".ci" / "run"]:
        if "set -euo pipefail" not in path.read_text(encoding="utf-8").splitlines():
            found.append(f"{place(path)} does not set -euo pipefail")
        if not os.access(path, os.X_OK) and path.parent != ROOT / "scripts" / "lib":
            found.append(f"{place(path)} is not executable")
    assert found == []


@pytest.mark.parametrize(
    "code, expected",
    [
        ("x = 1.5", 1),
        ("def f(x: float) -> int: ...", 1),
        ("y = float('1')", 1),
        ("y = a / b", 1),
        ("y /= 2", 1),
        ("y = a // b", 0),
        ("if isinstance(x, (int, float)): raise TypeError", 0),
    ],
)
def test_the_search_for_floats_finds_them(code: str, expected: int) -> None:
    """The lint sees literals, annotations, conversions and true divisions, and lets a refusal of floats pass."""
    assert len(list(floats_in(ast.parse(code)))) == expected


@pytest.mark.parametrize(
    "code, expected",
    [
        ("cdef double x", [1]),
        ("x = 1\ny = 1.5", [2]),
        ("y = a / b", [1]),
        ("y = a // b  # a / b", []),
        ("def f(self, x, /):", []),
        ('"""1.5\n"""\ncdef int64_t x = 3', []),
    ],
)
def test_the_search_for_floats_finds_them_in_cython(code: str, expected: list[int]) -> None:
    """The lint sees types, literals and true divisions of Cython, and leaves text and parameter marks alone."""
    assert list(floats_in_cython(code)) == expected


@pytest.mark.parametrize(
    "code, expected",
    [
        ("import time\ntime.time()", ["time.time"]),
        ("import time as t\nt.monotonic_ns()", ["time.monotonic_ns"]),
        ("from time import time\ntime()", ["time.time"]),
        ("from datetime import datetime as d\nd.now()", ["datetime.datetime.now"]),
        ("import random\nrandom.choice([1])", ["random.choice"]),
        ("print(1); open('x')", ["print", "open"]),
        ("self.time.read(); book.open()", []),
    ],
)
def test_the_search_for_banned_calls_finds_them(code: str, expected: list[str]) -> None:
    """The lint sees through `import as` and `from import`, and leaves methods of the same name alone."""
    assert [name for _, name in banned_calls_in(ast.parse(code))] == expected


@pytest.mark.parametrize(
    "handler, expected",
    [("except:\n pass", 1), ("except Exception:\n ...", 1), ("except KeyError:\n pass", 0), ("except:\n raise", 0)],
)
def test_the_search_for_swallowed_exceptions_finds_them(handler: str, expected: int) -> None:
    """The lint sees handlers of everything that do nothing, and leaves those of one named error alone."""
    assert len(list(swallowed_exceptions_in(ast.parse(f"try:\n f()\n{handler}")))) == expected


#: What takes the first key of a plain dictionary out of it. CPython looks at the place of every entry that has left
#: before it finds the first one there, which takes microseconds where some thousands have.
TAKES_OLDEST: Final = re.compile(r"(?:\bdel [\w.]+\[|\.pop\()next\(iter\(")


def test_what_forgets_its_oldest_entry_finds_it_at_once() -> None:
    """Only an OrderedDict has its oldest entry at hand, with ``popitem(last=False)``."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if TAKES_OLDEST.search(line)
    ]
    assert not found, f"a plain dictionary is asked for its oldest entry at {', '.join(found)}"
