"""docs/faults.md names one command for each fault test; each of them is there to be run."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from polaris_synapse.testing.faults import __main__ as runs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| [^|]+ \| `([^`]+)` \| [^|]+ \|$", PAGE, re.MULTILINE)


def test_every_fault_has_a_command() -> None:
    """Numbers 1 to 19 are all there."""
    assert {int(number) for number, _ in ROWS} == set(range(1, 20))


@pytest.mark.parametrize("command", sorted({command for _, command in ROWS}))
def test_the_command_is_there(command: str) -> None:
    """A module with that run, a test file that has tests of that name, or a command line that parses."""
    program, *arguments = shlex.split(command)
    if program == "python":
        assert importlib.util.find_spec(arguments[1]) is not None
        assert len(arguments) == 2 or arguments[2] in runs._MEANING
    elif program == ".venv/bin/pytest":
        words = arguments[arguments.index("-k") + 1] if "-k" in arguments else ""
        for path in arguments[: arguments.index("-k")] if words else arguments:
            assert re.search(rf"def test_\w*{words}", (ROOT / path).read_text(encoding="utf-8")), path
    else:
        # That the whole line parses is held by test_documentation.
        assert (program, arguments[0]) == ("polaris", "simulate")
