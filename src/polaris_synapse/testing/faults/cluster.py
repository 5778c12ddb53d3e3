"""Faults of a desk of services under load: processes killed, frozen, added and removed, brokers killed.

Orders are sent all the time; each acknowledgement is a promise. At the end everything is stopped and held against the
promises, the venue's own record and the log. See docs/how-to/cluster.md.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.routing import Destinations, partition_of
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.topics import partition_counts
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.desk.bus_settings import declared_topics
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.reference_data import assets_of
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.topics import RISK
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.cluster import SERVICES, ClusterDesk
from polaris_synapse.testing.faults.cluster_checks import (
    executed_twice,
    lost_orders,
    rebuilt_differently,
    unbalanced_assets,
    unbooked_trades,
)
from polaris_synapse.testing.faults.cluster_load import OrderLoad
from polaris_synapse.testing.servers.kafka import KafkaServer, NativeKafka
from polaris_synapse.testing.servers.process import ServerDidNotStartError

Progress = Callable[[str, float], None]
_SETTLE_SECONDS: Final = 1.0
_BACK_SECONDS_MAX: Final = 90.0
_FREEZE_SECONDS: Final = 30.0
_BROKER_STARTS_MAX: Final = 3
_ACCOUNT: Final = "main"
_OK: Final = 200


class FaultFigures(Struct, frozen=True, kw_only=True):
    """One fault. ``silence_seconds``: the longest time around it in which no order was acknowledged."""

    fault: str
    silence_seconds: float
    acknowledged: int
    unknown: int


class ClusterReport(Struct, frozen=True, kw_only=True):
    """What happened. ``violations`` is empty where everything held."""

    brokers: int
    start_seconds: float
    faults: tuple[FaultFigures, ...]
    acknowledged: int
    unknown: int
    refused: dict[str, int]
    median_milliseconds: float
    partitions_rebuilt: int
    violations: tuple[str, ...]


class ClusterRun:
    """One desk of services with a load on it, and the faults that can be done to it."""

    def __init__(self, desk: ClusterDesk, kafka: KafkaServer, load: OrderLoad, prefix: str) -> None:
        self.desk = desk
        self.kafka = kafka
        self.load = load
        self.prefix = prefix

    def kill(self, name: str) -> None:
        """SIGKILL every instance's first, and start it again, as a supervisor would."""
        service = self.desk.service(name)
        service.kill()
        service.launch()
        self.desk.wait_ready(seconds_max=_BACK_SECONDS_MAX)

    def freeze(self, name: str) -> None:
        """Let another instance take over from one that hangs, and then wake that one: it believes it is alone."""
        sleeper = self.desk.service(name)
        self.desk.add(name)
        self.desk.wait_ready(seconds_max=_BACK_SECONDS_MAX)
        sleeper.signal(signal.SIGSTOP)
        time.sleep(_FREEZE_SECONDS)
        sleeper.signal(signal.SIGCONT)
        self.desk.wait_ready(seconds_max=_BACK_SECONDS_MAX)
        self._remove(name, 1)

    def replace(self, name: str) -> None:
        """Add an instance, then take the first away in order: a rolling update."""
        self.desk.add(name)
        self.desk.wait_ready(seconds_max=_BACK_SECONDS_MAX)
        self._remove(name, 0)
        self.desk.wait_ready(seconds_max=_BACK_SECONDS_MAX)

    def _remove(self, name: str, number: int) -> None:
        self.desk.instances[name].pop(number).stop()

    def kill_broker(self, which: str) -> None:
        """SIGKILL a broker, ``any`` one or the ``leader`` of the account's partition, and start it again."""
        assert isinstance(self.kafka, NativeKafka), "only brokers of our own are killed"
        node = self.kafka.nodes[-1]
        if which == "leader":
            leader = self._leader()
            node = next(one for one in self.kafka.nodes if one.node_id == leader)
        node.process.kill()
        began = time.monotonic()
        self.load.wait_for_promise(began + _SETTLE_SECONDS, _BACK_SECONDS_MAX)
        for attempt in range(_BROKER_STARTS_MAX):
            try:
                node.process.start()
                break
            except ServerDidNotStartError:
                # On a machine under this load a broker may take longer than a server is usually waited for.
                if attempt == _BROKER_STARTS_MAX - 1:
                    raise
        self.kafka.wait_until_ready()

    def _leader(self) -> int:
        from confluent_kafka.admin import AdminClient

        admin: Any = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})
        topic = admin.list_topics(timeout=10).topics[f"{self.prefix}{RISK}"]
        return int(topic.partitions[partition_of(_ACCOUNT, len(topic.partitions))].leader)

    def carry_out(self, fault: str) -> FaultFigures:
        """Do one fault, named ``ACTION:WHAT``, and measure how long nobody was acknowledged."""
        action, _, what = fault.partition(":")
        actions: dict[str, Callable[[str], None]] = {
            "kill": self.kill,
            "freeze": self.freeze,
            "replace": self.replace,
            "broker": self.kill_broker,
        }
        promised, unknown = len(self.load.promises), len(self.load.unknown)
        began = time.monotonic()
        actions[action](what)
        done = time.monotonic()
        if self.load.wait_for_promise(done, _BACK_SECONDS_MAX) is None:
            raise TimeoutError(f"no order was acknowledged within {_BACK_SECONDS_MAX:g} s after {fault}")
        time.sleep(_SETTLE_SECONDS)
        return FaultFigures(
            fault=fault,
            silence_seconds=round(self.load.longest_silence(began, time.monotonic()), 2),
            acknowledged=len(self.load.promises) - promised,
            unknown=len(self.load.unknown) - unknown,
        )


