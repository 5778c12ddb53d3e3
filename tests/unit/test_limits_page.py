"""docs/limits.md names every bound of the settings with its value, so that none is forgotten there."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import polaris_synapse

PACKAGE = Path(polaris_synapse.__file__).parent
PAGE = PACKAGE.parents[1] / "docs" / "limits.md"
#: Settings for people, listed in docs/reference/settings.md.
LISTED_ELSEWHERE = {"polaris_synapse.desk.settings"}


def bounds() -> Iterator[tuple[str, str]]:
    """Every field of a settings struct whose name ends in ``_max``: ``room.field``, and its default for people."""
    for path in sorted(PACKAGE.rglob("*settings.py")):
        module = ".".join(("polaris_synapse", *path.relative_to(PACKAGE).with_suffix("").parts))
        if module in LISTED_ELSEWHERE:
            continue
        for _, kind in inspect.getmembers(importlib.import_module(module), inspect.isclass):
            if kind.__module__ != module or not issubclass(kind, msgspec.Struct):
                continue
            for field in msgspec.structs.fields(kind):
                if field.name.endswith("_max"):
                    yield (
                        f"{module.split('.')[1]}.{field.name}",
                        f"{field.default:,g}" if isinstance(field.default, float) else f"{field.default:,}",
                    )


@pytest.mark.parametrize("name, value", sorted(set(bounds())))
def test_every_bound_is_on_the_page(name: str, value: str) -> None:
    """The page has a row with the bound's name and default."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert (name, value) in [(found, given.strip()) for found, given in rows]


def test_the_search_finds_bounds() -> None:
    """A page that is checked against nothing would hold for ever."""
    names = {name for name, _ in bounds()}
    assert {"bus.queue_messages_max", "order_gateway.connection_backlog_messages_max"} <= names
    assert len(names) > 50


def files_with_queues() -> set[str]:
    """Every module that makes a queue, outside of the twins and tools for tests."""
    made = re.compile(r"\b(?:deque|\w*Queue)(?:\[[^=\n]*\])?\(|create_memory_object_stream")
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if made.search(path.read_text(encoding="utf-8")) and path.relative_to(PACKAGE).parts[0] != "testing"
    }


def test_every_queue_is_on_the_page() -> None:
    """What could grow without anybody noticing is named with its bound, and nothing that is gone still is."""
    section = PAGE.read_text(encoding="utf-8").split("## Every queue", 1)[1].split("\n## ", 1)[0]
    assert files_with_queues() == set(re.findall(r"^\| `([a-z_/.]+)` \|", section, re.MULTILINE))


def test_no_stream_is_unbounded() -> None:
    """A memory stream or a queue of asyncio is made with a number, never with infinity or nothing."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if "create_memory_object_stream" in name or name in {"asyncio.Queue", "queue.Queue"}:
                assert node.args, f"{path}:{node.lineno}"
                assert "inf" not in ast.unparse(node.args[0]), f"{path}:{node.lineno}"
