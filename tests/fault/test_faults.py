"""The fault runs of the shipped command, short enough for every day; docs/faults.md has the long ones."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec

from polaris_synapse.desk.loading import load_settings
from polaris_synapse.testing.faults.damage import run_damage
from polaris_synapse.testing.faults.hostile import run_hostile
from polaris_synapse.testing.faults.kills import run_kills
from polaris_synapse.testing.faults.recovery import run_recovery
from polaris_synapse.testing.faults.sends import Instant, run_sends

GROWTH_BYTES_MAX = 64 * 1024 * 1024


def quietly(_text: str, _share: float) -> None:
    """No progress."""


def test_kills_under_load_violate_nothing(tmp_path: Path) -> None:
    """A few SIGKILLs of a real desk under load lose nothing that was acknowledged and repeat nothing."""
    seed = random.randrange(2**32)
    report = run_kills(tmp_path, rounds=3, seed=seed, progress=quietly)
    assert report.violations == [], f"seed {seed}"
    assert report.acknowledged > 10
    assert report.kills >= 3


def test_no_order_is_sent_twice_whenever_the_process_dies() -> None:
    """Crashes at each instant around a send: no second send, and the desk comes to the venue's truth."""
    seed = random.randrange(2**32)
    report = run_sends(load_settings("development"), rounds=120, seed=seed)
    assert report.violations == [], f"seed {seed}"
    assert report.sent_twice == 0
    assert set(report.instants) == set(Instant)
    assert any("REJECTED" in outcome for outcome in report.outcomes), "none of the orders was found to be absent"


def test_no_damage_to_a_journal_passes_unnoticed(tmp_path: Path) -> None:
    """Flipped bits of a record and of the log, and torn tails of any length, are each detected."""
    report = run_damage(tmp_path, step=43, progress=quietly)
    for sweep in report.sweeps:
        assert sweep.silent == []
        assert sweep.tried == sweep.detected > 10


def test_hostile_requests_are_refused_and_leave_no_trace(tmp_path: Path) -> None:
    """Two thousand hostile requests end in no server error, honest orders go on, and memory stays bounded."""
    seed = random.randrange(2**32)
    report = run_hostile(tmp_path, requests=2_000, seed=seed, progress=quietly)
    assert report.server_errors == [], f"seed {seed}"
    assert report.honest_failures == [], f"seed {seed}"
    assert report.alive
    assert "no answer" not in report.statuses
    assert report.resident_peak_bytes - report.resident_before_bytes < GROWTH_BYTES_MAX


def test_recovery_comes_to_the_same_state_from_the_journal_and_from_a_snapshot(tmp_path: Path) -> None:
    """Five thousand journaled orders are replayed, then restored, to equal states."""
    report = run_recovery(tmp_path, orders=5_000, progress=quietly)
    assert report.same_state
    assert report.from_the_first_message.messages == report.journal_messages > 5_000
    assert (report.from_a_snapshot.messages, report.from_a_snapshot.started_from) == (0, report.journal_messages)
    assert report.from_a_snapshot.open_orders > 100


def test_the_command_reports_in_json_and_by_its_exit_code(tmp_path: Path) -> None:
    """`python -m polaris_synapse.testing.faults` runs one of them, prints its report and says whether all held."""
    run = subprocess.run(
        [sys.executable, "-m", "polaris_synapse.testing.faults", "sends", "--rounds", "12", "--json"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert msgspec.json.decode(run.stdout)["crashes"] == 12
