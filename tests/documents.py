"""Reading the project's documents: their fenced blocks, the commands in them, links, and settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

CHECKOUT: Final = Path(__file__).resolve().parents[1]
#: Documents that people write. Those in docs/reference are made from the code, and a test compares them with it.
WRITTEN: Final = tuple(
    sorted(
        [
            *CHECKOUT.glob("*.md"),
            *(CHECKOUT / "docs").glob("*.md"),
            *(CHECKOUT / "docs" / "how-to").glob("*.md"),
            *(CHECKOUT / "examples").glob("*.md"),
        ]
    )
)
ALL: Final = (*WRITTEN, *sorted((CHECKOUT / "docs" / "reference").glob("*.md")))

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
#: Up to where a shell would end the command; what is in quotes belongs to it.
_POLARIS: Final = re.compile(r"""(?:^|[\s(/"])polaris\s+((?:"[^"]*"|'[^']*'|[^|);&"'\n])*)""")


class Block(Struct, frozen=True):
    """A fenced block: its language, its text, and the line where it begins."""

    language: str
    text: str
    line: int

    def commands(self) -> list[str]:
        """The lines that are typed, with continued lines joined."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
        return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def text_of(document: Path) -> str:
    """What a document says."""
    return document.read_text(encoding="utf-8")


def blocks(document: Path, *, section: str = "") -> list[Block]:
    """The fenced blocks of a document, or of the section under the heading ``section``."""
    text = text_of(document)
    begin, end = 0, len(text)
    if section:
        begin = text.index(f"\n## {section}\n")
        following = text.find("\n## ", begin + 4)
        end = following if following >= 0 else end
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
        if begin <= found.start() < end
    ]


def inline_code(document: Path) -> list[str]:
    """The pieces of code in running text."""
    return _INLINE.findall(_FENCE.sub("", text_of(document)))


def links(document: Path) -> list[str]:
    """Targets of links and pictures in running text."""
    return _LINK.findall(_INLINE.sub("", _FENCE.sub("", text_of(document))))


def polaris_commands(document: Path) -> Iterator[list[str]]:
    """The arguments of every `polaris …` that a document shows, typed or in running text."""
    lines = [line for block in blocks(document) if block.language in {"bash", "console"} for line in block.commands()]
    lines += [code for code in inline_code(document) if code.removeprefix(".venv/bin/").startswith("polaris ")]
    for line in lines:
        for found in _POLARIS.finditer(line):
            arguments = shlex.split(found[1], comments=True)
            if arguments and arguments != ["…"]:
                yield arguments
