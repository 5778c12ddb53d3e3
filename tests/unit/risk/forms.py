"""The two forms of the risk core: the one in use, and the plain Python one beside it."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.native import RISK_CORE_IS_COMPILED

_CORE = "polaris_synapse.risk.core"


def plain_core() -> type[RiskCore]:
    """The core from its Python source, whichever form the desk uses."""
    plain: type[RiskCore] = plain_modules()[_CORE].RiskCore
    return plain


def plain_module(name: str) -> ModuleType:
    """A module of that core, whose functions a test can replace: compiled ones call each other without looking."""
    return plain_modules()[f"{_CORE}.{name}"]


def _core_modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if f"{name}.".startswith(f"{_CORE}.")}


@cache
def plain_modules() -> dict[str, ModuleType]:
    """The modules of the core in their plain form, by name."""
    if not RISK_CORE_IS_COMPILED:
        return _core_modules()
    in_use = _core_modules()
    for name in in_use:
        del sys.modules[name]
    stand_in = ModuleType(f"{_CORE}.native")
    stand_in.__dict__["FOLDERS"] = ()
    sys.modules[stand_in.__name__] = stand_in
    try:
        core = importlib.import_module(_CORE).RiskCore()
        # Structs find the types of their fields when first read, by the names of modules: now these are the plain ones.
        core.restore(core.snapshot())
        plain = _core_modules()
    finally:
        for name in _core_modules():
            del sys.modules[name]
        sys.modules.update(in_use)
        # An import also hangs a package on the one around it.
        sys.modules["polaris_synapse.risk"].__dict__["core"] = in_use[_CORE]
    return plain
