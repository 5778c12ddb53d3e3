"""The servers of a desk of services that its faults may kill: brokers, databases, a cache, and a network to cut."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from polaris_synapse.testing.faults.cluster_load import ACCOUNTS, BOOK_SYMBOLS, PARTITIONS, VENUE_SYMBOLS
from polaris_synapse.testing.faults.cluster_network import NetworkLink
from polaris_synapse.testing.order_load import benchmark_settings
from polaris_synapse.testing.servers.kafka import NativeKafka
from polaris_synapse.testing.servers.postgres import NativePostgres
from polaris_synapse.testing.servers.redis import NativeRedis

#: Snapshots are taken this often, so that a short run has many to compare.
_SNAPSHOT_MESSAGES: Final = 400


class ClusterServers:
    """Brokers, PostgreSQL with the two databases of a desk, and Redis. All are made here, for all may be killed.

    Raises ServerMissingError where one is not installed.
    """

    def __init__(self, directory: Path, brokers: int) -> None:
        self.directory = directory
        self._started: list[NativeKafka | NativePostgres | NativeRedis | NetworkLink] = []
        try:
            self.postgres = NativePostgres.create()
            self._started.append(self.postgres)
            self.redis = NativeRedis.create()
            self._started.append(self.redis)
            self.kafka = NativeKafka.create(brokers, linked=True)
            self._started.append(self.kafka)
            self.link = NetworkLink(
                {node.ports.link_advertised: node.ports.link for node in self.kafka.nodes},
            )
            self.link.start()
            self._started.append(self.link)
        except BaseException:
            self.stop()
            raise
        self.orders_url = self.postgres.url(self.postgres.new_database("orderdb"))
        self.compliance_url = self.postgres.url(self.postgres.new_database("compliancedb"))

    def environment(self) -> dict[str, str]:
        """What the services are told of these servers."""
        counts = {f"POLARIS_BUS__KAFKA__PARTITIONS__{name}": str(PARTITIONS) for name in _COUNTED}
        return counts | {
            "POLARIS_DATABASES__ORDERS_URL": self.orders_url,
            "POLARIS_DATABASES__COMPLIANCE_URL": self.compliance_url,
            "POLARIS_DATABASES__READERS_MAX": "1",
            "POLARIS_CACHE__URL": self.redis.url,
            "POLARIS_BUS__KAFKA__SNAPSHOT_INTERVAL_MESSAGES": str(_SNAPSHOT_MESSAGES),
        }

    @property
    def linked_environment(self) -> dict[str, str]:
        """What a service is told whose network can be cut, over everything else."""
        return {"POLARIS_BUS__KAFKA__BOOTSTRAP": self.kafka.link_bootstrap}

    def keep_logs(self) -> None:
        """Copy what the brokers printed beside the desk's own logs, before their folders go."""
        for node in self.kafka.nodes:
            shutil.copy(node.process.log_file, self.directory / node.process.log_file.name)

    def stop(self) -> None:
        """Stop and remove everything."""
        while self._started:
            self._started.pop().stop()

    def __enter__(self) -> ClusterServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.keep_logs()
        self.stop()


_COUNTED: Final = ("RISK", "MATCHING", "EXECUTION", "MARKET_DATA", "FACTS", "ANSWERS")


def write_cluster_settings(path: Path) -> Path:
    """Settings of a desk that takes every order, with a venue's symbol and a book of its own in each partition."""
    settings: dict[str, Any] = benchmark_settings(ACCOUNTS)
    common = {"quote": "USDT", "tick_size": "0.01", "min_notional": "5"}
    bitcoin = common | {"base": "BTC", "lot_size": "0.00001"}
    ether = common | {"base": "ETH", "lot_size": "0.0001"}
    kinds = (bitcoin, ether)
    settings["assets"] = [{"code": code, "decimals": 8} for code in ("USDT", "BTC", "ETH")]
    settings["instruments"] = [
        *({"symbol": symbol, "venue": "paper"} | kind for symbol, kind in zip(VENUE_SYMBOLS, kinds, strict=True)),
        *(
            {"symbol": symbol, "venue": "internal", "reference_symbol": reference} | kind
            for symbol, reference, kind in zip(BOOK_SYMBOLS, VENUE_SYMBOLS, kinds, strict=True)
        ),
    ]
    for account in settings["accounts"]:
        account["deposits"] = {"USDT": "1000000000", "BTC": "10000", "ETH": "100000"}
    del settings["order_port"]
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path
