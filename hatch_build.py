"""Compiles the order book and the order path's Python while the project is installed or its wheel is built.

Without a C compiler, or with POLARIS_PURE_PYTHON=1 in the environment, the result is a pure Python package that works
the same and is slower; `polaris doctor` and the log say what is in use. The book lies beside its source, which is where
an editable install looks for it; the rest in `compiled/built`, where it is used while its source stays the same. What
the compiler would see as it saw it before is not compiled again.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from polaris_synapse.compiled.declarations import Declared

SOURCE = Path("src")
PROJECT = "polaris_synapse"
BOOK = f"{PROJECT}.matching.core.native.book"
#: Where the compiled modules lie, a folder for each package.
BUILT = SOURCE.joinpath(PROJECT, "compiled", "built")
#: What it was that the compiler saw, beside what it made of it.
BUILT_WITH = "built_with.txt"
#: The packages whose structs the compiled modules read, beside their own.
DOMAIN = (f"{PROJECT}.domain", f"{PROJECT}.domain.messages")
#: Signed numbers wrap round, as the book's source takes them to.
BOOK_ARGUMENTS = [] if sys.platform == "win32" else ["-O3", "-fwrapv", "-g0"]
#: More gives nothing here: the time goes to calls of the interpreter, and to compiling.
CORE_ARGUMENTS = [] if sys.platform == "win32" else ["-O1", "-g0", "-Wno-array-bounds"]
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
CORE_DIRECTIVES = {"language_level": 3, "annotation_typing": False, "nonecheck": True}


class CustomBuildHook(BuildHookInterface):
    """Hatch calls ``initialize`` before it packs a wheel, editable ones included."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this Python and machine where that worked."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        made = build(root)
        if isinstance(made, str):
            self.app.display_warning(f"Nothing is compiled, plain Python is used: {made}.")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":
            for target in made:
                build_data["force_include"][str(target)] = target.relative_to(root / SOURCE).as_posix()


def build(root: Path) -> list[Path] | str:
    """Compile the book and the packages; all files that belong to a wheel, or why there are none."""
    book_folder, built = root.joinpath(SOURCE, *BOOK.split(".")[:-1]), root / BUILT
    remove_modules(book_folder)
    packages = declarations(root)
    stale = {
        package: declared for package, declared in packages.items() if seen(declared) != seen_before(built / package)
    }
    with tempfile.TemporaryDirectory(prefix="polaris-build-") as work:
        made = compile_all(root, stale.values(), Path(work))
        if isinstance(made, str):
            shutil.rmtree(built, ignore_errors=True)
            return made
        targets = install([made[BOOK]], book_folder)
        for package, declared in stale.items():
            remove_modules(built / package)
            install([made[module] for module in declared.modules], built / package)
            (built / package / BUILT_WITH).write_text(seen(declared), encoding="utf-8")
    for package, declared in packages.items():
        # Last, since it is what says that the rest is there.
        note_sources(root, built / package, declared)
        targets += sorted((built / package).iterdir())
    return targets


def declarations(root: Path) -> dict[str, Declared]:
    """What the compiler is to see of each package."""
    sys.path.insert(0, str(root / SOURCE))
    try:
        from polaris_synapse.compiled.declarations import declared
        from polaris_synapse.compiled.sources import COMPILED
    finally:
        sys.path.pop(0)
    return {
        package: declared(
            package, {name: path.read_text(encoding="utf-8") for name, path in sources(root, (*DOMAIN, package))}
        )
        for package in COMPILED
    }


