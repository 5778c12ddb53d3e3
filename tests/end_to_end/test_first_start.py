"""What `./scripts/start.sh` waits for: nobody waits for the compiler the first time, and nothing is compiled twice."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

ENVIRONMENT = Path(__file__).parents[2] / "scripts" / "lib" / "environment.sh"

#: `prepare` and `nohup` only say what they were asked for; everything else is the script's own.
_ASK = """
source "$1"
POLARIS_VENV="$2"
prepare() { echo "prepare $1${POLARIS_PURE_PYTHON:+, plain}"; }
prepare_start 2>>"$2/said"
"""
_NOHUP = """#!/bin/sh
echo "beside it: $*" >>"$BESIDE"
"""


class Checkout:
    """A checkout's environment, as far as it has come."""

    def __init__(self, folder: Path) -> None:
        self.venv = folder / "venv"
        self.beside = folder / "beside"
        self._tools = folder / "tools"
        for path in (self.venv / "bin", self._tools):
            path.mkdir(parents=True)
        nohup = self._tools / "nohup"
        nohup.write_text(_NOHUP, encoding="utf-8")
        nohup.chmod(0o755)

    def start(self, **variables: str) -> str:
        """What a start waits for."""
        environment = os.environ | {
            "PATH": f"{self._tools}:{os.environ['PATH']}",
            "BESIDE": str(self.beside),
            "CC": "true",
        }
        environment.pop("POLARIS_PURE_PYTHON", None)
        done = subprocess.run(
            ["bash", "-c", _ASK, "start", str(ENVIRONMENT), str(self.venv)],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.strip()

    def compiles_beside(self, seconds_max: float = 0.5) -> str:
        """What was started beside the desk, which nobody waits for."""
        until = time.monotonic() + seconds_max
        said = ""
        while not said.endswith("\n") and time.monotonic() < until:
            said = self.beside.read_text(encoding="utf-8") if self.beside.exists() else ""
            time.sleep(0.01)
        return said

    def said(self) -> str:
        """What people were told."""
        return (self.venv / "said").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh clone."""
    return Checkout(tmp_path)


def test_the_first_start_waits_for_packages_only(checkout: Checkout) -> None:
    """The desk starts as plain Python, and the compiler runs beside it, of which people are told."""
    assert checkout.start() == "prepare runtime, plain"
    pid = int((checkout.venv / ".compiling").read_text(encoding="utf-8"))
    assert pid > 0
    assert "prepare runtime" in checkout.compiles_beside(seconds_max=20)
    assert "being compiled for the next start" in checkout.said()


def test_later_starts_wait_for_what_has_changed(checkout: Checkout) -> None:
    """An environment that was whole once is made whole again before the desk runs on new sources."""
    (checkout.venv / ".polaris").write_text("runtime 0123\n", encoding="utf-8")
    assert checkout.start() == "prepare runtime"
    assert not checkout.compiles_beside()


def test_nothing_is_compiled_twice_at_a_time(checkout: Checkout) -> None:
    """While the compiler still runs, another start takes what there is; when it was killed, it begins anew."""
    polaris = checkout.venv / "bin" / "polaris"
    polaris.touch()
    polaris.chmod(0o755)
    (checkout.venv / ".compiling").write_text(f"{os.getpid()}\n", encoding="utf-8")
    assert checkout.start() == ""
    assert "still being compiled" in checkout.said()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (checkout.venv / ".compiling").write_text(f"{ended.pid}\n", encoding="utf-8")
    assert checkout.start() == "prepare runtime, plain"


@pytest.mark.parametrize("variables", [{"CC": "no-such-compiler"}, {"POLARIS_PURE_PYTHON": "1"}])
def test_without_a_compiler_nothing_is_started_beside(checkout: Checkout, variables: dict[str, str]) -> None:
    """The installation itself then says once that plain Python is used."""
    assert checkout.start(**variables).startswith("prepare runtime")
    assert not checkout.compiles_beside()
    assert not (checkout.venv / ".compiling").exists()
