"""``python -m polaris_synapse.testing.injections``: attack a desk, and print what came of it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from polaris_synapse.testing.injections.suite import run_suite


def main() -> int:
    """Run the suite; 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m polaris_synapse.testing.injections", description=__doc__)
    parser.add_argument("--directory", type=Path, help="where to work; kept. Default: a folder that is removed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="polaris-injections-"))
    try:
        report = run_suite(directory, lambda text, share: None)
    finally:
        if arguments.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        for figure in report.figures:
            sys.stdout.write(f"{figure.name}: {figure.value:g} {figure.unit}\n")
        for violation in report.violations:
            sys.stdout.write(f"VIOLATION: {violation}\n")
        if report.benign_wrong:
            sys.stdout.write(f"benign texts read wrong: {', '.join(report.benign_wrong)}\n")
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