def sources(root: Path, packages: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The modules that lie in packages, by name."""
    for package in packages:
        for path in sorted(root.joinpath(SOURCE, *package.split(".")).glob("*.py")):
            yield package if path.stem == "__init__" else f"{package}.{path.stem}", path


def seen(declared: Declared) -> str:
    """A digest of all that decides what the compiler makes of a package, this file's settings included."""
    digest = blake2b(Path(__file__).read_bytes(), digest_size=16)
    digest.update(f"{sys.version}{sysconfig.get_config_var('EXT_SUFFIX')}{os.environ.get('CC', '')}".encode())
    for path, text in sorted(declared.files.items()):
        digest.update(f"{path}\n{len(text)}\n{text}".encode())
    return digest.hexdigest()


def seen_before(folder: Path) -> str:
    """That digest of what lies in a folder; empty where nothing does."""
    noted = folder / BUILT_WITH
    return noted.read_text(encoding="utf-8") if noted.is_file() else ""


def note_sources(root: Path, folder: Path, declared: Declared) -> None:
    """Leave beside a package's compiled modules what they were made from, for the running desk to compare."""
    from polaris_synapse.compiled.sources import BUILT_FROM, digest_of

    packages = {module.rpartition(".")[0] for module in declared.sources} | set(declared.sources)
    paths = {name: path for name, path in sources(root, sorted(packages)) if name in declared.sources}
    names = [
        f"{name if path.stem == '__init__' else name.rpartition('.')[0]} {path.name}" for name, path in paths.items()
    ]
    lines = [digest_of(path.read_bytes() for path in paths.values()), *names]
    (folder / BUILT_FROM).write_text("\n".join(lines) + "\n", encoding="utf-8")


def compile_all(root: Path, packages: Sequence[Declared], work: Path) -> dict[str, Path] | str:
    """Build the book and packages side by side; the files made by module, or why there are none."""
    if os.environ.get("POLARIS_PURE_PYTHON", "") not in ("", "0"):
        return "POLARIS_PURE_PYTHON is set"
    try:
        from setuptools import Distribution, Extension

        book = Extension(
            BOOK,
            [SOURCE.joinpath(*BOOK.split(".")).with_suffix(".pyx").as_posix()],
            extra_compile_args=BOOK_ARGUMENTS,
        )
        extensions = in_c([book], BOOK_DIRECTIVES, at=root, include=SOURCE.as_posix(), work=work)
        # A tree of its own: what is written for the compiler must not lie about among the sources.
        tree = work / "tree"
        modules = [
            Extension(module, [path], extra_compile_args=CORE_ARGUMENTS)
            for declared in packages
            for module, path in write(tree, declared)
        ]
        if modules:
            extensions += in_c(modules, CORE_DIRECTIVES, at=tree, include=".", work=work)
    except ImportError as error:
        return f"{error.name} is missing"
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(work / "lib"), str(work / "temp")
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    try:
        command.run()
    except Exception as error:  # a missing compiler and missing headers have many names, all of them harmless
        return f"there is no working C compiler ({error})"
    return {one.name: work / "lib" / command.get_ext_filename(one.name) for one in extensions}


def write(tree: Path, declared: Declared) -> Iterator[tuple[str, str]]:
    """Write a package's files into a tree of packages; its modules and the files that they are made from."""
    for name, text in declared.files.items():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in target.relative_to(tree).parents:
            if folder != Path():
                (tree / folder / "__init__.py").touch()
        target.write_text(text, encoding="utf-8")
    for module in declared.modules:
        path = module.replace(".", "/")
        yield module, next(name for name in (f"{path}.py", f"{path}.pyx") if name in declared.files)


def in_c(extensions: list[Any], directives: dict[str, Any], *, at: Path, include: str, work: Path) -> list[Any]:
    """Extensions whose sources are written in C, made from sources whose paths begin ``at`` a folder."""
    from Cython.Build import cythonize

    before = Path.cwd()
    # Cython finds the .pxd files by the package's folders, which it looks for from the working directory on.
    os.chdir(at)
    try:
        written: list[Any] = cythonize(
            extensions,
            include_path=[include],
            build_dir=str(work / "c"),
            compiler_directives=directives,
            # In processes of their own, which only Linux starts without a script that expects it.
            nthreads=(os.cpu_count() or 1) if sys.platform == "linux" and len(extensions) > 1 else 0,
            quiet=True,
            force=True,
        )
    finally:
        os.chdir(before)
    return written


def remove_modules(folder: Path) -> None:
    """Take away what an earlier build left, which must not outlive its source."""
    for pattern in ("*.so", "*.pyd"):
        for path in folder.glob(pattern):
            path.unlink()


def install(made: Sequence[Path], folder: Path) -> list[Path]:
    """Put compiled modules into a folder of the package."""
    folder.mkdir(parents=True, exist_ok=True)
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
