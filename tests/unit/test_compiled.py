"""What is compiled is used only where it was made from the source beside it, and is declared from that source."""

from __future__ import annotations

import ast
import ctypes
import importlib
import pkgutil
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from polaris_synapse import compiled
from polaris_synapse.compiled.declarations import Declared, declared
from polaris_synapse.compiled.sources import BUILT_FROM, COMPILED, LAYOUTS, digest_of, folder_of

SOURCE = Path(__file__).parents[2] / "src"
DOMAIN = ("polaris_synapse.domain", "polaris_synapse.domain.messages")
RISK = "polaris_synapse.risk.core"
#: ``name type offset`` of PyMemberDef; the definition's address lies behind five words of a descriptor.
_DESCRIPTOR_WORDS = 5


@cache
def declared_of(package: str) -> Declared:
    """What the compiler would be given of a package."""
    texts: dict[str, str] = {}
    for name in (*DOMAIN, package):
        for path in sorted(SOURCE.joinpath(*name.split(".")).glob("*.py")):
            texts[name if path.stem == "__init__" else f"{name}.{path.stem}"] = path.read_text("utf-8")
    return declared(package, texts)


def file_of(module: str, suffix: str) -> str:
    """The text of one file for the compiler."""
    return declared_of(module.rpartition(".")[0]).files[f"{module.replace('.', '/')}{suffix}"]


def place_of(owner: type, field: str) -> int:
    """Where a field of a class with slots lies, in bytes."""
    descriptor = getattr(owner, field)
    word = ctypes.sizeof(ctypes.c_void_p)
    definition = ctypes.c_void_p.from_address(id(descriptor) + _DESCRIPTOR_WORDS * word).value
    assert definition is not None
    return ctypes.c_ssize_t.from_address(definition + 2 * word).value


@pytest.mark.parametrize("package", COMPILED)
def test_structs_are_declared_as_they_lie_in_memory(package: str) -> None:
    """Each declared struct has all fields of its class, in the order of their places, one word each."""
    text = file_of(f"{package}.{LAYOUTS}", ".pxd")
    word = ctypes.sizeof(ctypes.c_void_p)
    classes = re.findall(r"ctypedef class (\S+)\.(\w+) \[[^]]*\]:\n((?:        cdef .*\n?)*)", text)
    assert classes or package == "polaris_synapse.bus"
    for module, name, fields in classes:
        owner = getattr(importlib.import_module(module), name)
        names = [line.split()[-1] for line in fields.splitlines()]
        assert set(names) == set(getattr(owner, "__struct_fields__", None) or owner.__slots__), name
        assert [place_of(owner, field) for field in names] == [(2 + at) * word for at in range(len(names))], name


@pytest.mark.parametrize("package", COMPILED)
def test_a_changed_call_stands_on_its_line(package: str) -> None:
    """The compiler sees each module line by line as it is, with other names of what is called: traces stay true."""
    for name in COMPILED[package]:
        module = f"{package}.{name}"
        source = SOURCE.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8").split("\n")
        seen = file_of(module, ".py").split("\n")
        assert len(seen) == len(source)
        for before, after in zip(source, seen, strict=True):
            name_of = re.sub(r"(structs\.)?replace\(|\w+\(", "(", before).replace(", /", "")
            assert re.sub(r"(structs\.)?replace\(|\w+\(", "(", after) == name_of
        ast.parse("\n".join(seen))


def test_functions_are_declared_with_what_they_hold() -> None:
    """Compiled modules call each other in C, know what their variables hold, and make structs by setting fields."""
    reservations = file_of(f"{RISK}.reservations", ".pxd")
    assert "cpdef object settle(Account account, Market market, OrderRecord record)" in reservations
    assert "cdef class OrderContext:" in file_of(f"{RISK}.context", ".pxd")
    assert (
        "@cython.locals(account=Account, fill=Fill, market=Market, order=Order, record=OrderRecord)\n"
        "cpdef object take_report(Desk desk, OrderReport report)"
    ) in file_of(f"{RISK}.reports", ".pxd")
    assert re.search(r"record\.order = make_Order_\d+\(\n        order,", file_of(f"{RISK}.reports", ".py"))


def built_from(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> str:
    """Why the plain form of risk would be used if these files were there."""

    def get_data(package: str, name: str) -> bytes:
        if f"{package} {name}" not in files:
            raise FileNotFoundError(name)
        return files[f"{package} {name}"]

    monkeypatch.setattr(pkgutil, "get_data", get_data)
    monkeypatch.delitem(sys._xoptions, compiled.PLAIN_OPTION, raising=False)
    return compiled.why_not(RISK, "nowhere")


def test_without_a_build_the_plain_form_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what is missing."""
    assert "not built" in built_from(monkeypatch, {})


def test_changed_sources_are_never_run_in_their_old_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """One changed byte in one source, a source that is gone, or no layouts, and the compiled form is not used."""
    note = f"{digest_of([b'old'])}\npackage one.py\n".encode()
    name = f"{compiled.__name__} {folder_of(RISK)}/{BUILT_FROM}"
    assert "a source has changed" in built_from(monkeypatch, {name: note, "package one.py": b"new"})
    assert "out of date" in built_from(monkeypatch, {name: note})
    assert "missing" in built_from(monkeypatch, {name: note, "package one.py": b"old"})


def test_the_option_asks_for_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -X plain-cores`` needs no other installation."""
    monkeypatch.setitem(sys._xoptions, compiled.PLAIN_OPTION, True)
    assert compiled.why_not(RISK, "nowhere") == f"Python runs with -X {compiled.PLAIN_OPTION}"


def test_people_are_told_what_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """All compiled, one plain with its reason, or all plain for one reason."""
    asked = dict.fromkeys(COMPILED, "")
    monkeypatch.setattr(compiled, "_ASKED", asked)
    assert compiled.cores_in_use() == (
        "The compiled forms are in use: agents, bus, compliance, matching, order_gateway, risk."
    )
    asked[RISK] = "out of date"
    assert compiled.cores_in_use() == "Plain Python, which is slower, is in use for risk (out of date)."
    asked |= dict.fromkeys(COMPILED, "not built")
    assert compiled.cores_in_use().endswith("order_gateway, risk, which is slower: not built.")
