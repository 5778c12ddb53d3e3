"""What tests do where a real server, or a compiled module, is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from polaris_synapse.testing.servers.policy import ServerMissingError, must_exist, program

T = TypeVar("T")


def start_or_skip(start: Callable[[], T]) -> T:
    """Start a server; skip with its sentence where it is missing, or fail in continuous integration."""
    try:
        return start()
    except ServerMissingError as error:
        _give_up(error)
        raise


def program_or_skip(name: str, package: str) -> str:
    """The path of a program of a Debian package; skip or fail where it is missing."""
    return start_or_skip(lambda: program(name, package=package))


def _give_up(error: ServerMissingError) -> None:
    if must_exist():
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


def must_be_compiled() -> bool:
    """Whether what is compiled at installation has to be there: in continuous integration, unless it was left out."""
    return must_exist() and os.environ.get("POLARIS_PURE_PYTHON", "") in {"", "0"}
