"""The table of rings: which module may import which."""

from __future__ import annotations

import pytest
from scripts.lib.import_rings import ALLOWED, ROOMS, problem, ring

P = "polaris_synapse"


@pytest.mark.parametrize(
    "module, expected",
    [
        (P, "root"),
        (f"{P}.domain.money", "domain"),
        (f"{P}.bus", "bus"),
        (f"{P}.bus.core", "bus.core"),
        (f"{P}.bus.embedded", "bus"),
        (f"{P}.risk", "door"),
        (f"{P}.risk.core", "core"),
        (f"{P}.risk.core.ledger", "core"),
        (f"{P}.risk.service", "shell"),
        (f"{P}.risk.core_helpers", "shell"),
        (f"{P}.desk", "desk"),
        (f"{P}.attic", ""),
        (f"{P}.core", ""),
    ],
)
def test_each_module_has_its_ring(module: str, expected: str) -> None:
    """A module's ring follows from its name, and an unknown part of the package has none."""
    assert ring(module) == expected


@pytest.mark.parametrize(
    "importer, imported",
    [
        ("risk.core", "domain.money"),
        ("risk.core", "bus.core"),
        ("matching.core.book", "risk.core"),
        ("risk.service", "risk.core"),
        ("risk.service", "risk.api"),
        ("risk.service", "storage.schema"),
        ("risk.api", "monitoring.metrics"),
        ("bus.embedded", "domain.topics"),
        ("desk", "risk.service"),
        ("desk.wiring", "execution.binance"),
        ("cli.main", "desk"),
        ("cli.main", "risk.service"),
        ("risk.api", "web.errors"),
        ("testing.desk_process", "desk.place"),
        ("testing.venue", "execution.venue"),
    ],
)
def test_an_inward_import_is_allowed(importer: str, imported: str) -> None:
    """Imports towards the core, and those of the composition root, are allowed."""
    assert problem(f"{P}.{importer}", f"{P}.{imported}") == ""


@pytest.mark.parametrize(
    "importer, imported",
    [
        ("domain.orders", "bus.core"),
        ("bus.core", "bus.embedded"),
        ("bus.embedded", "storage.schema"),
        ("risk.core", "risk.service"),
        ("risk.core", "matching.service"),
        ("risk.core", "bus.embedded"),
        ("risk.core", "monitoring.metrics"),
        ("risk", "risk.service"),
        ("risk.service", "execution.service"),
        ("risk.service", "desk"),
        ("risk.service", "testing.clock"),
        ("desk", "cli.main"),
        ("testing.venue", "cli.main"),
        ("risk.service", "attic"),
    ],
)
def test_an_outward_import_is_refused(importer: str, imported: str) -> None:
    """Imports away from the core, between shells, and of parts without a ring are refused with a reason."""
    assert problem(f"{P}.{importer}", f"{P}.{imported}")


def test_every_room_is_a_package_of_the_source(pytestconfig: pytest.Config) -> None:
    """The table names only rooms that exist."""
    source = pytestconfig.rootpath / "src" / P
    assert {room for room in ROOMS if not (source / room / "__init__.py").is_file()} == set()


def test_the_table_names_only_its_own_rings() -> None:
    """A ring misspelt on the right of the table would allow nothing, silently."""
    assert {ring for allowed in ALLOWED.values() for ring in allowed} <= {*ALLOWED, "any shell"}
