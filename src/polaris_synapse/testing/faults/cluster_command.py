"""The command line of the cluster's faults: which ones, on how many brokers, and what is printed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from polaris_synapse.testing.faults.cluster import ClusterReport

_BROKERS: Final = 3


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What this run takes beside what all of them take."""
    command.add_argument("--faults", help="some of them, comma-separated; --list shows all")
    command.add_argument("--brokers", type=int, choices=(1, 3), default=None, help="default 3, 1 with --quick")
    command.add_argument("--quick", action="store_true", help="one broker, one instance of each service, three faults")
    command.add_argument("--list", action="store_true", help="print the names of all faults and do nothing")


def problem_of(arguments: argparse.Namespace) -> str:
    """Why these arguments cannot be run; empty where they can."""
    from polaris_synapse.testing.faults.cluster_actions import all_faults

    known = all_faults(brokers=_brokers(arguments))
    unknown = [name for name in _wanted(arguments) if name not in known]
    if unknown:
        return f"with --brokers {_brokers(arguments)} no fault is called {', '.join(unknown)}; --list shows them all"
    return ""


def _brokers(arguments: argparse.Namespace) -> int:
    return int(arguments.brokers or (1 if arguments.quick else _BROKERS))


def _wanted(arguments: argparse.Namespace) -> list[str]:
    from polaris_synapse.testing.faults.cluster_actions import QUICK_FAULTS, all_faults

    if arguments.faults:
        return str(arguments.faults).split(",")
    return list(QUICK_FAULTS) if arguments.quick else all_faults(brokers=_brokers(arguments))


def run_command(arguments: argparse.Namespace, directory: Path) -> tuple[ClusterReport, bool]:
    """Run what was asked for; whether it held. Raises ServerMissingError where a server is not installed."""
    from polaris_synapse.testing.faults.cluster import run_cluster
    from polaris_synapse.testing.faults.cluster_actions import QUICK_TIMES

    # Whoever stops this run wants its servers and services gone too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    report = run_cluster(
        directory,
        _wanted(arguments),
        brokers=_brokers(arguments),
        seed=arguments.seed,
        times=QUICK_TIMES if arguments.quick else None,
        spare=not arguments.quick,
        progress=_say,
    )
    return report, not report.violations


def list_faults(arguments: argparse.Namespace) -> None:
    """Print the names, one a line."""
    from polaris_synapse.testing.faults.cluster_actions import all_faults

    for name in all_faults(brokers=_brokers(arguments)):
        sys.stdout.write(f"{name}\n")


def _say(text: str, share: float) -> None:
    """One line for each thing that happens, with the time and the load of the machine."""
    moment = time.strftime("%H:%M:%S")
    sys.stderr.write(f"{moment}  {share:4.0%}  load {os.getloadavg()[0]:4.1f}  {text}\n")
    sys.stderr.flush()
