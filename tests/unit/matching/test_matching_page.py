"""The page that says what the engine does names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests import documents
from tests.unit.matching.test_book_conformance import ALL

_PAGE: Final = documents.CHECKOUT / "docs" / "reference" / "matching.md"
_NAMED: Final = re.compile(r"`(tests/[\w/]+\.py)::([^`]+)`")
_SCRIPTED: Final = "tests/unit/matching/test_book_conformance.py"


def test_each_line_names_a_test_that_exists() -> None:
    """A row that claims something names a test function of a file, or a script of the conformance suite."""
    rows = [line for line in _PAGE.read_text().splitlines() if line.startswith("| ") and line != "| what | test |"]
    assert len(rows) > 60
    scripts = {case.id for case in ALL}
    for row in rows:
        found = _NAMED.search(row)
        assert found is not None, row
        path, name = found.groups()
        if path == _SCRIPTED:
            assert name in scripts, row
        else:
            text = Path(documents.CHECKOUT, path).read_text()
            assert re.search(rf"^(async )?def {re.escape(name)}\(", text, re.MULTILINE), row
