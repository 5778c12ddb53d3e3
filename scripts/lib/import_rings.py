"""An import-linter contract: which part of the package may import which, as one literal table.

The parts stand in rings. A room (``risk``) has a *core* (``risk.core``, pure) and a *shell* (everything else in it).
``ALLOWED`` names, for each ring, the rings it may import. Imports that the table does not name break the contract.
"""

from __future__ import annotations

from typing import Final

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output

PACKAGE: Final = "polaris_synapse"

#: The services. Only these have a core and a shell; the other parts are each one ring.
ROOMS: Final = frozenset({"market_data", "order_gateway", "compliance", "risk", "matching", "execution", "agents"})

_PURE: Final = frozenset({"root", "compiled", "domain", "bus.core", "core"})
_SHARED: Final = _PURE | {"bus", "storage", "monitoring"}

#: Ring: the rings it may import. "shell" stands for the importing room's own shell, "any shell" for every room's.
ALLOWED: Final[dict[str, frozenset[str]]] = {
    "root": frozenset(),
    # Which form of a package runs; every package that has two asks it.
    "compiled": frozenset({"compiled"}),
    "domain": frozenset({"domain"}),
    "bus.core": frozenset({"root", "domain", "bus.core"}),
    "bus": frozenset({"root", "compiled", "domain", "bus.core", "bus"}),
    "core": _PURE,
    # Python runs a room's `__init__` before its core, so that file may pull in no more than the core may.
    "door": _PURE,
    "monitoring": frozenset({"root", "domain", "bus.core", "bus", "monitoring"}),
    "storage": frozenset({"root", "domain", "bus.core", "bus", "storage", "monitoring"}),
    "shell": _SHARED | {"shell", "web"},
    "web": _SHARED | {"web"},
    # In-memory twins and conformance suites speak of every port, so they see every room. No room sees them.
    "testing": _SHARED | {"any shell", "web", "desk", "testing"},
    # The composition root wires everything that runs.
    "desk": _SHARED | {"any shell", "web", "desk", "testing"},
    # The command renders what any room computes: explanations, audits, benchmarks, simulations.
    "cli": _SHARED | {"any shell", "web", "desk", "cli", "testing"},
}


def ring(module: str) -> str:
    """The ring a module of the package belongs to, or an empty text where the table has none for it."""
    parts = module.split(".")[1:]
    if not parts:
        return "root"
    first = parts[0]
    if first == "bus" and parts[1:2] == ["core"]:
        return "bus.core"
    if first in ROOMS:
        if len(parts) == 1:
            return "door"
        return "core" if parts[1] == "core" else "shell"
    return first if first in ALLOWED and first not in {"root", "core", "door", "shell"} else ""


def problem(importer: str, imported: str) -> str:
    """Why ``importer`` may not import ``imported``; an empty text when it may."""
    source, target = ring(importer), ring(imported)
    if not source or not target:
        return f"{importer if not source else imported} is in no ring: add it to scripts/lib/import_rings.py"
    if target == "door":
        # The bare package is what `from polaris_synapse import risk` names: nothing but its docstring.
        target = "core"
    if target == "shell" and "any shell" in ALLOWED[source]:
        return ""
    if target == "shell" and "shell" in ALLOWED[source] and importer.split(".")[1] != imported.split(".")[1]:
        return f"the shell {importer} imports another room's shell, {imported}"
    if target not in ALLOWED[source]:
        return f"{importer} ({source}) imports {imported} ({target})"
    return ""


class RingsContract(Contract):
    """Every import inside the package is one that ``ALLOWED`` names."""

    type_name = "rings"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at each direct import inside the package; the table is closed, so chains need no second look."""
        problems = []
        for importer in sorted(m for m in graph.modules if m.split(".")[0] == PACKAGE):
            output.verbose_print(verbose, f"Looking at the imports of {importer}...")
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                if imported.split(".")[0] != PACKAGE:
                    continue
                why = problem(importer, imported)
                if why:
                    details = graph.get_import_details(importer=importer, imported=imported)
                    lines = ", ".join(str(detail["line_number"]) for detail in details)
                    problems.append(f"{why} (line {lines})")
        return ContractCheck(kept=not problems, metadata={"problems": problems})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line a forbidden import."""
        for line in check.metadata["problems"]:
            output.print_error(f"- {line}")
