"""The two forms of what is compiled: the one in use, and the plain Python one beside it."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

from polaris_synapse import compiled

RISK = "polaris_synapse.risk.core"
MATCHING = "polaris_synapse.matching.core"
COMPLIANCE = "polaris_synapse.compliance.core"


def _modules(package: str) -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if f"{name}.".startswith(f"{package}.")}


@cache
def plain_modules(package: str) -> dict[str, ModuleType]:
    """The modules of a core's package in their plain form, by name, whichever form the desk uses.

    Their functions a test can replace: compiled ones call each other without looking.
    """
    core = importlib.import_module(package)
    if package not in compiled.plain_packages():
        in_use = _modules(package)
        for name in in_use:
            del sys.modules[name]
        folders = compiled.compiled_folders
        compiled.__dict__["compiled_folders"] = lambda _: ()
        try:
            core = importlib.import_module(package)
            made = getattr(core, core.__all__[-1])()
            # Structs find the types of their fields when first read, by the names of modules: now the plain ones.
            made.restore(made.snapshot())
            plain = _modules(package)
        finally:
            compiled.__dict__["compiled_folders"] = folders
            for name in _modules(package):
                del sys.modules[name]
            sys.modules.update(in_use)
            # An import also hangs a package on the one around it.
            parent, _, own = package.rpartition(".")
            sys.modules[parent].__dict__[own] = in_use[package]
        return plain
    return _modules(package)
