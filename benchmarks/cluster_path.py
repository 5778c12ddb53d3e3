"""Orders through seven services on Kafka, from HTTP request to risk's verdict: ``python benchmarks/cluster_path.py``.

It starts a broker of its own (Java 17) and all services on this machine, so the figures are of everything together.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import msgspec

from polaris_synapse.desk.place import operator_key_file
from polaris_synapse.testing.cluster import ClusterDesk
from polaris_synapse.testing.faults.load import write_fault_settings
from polaris_synapse.testing.order_load import SYMBOL, account_names
from polaris_synapse.testing.servers.kafka import find_or_start
from polaris_synapse.web.signing import SigningKey, read_key_file, signed_headers


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One load: so many clients, each with one order under way."""

    clients: int
    orders: int
    refused: int
    orders_a_second: int
    p50_ms: float
    p99_ms: float


async def _client(
    url: str, key: SigningKey, number: int, until: float, seconds: list[float], refused: list[str]
) -> None:
    accounts = account_names(4)
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        made = 0
        while time.monotonic() < until:
            made += 1
            body = msgspec.json.encode(
                {
                    "account": accounts[number % len(accounts)],
                    "client_order_id": f"b{number}-{made}-{until:.0f}",
                    "symbol": SYMBOL,
                    "side": "BUY" if made % 2 else "SELL",
                    "type": "LIMIT",
                    "time_in_force": "IOC",
                    "quantity": f"0.{made % 900 + 100:05d}",
                    "price": "60000",
                }
            )
            headers = signed_headers(key, "POST", "/orders", body) | {"content-type": "application/json"}
            began = time.perf_counter()
            answer = await client.post(f"{url}/orders", content=body, headers=headers)
            if answer.status_code == 201:
                seconds.append(time.perf_counter() - began)
            else:
                refused.append(answer.text)


async def measure(url: str, key: SigningKey, clients: int, duration_seconds: float) -> Figures:
    """Closed loop: every client sends its next order when the last is answered."""
    seconds: list[float] = []
    refused: list[str] = []
    began = time.monotonic()
    await asyncio.gather(
        *(_client(url, key, number, began + duration_seconds, seconds, refused) for number in range(clients))
    )
    elapsed = time.monotonic() - began
    seconds.sort()
    if not seconds:
        raise RuntimeError(f"no order was accepted: {refused[:1]}")
    return Figures(
        clients=clients,
        orders=len(seconds),
        refused=len(refused),
        orders_a_second=round(len(seconds) / elapsed),
        p50_ms=round(seconds[len(seconds) // 2] * 1000, 1),
        p99_ms=round(seconds[len(seconds) * 99 // 100] * 1000, 1),
    )


def main() -> int:
    """Start everything, measure, print lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32], help="default 1 8 32")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each, default 8")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polaris-cluster-") as folder, find_or_start() as kafka:
        directory = Path(folder) / "desk"
        settings = write_fault_settings(Path(folder) / "settings.yml")
        prefix = f"bench-{time.time_ns()}."
        with ClusterDesk(directory, kafka.bootstrap, prefix=prefix, config=str(settings)) as desk:
            desk.make_topics()
            desk.start(seconds_max=200)
            key = read_key_file(operator_key_file(directory))
            for clients in arguments.clients:
                figures = asyncio.run(measure(desk.service("order-gateway").url, key, clients, arguments.seconds))
                sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
