"""What a failed end-to-end test prints besides: what its desk said and logged."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from polaris_synapse.testing.desk_process import DeskProcess

_OUTPUT_CHARACTERS_MAX = 4_000


def _desks_in(item: pytest.Item) -> Iterator[DeskProcess]:
    for value in getattr(item, "funcargs", {}).values():
        for candidate in (value, getattr(value, "desk", None)):
            if isinstance(candidate, DeskProcess):
                yield candidate


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the output and the end of the log of every desk that the test used, where it failed."""
    report = yield
    if report.failed:
        for desk in dict.fromkeys(_desks_in(item)):
            report.sections.append(
                (f"output of the desk {desk.directory.name}", desk.output()[-_OUTPUT_CHARACTERS_MAX:])
            )
            report.sections.append((f"log of the desk {desk.directory.name}", desk.log_tail()))
    return report
