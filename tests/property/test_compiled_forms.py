"""Everything that is compiled says and becomes what the plain form does, on seeded streams through the whole desk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.real_servers import must_be_compiled

from polaris_synapse.compiled import PLAIN_OPTION, cores_in_use, plain_packages
from polaris_synapse.compiled.sources import COMPILED

#: In continuous integration a compiled form that is missing fails, unless it was left out on purpose.
pytestmark = pytest.mark.skipif(bool(plain_packages()) and not must_be_compiled(), reason=cores_in_use())


def streams(*options: str) -> list[str]:
    """What a process of its own prints."""
    command = [sys.executable, *options, "-m", "tests.form_digests"]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()


def test_everything_is_compiled() -> None:
    """What is compared below are two forms and not one with itself."""
    assert not plain_packages(), cores_in_use()


def test_both_forms_say_and_become_the_same() -> None:
    """Simulated desks with faults and restarts, to the last output and state hash; orders' bodies and answers."""
    compiled, plain = streams(), streams("-X", PLAIN_OPTION)
    assert (compiled[0], plain[0]) == ("0", str(len(COMPILED)))
    assert compiled[1:] == plain[1:]
    assert len(set(compiled)) == len(compiled)
