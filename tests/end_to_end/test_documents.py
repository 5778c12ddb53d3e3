"""The README's tour and the tutorial, typed into a real desk from the first line to the last."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from tests import documents
from tests.documents import Block
from tests.end_to_end.support import until

from polaris_synapse.desk.place import DEFAULT_PORTS
from polaris_synapse.testing.desk_process import DeskProcess

_BLOCK_SECONDS_MAX: Final = 90
_ASSIGNMENT: Final = re.compile(r"^([A-Z]+)=", re.MULTILINE)
#: A desk that decides soon, so that nobody waits for a first decision.
_SOON: Final = {"POLARIS_AGENT__INTERVAL_SECONDS": "5"}

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the documents use curl"),
]


class Reader:
    """Somebody who types what a document says, in a folder that looks like a clone, at a desk of their own."""

    def __init__(self, folder: Path) -> None:
        self.desk = DeskProcess(folder / "desk", environment=_SOON)
        self.folder = folder / "clone"
        self.folder.mkdir()
        for name in ("examples", "scripts"):
            (self.folder / name).symlink_to(documents.CHECKOUT / name)
        (self.folder / ".venv").symlink_to(sys.prefix)
        self._variables = self.folder / "variables.sh"
        self._variables.touch()

    def type(self, block: Block) -> None:
        """Run a block line by line. Lines that say so are refused; every other one succeeds."""
        if any(line.startswith("./scripts/start.sh") for line in block.commands()):
            # The second time it has been killed a moment ago.
            until(lambda: not self.desk.running, what="the end of the desk that was killed")
            self.desk.start()
        elif block.language == "bash":
            self._run("bash", self._script(block), block)
        elif block.language == "python":
            (self.folder / "listen.py").write_text(self._at_this_desk(block.text), encoding="utf-8")
            self._run("bash", f". {self._variables}; TOKEN=$TOKEN python listen.py", block)

    def _script(self, block: Block) -> str:
        lines = ["set -euo pipefail", f". {self._variables}"]
        for line in map(self._at_this_desk, block.commands()):
            command, _, comment = line.partition("  # ")
            if comment.strip().startswith("refused"):
                lines.append(f"if {command}; then echo 'this was not refused' >&2; exit 99; fi")
            else:
                lines.append(line)
        lines += [f"declare -p {name} >> {self._variables}" for name in _ASSIGNMENT.findall(block.text)]
        return "\n".join(lines)

    def _at_this_desk(self, text: str) -> str:
        """The text with the ports of the reader's desk instead of the usual ones."""
        for service, port in DEFAULT_PORTS.items():
            here = f"127.0.0.1:{self.desk.place.ports[service]}"
            text = text.replace(f"127.0.0.1:{port}", here)
        return text.replace("--key bot.key.json", f"--key bot.key.json --url {self.desk.place.url('gateway')}")

    def _run(self, shell: str, script: str, block: Block) -> None:
        environment = self.desk.environment | {
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "COLUMNS": "100",
        }
        done = subprocess.run(
            [shell, "-c", script],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BLOCK_SECONDS_MAX,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        assert done.returncode == 0, f"the block at line {block.line} ended with {done.returncode}:\n{script}\n{output}"
        assert "Traceback" not in output, output


def test_the_tour_of_the_readme(tmp_path: Path) -> None:
    """Whoever types the README's five minutes sees each command succeed, and be refused where it says so."""
    reader = Reader(tmp_path)
    tour = documents.blocks(documents.CHECKOUT / "README.md", section="Five minutes")
    assert sum(len(block.commands()) for block in tour) > 15
    with reader.desk:
        for block in tour:
            reader.type(block)


def test_the_tutorial(tmp_path: Path) -> None:
    """The tutorial can be typed from beginning to end, the power cut in its middle included."""
    reader = Reader(tmp_path)
    blocks = documents.blocks(documents.CHECKOUT / "docs" / "tutorial.md")
    starts = [block for block in blocks if "./scripts/start.sh" in block.text]
    assert len(starts) == 2
    try:
        for block in blocks:
            reader.type(block)
    finally:
        reader.desk.kill()
