"""The long fault runs: ``python -m polaris_synapse.testing.faults NAME``; see docs/faults.md."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from polaris_synapse.desk.loading import load_settings
from polaris_synapse.testing.faults import cluster_command
from polaris_synapse.testing.faults.figures import figures_of
from polaris_synapse.testing.servers.policy import ServerMissingError

#: How many rounds each run has where nothing else is said.
_ROUNDS: Final = {
    "kills": 200,
    "sends": 1_000,
    "damage": 1,
    "hostile": 100_000,
    "recovery": 1_000_000,
    "kill-switch": 40,
    "slow-readers": 5,
    "runaway": 10,
    "openapi": 50,
}
_MEANING: Final = {
    "kills": "SIGKILL a desk under load, so many times",
    "sends": "crash between the journal and a venue, so many times",
    "damage": "flip every bit and cut at every byte of a journal; with --rounds N every N-th",
    "hostile": "so many hostile requests",
    "recovery": "start after so many orders",
    "kill-switch": "pull the kill switch at full load, so many times",
    "cluster": "kill, freeze, cut off and move everything of a desk of seven services on three Kafka brokers",
    "slow-readers": "WebSocket clients that read nothing, so many times, beside orders that must not notice",
    "runaway": "send the same order as fast as can be until the account is stopped, so many times",
    "openapi": "so many right and wrong requests of every operation that the services document",
}
#: More memory than this, over what a desk had before, is a leak.
_GROWTH_BYTES_MAX: Final = 64 * 1024 * 1024


def _kills(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.kills import run_kills

    report = run_kills(directory, rounds=rounds, seed=seed, progress=_progress)
    return report, not report.violations


def _sends(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.sends import run_sends

    report = run_sends(load_settings("development"), rounds=rounds, seed=seed, progress=_progress)
    return report, not report.violations and not report.sent_twice


def _damage(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.damage import run_damage

    report = run_damage(directory, step=rounds, progress=_progress)
    return report, all(sweep.detected == sweep.tried for sweep in report.sweeps)


def _hostile(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.hostile import run_hostile

    report = run_hostile(directory, requests=rounds, seed=seed, progress=_progress)
    growth = report.resident_peak_bytes - report.resident_before_bytes
    return report, report.alive and not report.server_errors and growth <= _GROWTH_BYTES_MAX


def _recovery(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.recovery import run_recovery

    report = run_recovery(directory, orders=rounds, progress=_progress)
    return report, report.same_state


def _kill_switch(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.kill_switch import run_kill_switch

    report = run_kill_switch(directory, presses=rounds, progress=_progress)
    return report, not report.violations


def _slow_readers(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.slow_readers import run_slow_readers

    report = run_slow_readers(directory, rounds=rounds, progress=_progress)
    return report, not report.violations


def _runaway(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.runaway import run_runaway

    report = run_runaway(directory, rounds=rounds, progress=_progress)
    return report, not report.violations


def _openapi(directory: Path, rounds: int, seed: int) -> tuple[Any, bool]:
    from polaris_synapse.testing.faults.openapi import run_openapi

    report = run_openapi(directory, examples=rounds, seed=seed, progress=_progress)
    return report, report.alive and not report.violations


_RUNS: Final[dict[str, Callable[[Path, int, int], tuple[Any, bool]]]] = {
    "kills": _kills,
    "sends": _sends,
    "damage": _damage,
    "hostile": _hostile,
    "recovery": _recovery,
    "kill-switch": _kill_switch,
    "slow-readers": _slow_readers,
    "runaway": _runaway,
    "openapi": _openapi,
}


class _Progress:
    """One line that is written over on a terminal; a line for each tenth in a file."""

    def __init__(self) -> None:
        self._said = -1

    def __call__(self, text: str, share: float) -> None:
        """Show it."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{share:4.0%}  {text}" + ("\r\033[K" if share >= 1 else ""))
        elif int(share * 10) > self._said:
            self._said = int(share * 10)
            sys.stderr.write(f"{share:4.0%}  {text}\n")
        sys.stderr.flush()


_progress: Final = _Progress()


def main() -> int:
    """Run one of them and print its report; 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m polaris_synapse.testing.faults", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, meaning in _MEANING.items():
        command = commands.add_parser(name, help=meaning, description=meaning)
        if name in _ROUNDS:
            command.add_argument("--rounds", type=int, default=_ROUNDS[name], help=f"default {_ROUNDS[name]:,}")
        else:
            cluster_command.add_arguments(command)
        command.add_argument("--seed", type=int, default=1, help="the same seed, the same run")
        command.add_argument("--directory", type=Path, help="where to work; kept. Default: a folder that is removed")
        command.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments = parser.parse_args()
    if arguments.name in _ROUNDS and arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    if arguments.name not in _ROUNDS:
        if arguments.list:
            cluster_command.list_faults(arguments)
            return 0
        if problem := cluster_command.problem_of(arguments):
            parser.error(problem)
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix=f"polaris-{arguments.name}-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.name in _RUNS:
            report, holds = _RUNS[arguments.name](directory, arguments.rounds, arguments.seed)
        else:
            report, holds = cluster_command.run_command(arguments, directory)
    except ServerMissingError as error:
        parser.error(str(error))
    finally:
        if arguments.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    text = msgspec.json.encode({"figures": figures_of(report)} | msgspec.to_builtins(report))
    sys.stdout.buffer.write((text if arguments.json else msgspec.json.format(text, indent=2)) + b"\n")
    sys.stderr.write("Everything held.\n" if holds else "SOMETHING DID NOT HOLD: see the report.\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
