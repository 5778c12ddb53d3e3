"""Prometheus for tests: scrapes services on loopback and answers expressions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2
import yaml

from polaris_synapse.testing.servers.policy import program
from polaris_synapse.testing.servers.process import ServerProcess, free_ports, server_folder

_PACKAGE: Final = "prometheus"
_QUERY_SECONDS_MAX: Final = 10.0
_OK: Final = 200


class ExpressionError(ValueError):
    """Prometheus does not understand an expression; the message is its own."""


class PrometheusServer:
    """One server that scrapes every second. ``jobs``: the ports of 127.0.0.1 to ask, by job name."""

    def __init__(self, jobs: Mapping[str, int], rule_files: Sequence[str] = ()) -> None:
        self._folder = server_folder("prometheus")
        self._port = free_ports(1)[0]
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": list(rule_files),
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for name, port in jobs.items()
            ],
        }
        file = self._folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        command = [
            program("prometheus", package=_PACKAGE),
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self.process = ServerProcess(command, self._folder, self._is_ready)
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=_QUERY_SECONDS_MAX)

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == _OK
        except httpx2.TransportError:
            return False

    def start(self) -> None:
        """Start, and return when it answers."""
        self.process.start()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now. Raises ExpressionError."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        if answer["status"] != "success":
            raise ExpressionError(f"{answer.get('error')}: {expression}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def stop(self) -> None:
        """Stop and remove everything."""
        self._client.close()
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
