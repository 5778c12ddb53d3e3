"""Faults of a desk of seven services, short enough for every day; docs/how-to/cluster.md has the long run."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from polaris_synapse.testing.faults.cluster import run_cluster
from polaris_synapse.testing.servers.kafka import KafkaServer

#: Each kills or replaces a process in the order path, and waits until orders go through again.
FAULTS = ("kill:risk-manager", "kill:execution-engine", "replace:order-gateway")


@pytest.mark.timeout(600)
def test_services_killed_under_load_lose_and_repeat_nothing(kafka_server: KafkaServer, tmp_path: Path) -> None:
    """Acknowledged orders are there, fills are the venue's own, the ledger balances, and the log gives each state."""
    report = run_cluster(tmp_path, kafka_server, FAULTS, prefix=f"t-{secrets.token_hex(4)}.")
    assert report.violations == ()
    assert report.acknowledged > 20
    assert report.partitions_rebuilt >= 12
    assert [figures.fault for figures in report.faults] == list(FAULTS)
