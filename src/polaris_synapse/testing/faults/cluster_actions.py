"""What can be done to a desk of services while orders flow: each fault, and the way back from it.

A fault is named ``ACTION:WHAT``, such as ``kill:risk-manager``. When an action returns, whatever it broke runs again.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx2
from msgspec import Struct

from polaris_synapse.bus.kafka.routing import partition_of
from polaris_synapse.domain.topics import RISK
from polaris_synapse.testing.cluster import SERVICES, ClusterDesk, ServiceDidNotStartError, ServiceProcess
from polaris_synapse.testing.faults.cluster_load import ACCOUNTS, PARTITIONS, OrderLoad
from polaris_synapse.testing.faults.cluster_network import Cut
from polaris_synapse.testing.faults.cluster_servers import ClusterServers

#: How long the desk may take for anything before it counts as gone; generous, for the machine may do much else.
BACK_SECONDS_MAX: Final = 300.0
_POLL_SECONDS: Final = 0.1
_HOLDING_SECONDS_MAX: Final = 120.0
#: How often it is looked whether a process has ended.
_LOOK_SECONDS: Final = 5.0
_OK: Final = 200
#: Services that decide about orders and money; two instances share the partitions of each.
_SILENT: Final = ("risk-manager", "order-matching-engine", "execution-engine")
#: Services that say which partitions they have.
_HOLDING: Final = (*_SILENT, "compliance-gateway", "llm-agents", "market-data-handler")


class FaultTimes(Struct, frozen=True, kw_only=True):
    """How long what is away stays away."""

    freeze_seconds: float = 30.0
    cut_seconds: float = 40.0
    server_seconds: float = 15.0


class Faults:
    """The faults of one desk. ``spare``: every service has a second instance."""

    def __init__(
        self,
        desk: ClusterDesk,
        servers: ClusterServers,
        load: OrderLoad,
        prefix: str,
        times: FaultTimes,
        *,
        spare: bool,
    ) -> None:
        self._desk = desk
        self._servers = servers
        self._load = load
        self._prefix = prefix
        self._times = times
        self._spare = spare
        #: Services that ended by themselves, which a supervisor starts again: once each is a line.
        self.ended: list[str] = []
        self._actions: Final[dict[str, Callable[[str], str]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "rebalance": self._rebalance,
            "broker": self._kill_broker,
            "server": self._kill_server,
            "blackhole": lambda name: self._cut(name, Cut.BLACKHOLE),
            "deaf": lambda name: self._cut(name, Cut.DEAF),
            "reset": lambda name: self._cut(name, Cut.RESET),
        }

    def carry_out(self, fault: str) -> str:
        """Do one and undo it; in words, whom it met."""
        action, _, what = fault.partition(":")
        return self._actions[action](what)

    def start_instances(self) -> float:
        """Start the desk, then the second instances; the seconds that took."""
        for name in SERVICES:
            self._desk.add(name)
        seconds = self._wait_ready()
        if self._spare:
            for name in SERVICES:
                self._desk.add(name)
            seconds += self._wait_ready()
        return seconds

    # --- services ---

    def _kill(self, name: str) -> str:
        """SIGKILL the instance that has work, and start it again, as a supervisor would."""
        service, held = self._working(name)
        service.kill()
        service.launch()
        self._wait_ready()
        return held

    def _freeze(self, name: str) -> str:
        """Let another instance take over from one that hangs, and then wake that one: it believes it is alone."""
        sleeper, held = self._working(name)
        extra = None if self._spare else self._desk.add(name)
        self._wait_ready()
        sleeper.signal(signal.SIGSTOP)
        try:
            time.sleep(self._times.freeze_seconds)
        finally:
            sleeper.signal(signal.SIGCONT)
        self._wait_ready()
        if extra is not None:
            self._remove(name, extra)
        return held

    def _rebalance(self, name: str) -> str:
        """Add an instance and take the oldest away in order, twice: partitions move each time."""
        _, held = self._working(name)
        for _ in range(2):
            self._desk.add(name)
            self._wait_ready()
            self._remove(name, self._desk.service(name))
            self._wait_ready()
        return held

    def _cut(self, name: str, cut: Cut) -> str:
        """Cut the network between one working instance and all brokers for a while, and heal it.

        The instance is one of its own, and takes the place of the oldest, whose partitions it so gets.
        """
        link = self._servers.link
        linked = self._desk.add(name, self._servers.linked_environment)
        if not self._spare:
            # Somebody must be there to take over.
            self._desk.add(name)
        self._wait_ready()
        self._remove(name, self._desk.service(name))
        self._wait_ready()
        held = self._wait_holding(linked) if name in _HOLDING else "whatever it had"
        link.cut(cut)
        try:
            time.sleep(self._times.cut_seconds)
        finally:
            link.cut(Cut.NOTHING)
        self._wait_ready()
        if self._spare:
            self._desk.add(name)
            self._wait_ready()
        self._remove(name, linked)
        self._wait_ready()
        return held

    def _remove(self, name: str, service: ServiceProcess) -> None:
        # Out of the list first, so that no order is sent to it any more.
        self._desk.instances[name].remove(service)
        service.stop()

    def _wait_ready(self) -> float:
        """Return once all are ready; who ended by itself meanwhile is noted and started again."""
        began = time.monotonic()
        while True:
            self._start_again()
            try:
                self._desk.wait_ready(seconds_max=_LOOK_SECONDS)
            except ServiceDidNotStartError:
                if time.monotonic() - began > BACK_SECONDS_MAX:
                    raise
            else:
                return time.monotonic() - began

    def _supervised(self, wait: Callable[[], object]) -> None:
        """Wait for something; a service that ends by itself meanwhile is started again, as a supervisor would."""
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            while not waiting.done():
                self._start_again()
                time.sleep(_POLL_SECONDS)
            waiting.result()

    def _start_again(self) -> None:
        for name, instances in self._desk.instances.items():
            for service in instances:
                if not service.running:
                    story = service.story().strip().splitlines()
                    self.ended.append(f"{name} ended by itself: {story[-1] if story else 'it said nothing'}")
                    service.stop()
                    service.launch()

    def _working(self, name: str) -> tuple[ServiceProcess, str]:
        """An instance that has work to lose, and what it has."""
        if name not in _HOLDING:
            return self._desk.service(name), "whatever it had"
        deadline = time.monotonic() + _HOLDING_SECONDS_MAX
        while time.monotonic() < deadline:
            for service in self._desk.instances[name]:
                if held := self._held(service):
                    return service, held
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"no instance of {name} has got a partition within {_HOLDING_SECONDS_MAX:g} s")

    def _wait_holding(self, service: ServiceProcess) -> str:
        deadline = time.monotonic() + _HOLDING_SECONDS_MAX
        while time.monotonic() < deadline:
            if held := self._held(service):
                return held
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"the new {service.name} has got no partition within {_HOLDING_SECONDS_MAX:g} s")

    def _held(self, service: ServiceProcess) -> str:
        """The partitions that an instance has brought up to date, as ``risk/0 risk/1``."""
        try:
            answer = self._desk.client.get(f"{service.url}/partitions")
        except httpx2.TransportError:
            return ""
        if answer.status_code != _OK:
            return ""
        found: list[dict[str, Any]] = answer.json()["partitions"]
        return " ".join(f"{one['core']}/{one['partition']}" for one in found if one["live"])

    # --- servers ---

    def _kill_broker(self, which: str) -> str:
        """SIGKILL a broker, ``any`` one or the ``leader`` of an account's partition of risk, and start it again."""
        kafka = self._servers.kafka
        partition = partition_of(ACCOUNTS[0], PARTITIONS)
        node = kafka.nodes[-1]
        if which == "leader":
            leader = self._leader(partition)
            node = next(one for one in kafka.nodes if one.node_id == leader)
        node.process.kill()
        killed = time.monotonic()
        # The others must do without it before it is back.
        self._supervised(lambda: self._load.wait_for_promises(killed, BACK_SECONDS_MAX))
        node.process.start()
        self._supervised(kafka.wait_until_ready)
        self._supervised(kafka.wait_until_in_sync)
        self._wait_ready()
        return f"broker {node.node_id}" + (f", leader of {RISK}/{partition}" if which == "leader" else "")

    def _leader(self, partition: int) -> int:
        from confluent_kafka.admin import AdminClient

        admin: Any = AdminClient(
            {"bootstrap.servers": self._servers.kafka.bootstrap, "log_level": 0, "socket.timeout.ms": 10_000}
        )
        topic = admin.list_topics(timeout=10).topics[f"{self._prefix}{RISK}"]
        return int(topic.partitions[partition].leader)

    def _kill_server(self, which: str) -> str:
        """SIGKILL ``postgres`` or ``redis``, leave it away for a while, and start it again."""
        server = self._servers.postgres if which == "postgres" else self._servers.redis
        server.kill()
        time.sleep(self._times.server_seconds)
        server.start()
        self._wait_ready()
        return f"{which}, away for {self._times.server_seconds:g} s"


#: What is done in CI within two minutes, on one broker: a crash, a partition of the network, and the databases away.
QUICK_FAULTS: Final = ("kill:risk-manager", "blackhole:execution-engine", "server:postgres")
#: Away for longer than a group waits for a member that is silent, and no longer.
QUICK_TIMES: Final = FaultTimes(freeze_seconds=15.0, cut_seconds=15.0, server_seconds=4.0)


def all_faults(*, brokers: int) -> list[str]:
    """Every fault there is for a cluster of so many brokers."""
    faults = [f"kill:{name}" for name in SERVICES]
    faults += [f"freeze:{name}" for name in _SILENT]
    faults += [f"blackhole:{name}" for name in _SILENT]
    faults += ["deaf:execution-engine", "reset:risk-manager", "blackhole:order-gateway"]
    faults += [f"rebalance:{name}" for name in (*_SILENT, "order-gateway")]
    faults += ["server:postgres", "server:redis"]
    if brokers > 1:
        faults += ["broker:any", "broker:leader"]
    return faults
