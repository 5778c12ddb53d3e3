"""Compiles the fast order book while the project is installed or its wheel is built, where there is a C compiler.

Without one, or with POLARIS_PURE_PYTHON=1 in the environment, the result is a pure Python package that works the same
and matches more slowly; `polaris doctor` and the log say which book is in use. The compiled module lies beside its
source, which is where an editable install looks for it.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "polaris_synapse.matching.core.native"
MODULE = f"{PACKAGE}.book"
FOLDER = Path("src", *PACKAGE.split("."))
#: Signed numbers wrap round, as the source takes them to; C's own division, since no dividend is negative.
COMPILER_ARGUMENTS = [] if sys.platform == "win32" else ["-O3", "-fwrapv", "-g0"]
DIRECTIVES = {"language_level": 3, "cdivision": True, "boundscheck": False, "wraparound": False}


class CustomBuildHook(BuildHookInterface):
    """Hatch calls ``initialize`` before it packs a wheel, editable ones included."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this Python and machine where that worked."""
        if self.target_name != "wheel":
            return
        target = Path(self.root, FOLDER, f"book{sysconfig.get_config_var('EXT_SUFFIX')}")
        # What an earlier build left must not outlive its source.
        target.unlink(missing_ok=True)
        why_not = compile_book(Path(self.root), target)
        if why_not:
            self.app.display_warning(f"The order book is not compiled, the plain Python one is used: {why_not}.")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":
            build_data["force_include"][str(target)] = target.relative_to(Path(self.root, "src")).as_posix()


def compile_book(root: Path, target: Path) -> str:
    """Build the module at ``target``; why that was not possible, empty where it was."""
    if os.environ.get("POLARIS_PURE_PYTHON", "") not in ("", "0"):
        return "POLARIS_PURE_PYTHON is set"
    try:
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension
    except ImportError as error:
        return f"{error.name} is missing"
    with tempfile.TemporaryDirectory(prefix="polaris-build-") as work:
        before = Path.cwd()
        # Cython finds the .pxd files by the package's folders, which it looks for from the working directory on.
        os.chdir(root)
        try:
            source = (FOLDER / "book.pyx").as_posix()
            extensions = cythonize(
                [Extension(MODULE, [source], extra_compile_args=COMPILER_ARGUMENTS)],
                include_path=["src"],
                build_dir=work,
                compiler_directives=DIRECTIVES,
                quiet=True,
                force=True,
            )
            command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
            command.build_lib, command.build_temp = work, work
            command.ensure_finalized()
            try:
                command.run()
            except Exception as error:  # a missing compiler and missing headers have many names, all of them harmless
                return f"there is no working C compiler ({error})"
        finally:
            os.chdir(before)
        built = Path(work, command.get_ext_filename(MODULE))
        # A running desk may have the old module open, so the new one takes its name instead of its place.
        fresh = target.with_suffix(".new")
        shutil.copyfile(built, fresh)
        fresh.chmod(0o755)
        fresh.replace(target)
    return ""
