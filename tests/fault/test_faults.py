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
from polaris_synapse.testing.faults.kill_switch import run_kill_switch
from polaris_synapse.testing.faults.kills import run_kills
from polaris_synapse.testing.faults.openapi import run_openapi
from polaris_synapse.testing.faults.recovery import run_recovery
from polaris_synapse.testing.faults.runaway import run_runaway
from polaris_synapse.testing.faults.sends import Instant, run_sends
from polaris_synapse.testing.faults.slow_readers import READERS, run_slow_readers

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


def test_no_order_is_accepted_after_the_kill_switch_at_full_load(tmp_path: Path) -> None:
    """Pulled twice under load: the journal has no order after it, and the venue itself has nothing open."""
    report = run_kill_switch(tmp_path, presses=2)
    assert report.violations == []
    assert report.answered > 100
    assert report.refusals["refused"] > 0


def test_an_account_that_runs_away_is_stopped_at_its_limit(tmp_path: Path) -> None:
    """Two thousand equal orders at once: the limit holds to the order, cancels pass, only an officer lets go."""
    report = run_runaway(tmp_path, rounds=1)
    assert report.violations == []
    assert report.accepted == (20,)
    assert set(report.refusals) == {"REPEATED_ORDER_THROTTLE"}


def test_clients_that_read_nothing_are_dropped_with_a_reason(tmp_path: Path) -> None:
    """Every stuck client is closed as a slow consumer while orders go on; how fast is for the long run to measure."""
    report = run_slow_readers(tmp_path, rounds=1)
    figures = {figure.name: figure.value for figure in report.figures}
    assert not [found for found in report.violations if "still there" in found]
    assert figures["refused"] == 0
    assert figures[f"order to answer with {READERS} stuck clients, p50 of the middle spell"] > 0


def test_every_service_answers_as_its_document_says(tmp_path: Path) -> None:
    """A right and a wrong request of every operation of every service: documented statuses and bodies, no 5xx."""
    report = run_openapi(tmp_path, examples=1, seed=random.randrange(2**32))
    assert report.violations == [], f"seed {report.seed}"
    assert report.alive
    assert len(report.operations) == 7
    assert all(count > 5 for count in report.operations.values())


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
