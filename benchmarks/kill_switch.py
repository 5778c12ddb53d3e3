"""How long the kill switch takes at full load, and that no order is accepted after it.

    python benchmarks/kill_switch.py [--directory DIR] [--presses 40] [--json]

A real desk takes orders over WebSockets as fast as it can; the kill switch (cancel all) is pulled and let go again and
again. Measured from the request to its durable answer, and until no order is open at a venue any more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from polaris_synapse.testing.faults.kill_switch import run_kill_switch


def main() -> int:
    """Measure and print; 1 where an order was accepted after the kill switch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk that a desk would use")
    parser.add_argument("--presses", type=int, default=40, help="how often it is pulled")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    report = run_kill_switch(arguments.directory, presses=arguments.presses)
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        for figure in report.figures:
            sys.stdout.write(f"{figure.name:70} {figure.value:>12,} {figure.unit}\n")
        for violation in report.violations:
            sys.stdout.write(f"VIOLATION: {violation}\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
