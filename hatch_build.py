"""Compiles the order book and the risk core while the project is installed or its wheel is built.

Without a C compiler, or with POLARIS_PURE_PYTHON=1 in the environment, the result is a pure Python package that works
the same and is slower; `polaris doctor` and the log say what is in use. The compiled modules lie beside their sources,
which is where an editable install looks for them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("src")
BOOK = "polaris_synapse.matching.core.native.book"
RISK = "polaris_synapse.risk.core"
RISK_FOLDER = SOURCE.joinpath(*RISK.split("."), "native")
#: What makes the compiled risk core what it is: its own modules, and the structs that it reads.
RISK_SOURCES = ("polaris_synapse.domain", "polaris_synapse.domain.messages", RISK)
#: Signed numbers wrap round, as the book's source takes them to.
BOOK_ARGUMENTS = [] if sys.platform == "win32" else ["-O3", "-fwrapv", "-g0"]
#: More gives nothing here: the time goes to calls of the interpreter, and to compiling.
RISK_ARGUMENTS = [] if sys.platform == "win32" else ["-O1", "-g0", "-Wno-array-bounds"]
#: C's own division, since no dividend of the book is negative; methods as C's own, which are called sooner than those
#: that stand in for Python's.
BOOK_DIRECTIVES = {
    "language_level": 3,
    "cdivision": True,
    "boundscheck": False,
    "wraparound": False,
    "binding": False,
}
#: Plain Python's meaning in everything; types come from the declarations, not from annotations.
RISK_DIRECTIVES = {"language_level": 3, "annotation_typing": False, "nonecheck": True}


class CustomBuildHook(BuildHookInterface):
    """Hatch calls ``initialize`` before it packs a wheel, editable ones included."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this Python and machine where that worked."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        for made in (compile_book(root), compile_risk_core(root)):
            if isinstance(made, str):
                self.app.display_warning(made)
                continue
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            if version != "editable":
                for target in made:
                    build_data["force_include"][str(target)] = target.relative_to(root / SOURCE).as_posix()


def compile_book(root: Path) -> list[Path] | str:
    """Build the order book; the file made, or why there is none."""
    folder = root.joinpath(SOURCE, *BOOK.split(".")[:-1])
    remove_built(folder)
    with tempfile.TemporaryDirectory(prefix="polaris-build-") as work:
        source = SOURCE.joinpath(*BOOK.split(".")).with_suffix(".pyx").as_posix()
        made = compile_modules(
            {BOOK: source}, BOOK_DIRECTIVES, BOOK_ARGUMENTS, at=root, include=SOURCE.as_posix(), work=Path(work)
        )
        if isinstance(made, str):
            return f"The order book is not compiled, the plain Python one is used: {made}."
        return install(made, folder)


def compile_risk_core(root: Path) -> list[Path] | str:
    """Build the modules of the risk core that an order passes through; the files made, or why there are none."""
    folder = root / RISK_FOLDER
    remove_built(folder)
    notes, declared = load(folder / "sources.py"), load(folder / "declarations.py")
    (folder / notes.BUILT_FROM).unlink(missing_ok=True)
    sources = dict(risk_sources(root))
    texts = {name: path.read_text(encoding="utf-8") for name, path in sources.items()}
    with tempfile.TemporaryDirectory(prefix="polaris-build-") as work:
        # A tree of its own: what is written for the compiler must not lie about among the sources.
        tree = Path(work, "tree")
        for module in declared.COMPILED:
            write(tree, f"{RISK}.{module}", ".py", texts[f"{RISK}.{module}"])
        for path, text in declared.declarations(texts).items():
            write(tree, path.rpartition(".")[0].replace("/", "."), Path(path).suffix, text)
        modules = {f"{RISK}.{name}": f"{RISK.replace('.', '/')}/{name}.py" for name in declared.COMPILED}
        modules[declared.PLACES] = f"{declared.PLACES.replace('.', '/')}.pyx"
        made = compile_modules(modules, RISK_DIRECTIVES, RISK_ARGUMENTS, at=tree, include=".", work=Path(work))
        if isinstance(made, str):
            return f"The risk core is not compiled, the plain Python one is used: {made}."
        targets = install(made, folder)
    # Last, since it is what says that the rest is there.
    digest = notes.digest_of(path.read_bytes() for path in sources.values())
    names = [f"{package_of(name, path)} {path.name}" for name, path in sources.items()]
    built_from = folder / notes.BUILT_FROM
    built_from.write_text("\n".join([digest, *names]) + "\n", encoding="utf-8")
    return [*targets, built_from]


def risk_sources(root: Path) -> Iterator[tuple[str, Path]]:
    """The modules that the compiled risk core is made from, by name, in a fixed order."""
    for package in RISK_SOURCES:
        for path in sorted(root.joinpath(SOURCE, *package.split(".")).glob("*.py")):
            yield package if path.stem == "__init__" else f"{package}.{path.stem}", path


def package_of(module: str, path: Path) -> str:
    """The package that a module's file lies in."""
    return module if path.stem == "__init__" else module.rpartition(".")[0]


def write(tree: Path, module: str, suffix: str, text: str) -> None:
    """Write a module's file into a tree of packages."""
    target = tree.joinpath(*module.split(".")).with_suffix(suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder in target.relative_to(tree).parents:
        if folder != Path():
            (tree / folder / "__init__.py").touch()
    target.write_text(text, encoding="utf-8")


def load(path: Path) -> ModuleType:
    """A module of the standard library's means only, without the package around it."""
    spec = importlib.util.spec_from_file_location(f"polaris_build_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compile_modules(
    modules: dict[str, str],
    directives: dict[str, Any],
    arguments: list[str],
    *,
    at: Path,
    include: str,
    work: Path,
) -> list[Path] | str:
    """Build modules from their sources, whose paths begin ``at`` a folder; the files made, or why there are none."""
    if os.environ.get("POLARIS_PURE_PYTHON", "") not in ("", "0"):
        return "POLARIS_PURE_PYTHON is set"
    try:
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension
    except ImportError as error:
        return f"{error.name} is missing"
    before = Path.cwd()
    # Cython finds the .pxd files by the package's folders, which it looks for from the working directory on.
    os.chdir(at)
    try:
        extensions = cythonize(
            [Extension(name, [source], extra_compile_args=arguments) for name, source in modules.items()],
            include_path=[include],
            build_dir=str(work / "c"),
            compiler_directives=directives,
            quiet=True,
            force=True,
        )
        command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(work / "lib"), str(work / "temp")
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        try:
            command.run()
        except Exception as error:  # a missing compiler and missing headers have many names, all of them harmless
            return f"there is no working C compiler ({error})"
        return [work / "lib" / command.get_ext_filename(name) for name in modules]
    finally:
        os.chdir(before)


def remove_built(folder: Path) -> None:
    """Take away what an earlier build left, which must not outlive its source."""
    for pattern in ("*.so", "*.pyd"):
        for path in folder.glob(pattern):
            path.unlink()


def install(made: Sequence[Path], folder: Path) -> list[Path]:
    """Put compiled modules into a folder of the package."""
    targets: list[Path] = []
    for built in made:
        target = folder / built.name
        # A running desk may have the old module open, so the new one takes its name instead of its place.
        fresh = target.with_suffix(".new")
        shutil.copyfile(built, fresh)
        fresh.chmod(0o755)
        fresh.replace(target)
        targets.append(target)
    return targets