def all_faults(*, brokers: int) -> list[str]:
    """Every fault there is for a cluster of so many brokers."""
    faults = [f"kill:{name}" for name in SERVICES]
    faults += ["freeze:risk-manager", "freeze:execution-engine", "freeze:order-matching-engine"]
    faults += ["replace:risk-manager", "replace:order-gateway", "replace:execution-engine"]
    if brokers > 1:
        faults += ["broker:any", "broker:leader"]
    return faults


def core_makers(settings: DeskSettings) -> dict[str, Callable[[int], Core]]:
    """The cores that are replayed, as the services make them."""
    valuation = assets_of(settings)[settings.valuation_asset]
    return {
        "risk": lambda partition: RiskCore(partition, settings.valuation_asset),
        "matching": lambda _: MatchingCore(),
        "execution": lambda partition: ExecutionCore(partition=partition),
        "compliance": lambda partition: ComplianceCore(partition=partition),
        "agents": lambda partition: AgentsCore(valuation=valuation, partition=partition),
    }


def run_cluster(
    directory: Path,
    kafka: KafkaServer,
    faults: Sequence[str],
    *,
    seed: int = 1,
    prefix: str = "faults.",
    progress: Progress | None = None,
) -> ClusterReport:
    """Run the faults one after the other. Raises ServiceDidNotStartError or TimeoutError where the desk stays away."""
    replicas = min(kafka.brokers, 3)
    with ClusterDesk(directory / "desk", kafka.bootstrap, prefix=prefix, replicas=replicas) as desk:
        desk.make_topics()
        start_seconds = desk.start()
        load = OrderLoad(desk, seed)
        run = ClusterRun(desk, kafka, load, prefix)
        load.start()
        figures: list[FaultFigures] = []
        try:
            load.wait_for_promise(time.monotonic(), _BACK_SECONDS_MAX)
            for number, fault in enumerate(faults):
                if progress is not None:
                    progress(fault, number / len(faults))
                figures.append(run.carry_out(fault))
        finally:
            load.stop()
        _settle(desk)
        desk.stop()
    return _judge(directory / "desk", kafka, prefix, load, figures, start_seconds)


def _settle(desk: ClusterDesk) -> None:
    """Until nothing is open any more, or for as long as an unknown outcome may take to be found out."""
    deadline = time.monotonic() + _BACK_SECONDS_MAX
    while time.monotonic() < deadline:
        answer = desk.request("order-gateway", "GET", f"/orders?account={_ACCOUNT}&open_only=true")
        # Just after a fault the read models may be behind, and say so.
        if answer.status_code == _OK and not answer.json()["orders"]:
            return
        time.sleep(_SETTLE_SECONDS)


def _judge(
    directory: Path,
    kafka: KafkaServer,
    prefix: str,
    load: OrderLoad,
    figures: Sequence[FaultFigures],
    start_seconds: float,
) -> ClusterReport:
    settings = load_settings("development")
    destinations = Destinations(partition_counts(declared_topics(settings.bus.kafka)))
    host = KafkaHostSettings(bootstrap=kafka.bootstrap, topic_prefix=prefix)
    rebuilt, differing = rebuilt_differently(host, destinations, directory, core_makers(settings))
    violations = [
        *lost_orders(directory, load.promises),
        *executed_twice(directory),
        *unbooked_trades(directory),
        *unbalanced_assets(directory),
        *differing,
    ]
    seconds = sorted(load.seconds)
    return ClusterReport(
        brokers=kafka.brokers,
        start_seconds=round(start_seconds, 1),
        faults=tuple(figures),
        acknowledged=len(load.promises),
        unknown=len(load.unknown),
        refused=load.refused,
        median_milliseconds=round(seconds[len(seconds) // 2] * 1000, 1) if seconds else 0.0,
        partitions_rebuilt=rebuilt,
        violations=tuple(violations),
    )
