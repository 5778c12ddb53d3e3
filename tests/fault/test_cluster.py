"""Faults of a desk of seven services, short enough for every day; docs/how-to/cluster.md has the long run."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from tests.real_servers import start_or_skip

from polaris_synapse.testing.faults.cluster import ClusterReport, run_cluster
from polaris_synapse.testing.faults.cluster_actions import QUICK_FAULTS, QUICK_TIMES, all_faults
from polaris_synapse.testing.faults.cluster_load import longest_gap
from polaris_synapse.testing.faults.cluster_network import Cut, NetworkLink
from polaris_synapse.testing.servers.process import free_ports

#: Long enough to be sure that nothing comes, on a machine that is busy.
SILENCE_SECONDS = 0.5
WAIT_SECONDS_MAX = 20.0


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ClusterReport:
    """The short run: a crash, a partition of the network, and PostgreSQL away, on one broker."""
    directory = tmp_path_factory.mktemp("faults")
    return start_or_skip(
        lambda: run_cluster(directory, QUICK_FAULTS, brokers=1, times=QUICK_TIMES, spare=False),
    )


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_done_twice(report: ClusterReport) -> None:
    """Promises, the venue's record, the log folded anew and the read models agree to the last unit."""
    assert report.violations == ()
    assert report.acknowledged > 50
    assert report.executions > 20
    assert report.states_compared >= 8
    assert [figures.fault for figures in report.faults] == list(QUICK_FAULTS)


@pytest.mark.timeout(900)
def test_the_checks_notice_what_is_planted(report: ClusterReport) -> None:
    """A lost order, a doubled fill, a missing record and their like are each noticed in the evidence of this run."""
    assert len(report.planted) >= 10
    assert {one.violation: one.noticed for one in report.planted if not one.noticed} == {}


def test_every_service_and_server_has_its_fault() -> None:
    """What can be killed is killed, what decides about money is frozen and cut off, and what is shared is moved."""
    faults = all_faults(brokers=3)
    assert len(faults) == len(set(faults))
    assert sum(fault.startswith("kill:") for fault in faults) == 7
    for name in ("risk-manager", "execution-engine", "order-matching-engine"):
        assert {f"freeze:{name}", f"blackhole:{name}", f"rebalance:{name}"} <= set(faults)
    assert {"broker:any", "broker:leader", "server:postgres", "server:redis"} <= set(faults)
    assert set(QUICK_FAULTS) <= set(all_faults(brokers=1))


def test_a_gap_is_the_longest_time_between_two_moments_within_a_window() -> None:
    """The edges of the window count as moments, and what lies outside of it does not count."""
    assert longest_gap({"a": [0.0, 11.0, 14.0, 30.0], "b": [10.5, 11.0, 19.0]}, 10.0, 20.0) == (8.0, "b")
    assert longest_gap({"a": []}, 10.0, 20.0) == (10.0, "a")


class Echo:
    """A server that sends back what it hears."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.heard = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(100):
                    self.heard += data
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        """Listen no more."""
        self._server.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server behind the link."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def place(echo: Echo) -> Iterator[tuple[NetworkLink, int]]:
    """A link to the server, and the port at which clients take it."""
    (port,) = free_ports(1)
    with NetworkLink({port: echo.port}) as link:
        yield link, port


def connect(port: int) -> socket.socket:
    """A client's connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS_MAX)


def is_silent(client: socket.socket) -> bool:
    """Whether nothing comes for a while."""
    client.settimeout(SILENCE_SECONDS)
    try:
        client.recv(100)
    except TimeoutError:
        return True
    finally:
        client.settimeout(WAIT_SECONDS_MAX)
    return False


def test_what_is_sent_into_a_blackhole_arrives_when_it_heals(place: tuple[NetworkLink, int], echo: Echo) -> None:
    """Established and new connections are held alike, nothing passes either way, and nothing is lost."""
    link, port = place
    with connect(port) as old:
        old.sendall(b"before")
        assert old.recv(100) == b"before"
        link.cut(Cut.BLACKHOLE)
        with connect(port) as new:
            for client in (old, new):
                client.sendall(b"during")
                assert is_silent(client)
            assert echo.heard == b"before"
            link.cut(Cut.NOTHING)
            assert (old.recv(100), new.recv(100)) == (b"during", b"during")


def test_a_deaf_service_is_heard(place: tuple[NetworkLink, int], echo: Echo) -> None:
    """What it says arrives, and the answers come when it heals."""
    link, port = place
    with connect(port) as client:
        link.cut(Cut.DEAF)
        client.sendall(b"hello")
        assert is_silent(client)
        assert echo.heard == b"hello"
        link.cut(Cut.NOTHING)
        assert client.recv(100) == b"hello"


def test_a_reset_breaks_connections_and_takes_no_new_ones(place: tuple[NetworkLink, int]) -> None:
    """Until it heals every connection ends at once."""
    link, port = place
    with connect(port) as client:
        client.sendall(b"x")
        assert client.recv(100) == b"x"
        link.cut(Cut.RESET)
        with pytest.raises(ConnectionError):
            client.recv(100)
    with connect(port) as late, pytest.raises(ConnectionError):
        late.recv(100)
    link.cut(Cut.NOTHING)
    with connect(port) as again:
        again.sendall(b"y")
        assert again.recv(100) == b"y"
