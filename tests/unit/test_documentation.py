"""What the documents say exists: commands, files they link to, settings, environment variables."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from pydantic import BaseModel
from tests import documents

from polaris_synapse.cli.main import app
from polaris_synapse.desk.loading import _OTHER_VARIABLES
from polaris_synapse.desk.settings import ENVIRONMENT_PREFIX, DeskSettings

_DOCUMENTS: Final = pytest.mark.parametrize(
    "document", documents.WRITTEN, ids=lambda path: str(path.relative_to(documents.CHECKOUT))
)
_SETTING: Final = re.compile(r"([a-z_]+(?:\.[a-z_]+)+)(?::.*)?")
_VARIABLE: Final = re.compile(rf"\b{ENVIRONMENT_PREFIX}[A-Z_]+\b")
#: What the test suite and its scripts read; they are no settings of the desk.
_VARIABLES_OF_TESTS: Final = frozenset(
    {"POLARIS_TEST_DATA", "POLARIS_TEST_WORKERS", "POLARIS_TEST_POSTGRES", "POLARIS_TEST_REDIS", "POLARIS_TEST_INSTALL"}
)
#: What the build reads; the desk does not.
_VARIABLES_OF_THE_BUILD: Final = frozenset({"POLARIS_PURE_PYTHON"})


@lru_cache
def _polaris() -> Any:
    return typer.main.get_command(app)


def _parse(arguments: list[str]) -> None:
    """Parse a command line as `polaris` would, without running it. Raises what the command line parser raises."""
    command: Any = _polaris()
    context = command.context_class(command, info_name="polaris")
    rest = list(arguments)
    while rest and (children := getattr(command, "commands", None)) is not None and rest[0] in children:
        command = children[rest[0]]
        context = command.context_class(command, info_name=rest.pop(0), parent=context)
    if getattr(command, "commands", None) is not None and not command.invoke_without_command:
        raise AssertionError(f"there is no command: polaris {' '.join(arguments)}")
    try:
        command.make_context(command.name, rest, parent=context.parent)
    except Exception as error:
        # A file that a reader would have is not here.
        if "does not exist" not in str(getattr(error, "message", error)):
            raise AssertionError(f"polaris {' '.join(arguments)}: {getattr(error, 'message', error)}") from error


@_DOCUMENTS
def test_commands_parse(document: Path) -> None:
    """Every `polaris …` in a document is a command line that the command takes."""
    for arguments in documents.polaris_commands(document):
        _parse(arguments)


def test_the_parser_would_notice() -> None:
    """A command or an option that does not exist is noticed."""
    for wrong in (["ordr", "buy"], ["order", "buy", "1", "BTCUSDT", "--limt", "1"], ["breaker", "reboot"], ["user"]):
        with pytest.raises(AssertionError):
            _parse(wrong)


def _leaves(command: Any) -> list[Any]:
    children = getattr(command, "commands", None)
    return [command] if children is None else [leaf for child in children.values() for leaf in _leaves(child)]


def test_examples_in_the_help_parse() -> None:
    """The examples under `polaris COMMAND --help` are command lines that the command takes."""
    found = 0
    for command in _leaves(_polaris()):
        for line in re.findall(r"polaris ([^|]+)", command.epilog or ""):
            _parse(shlex.split(line))
            found += 1
    assert found > 20


@pytest.mark.parametrize("document", documents.ALL, ids=lambda path: str(path.relative_to(documents.CHECKOUT)))
def test_links_resolve(document: Path) -> None:
    """Every link to a file of the repository leads to one."""
    for target in documents.links(document):
        if target.startswith(("http://", "https://", "#")):
            continue
        path = target.partition("#")[0]
        assert (document.parent / path).exists(), f"{document.name} links to {target}"


@_DOCUMENTS
def test_settings_exist(document: Path) -> None:
    """Every setting that a document names, such as `feed.mode`, is one."""
    if document.name == "limits.md":
        return  # It names the rooms' own settings, not those of the configuration; test_limits_page.py holds it.
    for code in documents.inline_code(document):
        found = _SETTING.fullmatch(code)
        if found is None:
            continue
        first, *rest = found[1].split(".")
        field = DeskSettings.model_fields.get(first)
        if field is None or not _is_section(field.annotation):
            continue
        kind: Any = field.annotation
        for name in rest:
            assert _is_section(kind), f"{document.name} names {code}"
            assert name in kind.model_fields, f"{document.name} names {code}"
            kind = kind.model_fields[name].annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


@_DOCUMENTS
def test_environment_variables_exist(document: Path) -> None:
    """Every POLARIS_ variable that a document names is read by something."""
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in DeskSettings.model_fields}
    for variable in _VARIABLE.findall(documents.text_of(document)):
        first, _, rest = variable.partition("__")
        assert first in known | _OTHER_VARIABLES | _VARIABLES_OF_TESTS | _VARIABLES_OF_THE_BUILD, (
            f"{document.name} names {variable}"
        )
        if rest:
            section: Any = DeskSettings.model_fields[first.removeprefix(ENVIRONMENT_PREFIX).lower()].annotation
            for name in rest.lower().split("__"):
                assert name in section.model_fields, f"{document.name} names {variable}"
                section = section.model_fields[name].annotation
