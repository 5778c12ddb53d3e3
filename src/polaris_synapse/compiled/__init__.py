"""Whether the compiled form of a package is used: only where it was built from exactly the source beside it.

`hatch_build.py` compiles the modules that every order passes through, from their Python source (``sources.COMPILED``
names them). Whoever changes a source gets plain Python until the project is installed again, never old behaviour. Each
package stands for itself: one that is out of date is plain, the others stay compiled.

A package asks in its ``__init__``, before it imports any module of its own::

    __path__ = [*compiled_folders(__name__), *__path__]
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Final

from polaris_synapse.compiled.sources import BUILT_FROM, COMPILED, LAYOUTS, digest_of, folder_of

#: ``python -X plain-cores`` uses the plain form where both are there.
PLAIN_OPTION: Final = "plain-cores"
#: Why a package is plain, by its name; empty where it is compiled. Packages stand here once they were imported.
_ASKED: Final[dict[str, str]] = {}


def compiled_folders(package: str) -> tuple[str, ...]:
    """Where Python looks for a package's modules before it looks at their source; empty for the plain form."""
    folder = f"{__path__[0]}/{folder_of(package)}"
    _ASKED[package] = why_not(package, folder)
    return () if _ASKED[package] else (folder,)


def why_not(package: str, folder: str) -> str:
    """Why the plain form of a package is used; empty where the compiled one can be."""
    if PLAIN_OPTION in sys._xoptions:
        return f"Python runs with -X {PLAIN_OPTION}"
    try:
        built_from = (pkgutil.get_data(__name__, f"{folder_of(package)}/{BUILT_FROM}") or b"").decode()
    except OSError:
        return (
            "not built yet, or could not be, for want of a C compiler or because POLARIS_PURE_PYTHON was set at the "
            "installation"
        )
    digest, *names = built_from.splitlines()
    try:
        sources = [pkgutil.get_data(*name.split(" ", 1)) or b"" for name in names]
    except OSError as error:
        return f"out of date ({error})"
    if digest_of(sources) != digest:
        return "out of date, a source has changed"
    return _why_not_as_laid_out(package, folder)


def _why_not_as_laid_out(package: str, folder: str) -> str:
    """Why compiled code would not find the fields of structs where it looks for them."""
    name = f"{package}.{LAYOUTS}"
    found = PathFinder.find_spec(name, [folder])
    if found is None or found.loader is None:
        return f"{LAYOUTS} is missing"
    try:
        layouts = sys.modules[name] = module_from_spec(found)
        found.loader.exec_module(layouts)
    except ImportError as error:
        sys.modules.pop(name, None)
        return f"cannot be loaded ({error})"
    misplaced: list[str] = layouts.misplaced()
    return f"structs lie otherwise than when it was compiled ({', '.join(misplaced[:3])})" if misplaced else ""


def plain_packages() -> dict[str, str]:
    """The packages of ``COMPILED`` that run as plain Python, and why."""
    for package in COMPILED:
        importlib.import_module(package)
    return {package: _ASKED[package] for package in COMPILED if _ASKED[package]}


def cores_in_use() -> str:
    """One sentence for people: which form is in use, and why."""
    plain = plain_packages()
    if not plain:
        return f"The compiled forms are in use: {_names(COMPILED)}."
    reasons = sorted(set(plain.values()))
    if len(plain) == len(COMPILED) and len(reasons) == 1:
        return f"Plain Python is in use for all of {_names(COMPILED)}, which is slower: {reasons[0]}."
    each = "; ".join(f"{_names([package])} ({reason})" for package, reason in plain.items())
    return f"Plain Python, which is slower, is in use for {each}."


def _names(packages: object) -> str:
    assert isinstance(packages, (dict, list))
    return ", ".join(package.split(".")[1] for package in packages)
