"""The compiled risk core: used only where it was made from the source beside it, and declared from that source."""

from __future__ import annotations

import ctypes
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import pytest

from polaris_synapse.risk.core import native
from polaris_synapse.risk.core.native.declarations import COMPILED, LAYOUTS, declarations
from polaris_synapse.risk.core.native.sources import BUILT_FROM, digest_of

SOURCE = Path(__file__).parents[3] / "src"
PACKAGES = ("polaris_synapse.domain", "polaris_synapse.domain.messages", "polaris_synapse.risk.core")
#: ``name type offset`` of PyMemberDef; the definition's address lies behind five words of a descriptor.
_DESCRIPTOR_WORDS = 5


def declared() -> dict[str, str]:
    """What the compiler would be given."""
    texts: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted(SOURCE.joinpath(*package.split(".")).glob("*.py")):
            texts[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path.read_text("utf-8")
    return declarations(texts)


def place_of(owner: type, field: str) -> int:
    """Where a field of a class with slots lies, in bytes."""
    descriptor = getattr(owner, field)
    word = ctypes.sizeof(ctypes.c_void_p)
    definition = ctypes.c_void_p.from_address(id(descriptor) + _DESCRIPTOR_WORDS * word).value
    assert definition is not None
    return ctypes.c_ssize_t.from_address(definition + 2 * word).value


def test_structs_are_declared_as_they_lie_in_memory() -> None:
    """Each declared struct has all fields of its class, in the order of their places, one word each."""
    text = declared()[f"{LAYOUTS.replace('.', '/')}.pxd"]
    word = ctypes.sizeof(ctypes.c_void_p)
    classes = re.findall(r"ctypedef class (\S+)\.(\w+) \[[^]]*\]:\n((?:        cdef .*\n?)*)", text)
    for module, name, fields in classes:
        owner = getattr(importlib.import_module(module), name)
        names = [line.split()[-1] for line in fields.splitlines()]
        assert set(names) == set(getattr(owner, "__struct_fields__", None) or owner.__slots__), name
        assert [place_of(owner, field) for field in names] == [(2 + at) * word for at in range(len(names))], name
    assert {"Order", "OrderRequest", "Account", "OrderRecord", "Desk", "RiskState"} <= {name for _, name, _ in classes}


def test_every_module_of_the_order_path_is_declared() -> None:
    """Functions are found with their structs, so that compiled modules call each other without Python in between."""
    files = declared()
    assert {f"polaris_synapse/risk/core/{name}.pxd" for name in COMPILED} < files.keys()
    reservations = files["polaris_synapse/risk/core/reservations.pxd"]
    assert "cpdef object settle(Account account, Market market, OrderRecord record)" in reservations
    assert "cdef class OrderContext:" in files["polaris_synapse/risk/core/context.pxd"]


def built_from(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> str:
    """Why the plain form would be used if these files were there."""

    def get_data(package: str, name: str) -> bytes:
        if f"{package} {name}" not in files:
            raise FileNotFoundError(name)
        return files[f"{package} {name}"]

    monkeypatch.setattr(pkgutil, "get_data", get_data)
    return native._why_not()


def test_without_a_build_the_plain_form_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what is missing."""
    assert "was not built" in built_from(monkeypatch, {})


def test_changed_sources_are_never_run_in_their_old_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """One changed byte in one source, or a source that is gone, and the compiled form is out of date."""
    note = f"{digest_of([b'old'])}\npackage one.py\n".encode()
    name = f"{native.__name__} {BUILT_FROM}"
    assert "its source has changed" in built_from(monkeypatch, {name: note, "package one.py": b"new"})
    assert "out of date" in built_from(monkeypatch, {name: note})


def test_the_option_asks_for_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -X plain-risk-core`` needs no other installation."""
    monkeypatch.setitem(sys._xoptions, native.PLAIN_OPTION, True)
    assert native._why_not() == f"Python runs with -X {native.PLAIN_OPTION}"
