"""Redis for tests: a single server, a cluster of six nodes, and Sentinel with a master and two replicas."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from polaris_synapse.testing.servers.containers import Container, engine_runs
from polaris_synapse.testing.servers.policy import program
from polaris_synapse.testing.servers.process import (
    ServerDidNotStartError,
    ServerProcess,
    free_ports,
    server_folder,
)

VARIABLE: Final = "POLARIS_TEST_REDIS"
SENTINEL_NAME: Final = "polaris"
_PACKAGE: Final = "redis-server"
_SENTINEL_PACKAGE: Final = "redis-sentinel"
_IMAGE: Final = "redis:7"
_CLUSTER_NODES: Final = 6
_CLUSTER_OPTIONS: Final = ("--cluster-replicas", "1", "--cluster-yes")
_SENTINELS: Final = 3
_QUORUM: Final = 2
_FORM_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.05


class RedisServer:
    """A Redis that runs; ``url`` is what redis-py takes."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stop(self) -> None:
        """Nothing: the server is not ours."""


class NativeRedis(RedisServer):
    """One node of our own in a temporary folder, with nothing kept over a restart unless ``persistent``."""

    def __init__(self, port: int, password: str, folder: Path, *options: str, persistent: bool = False) -> None:
        super().__init__(f"redis://:{password}@127.0.0.1:{port}/0")
        self.port = port
        self.password = password
        self.folder = folder
        keep = ["--appendonly", "yes"] if persistent else ["--appendonly", "no", "--save", ""]
        command = [program("redis-server", package=_PACKAGE, variable=VARIABLE), "--port", str(port)]
        command += ["--bind", "127.0.0.1", "--dir", str(folder), "--requirepass", password, "--masterauth", password]
        # A replica that must wait for company before it gets its copy would delay every failover.
        command += ["--repl-diskless-sync-delay", "0", *keep, *options]
        self.process = ServerProcess(command, folder, self._is_ready)

    @classmethod
    def create(cls, *, persistent: bool = False) -> NativeRedis:
        """Start a single server. Raises ServerMissingError."""
        password = secrets.token_hex(16)
        server = cls(free_ports(1)[0], password, server_folder("redis"), persistent=persistent)
        server.process.start()
        return server

    def command(self, *words: str) -> str:
        """Send one command and return its answer as text; errors come as text too."""
        return _ask(self.port, self.password, words)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def start(self) -> None:
        """Start again over the same folder and port."""
        self.process.start()

    def stop(self) -> None:
        """Stop and remove everything."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        try:
            return self.command("PING") == "PONG"
        except OSError:
            return False


class RedisCluster:
    """Three masters with a replica each. Give several of ``ports`` to a client: any of them may be gone."""

    def __init__(self, nodes: list[NativeRedis]) -> None:
        self.nodes = nodes
        self.password = nodes[0].password

    @property
    def ports(self) -> list[int]:
        """The nodes' ports."""
        return [node.port for node in self.nodes]

    @property
    def url(self) -> str:
        """All nodes as the desk's setting takes them."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+cluster://:{self.password}@{hosts}"

    @classmethod
    def create(cls) -> RedisCluster:
        """Start six nodes and join them. Raises ServerMissingError or ServerDidNotStartError."""
        join = program("redis-cli", package=_PACKAGE)
        password = secrets.token_hex(16)
        ports = free_ports(2 * _CLUSTER_NODES)
        nodes = []
        for index in range(_CLUSTER_NODES):
            port, bus_port = ports[index], ports[_CLUSTER_NODES + index]
            options = ["--cluster-enabled", "yes", "--cluster-port", str(bus_port), "--cluster-node-timeout", "1500"]
            nodes.append(NativeRedis(port, password, server_folder("redis-node"), *options))
        cluster = cls(nodes)
        try:
            for node in nodes:
                node.process.start()
            addresses = [f"127.0.0.1:{node.port}" for node in nodes]
            done = subprocess.run(  # noqa: S603  # Redis's own program, found by name
                [join, "-a", password, "--no-auth-warning", "--cluster", "create", *addresses, *_CLUSTER_OPTIONS],
                capture_output=True,
                text=True,
                timeout=_FORM_SECONDS_MAX,
                check=False,
            )
            if done.returncode:
                raise ServerDidNotStartError(f"the nodes did not join: {done.stdout}{done.stderr}")
            _wait(lambda: all("cluster_state:ok" in node.command("CLUSTER", "INFO") for node in nodes), "agree")
            cluster.wait_for_replicas()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def masters(self) -> list[NativeRedis]:
        """The nodes that live and are masters now."""
        return [node for node in self.nodes if node.process.is_running and "role:master" in _replication(node)]

    def wait_for_replicas(self) -> None:
        """Return once every replica follows its master: before that a master's death is the end of its slots."""
        _wait(
            lambda: all(
                "role:master" in found or "master_link_status:up" in found
                for found in (_replication(node) for node in self.nodes if node.process.is_running)
            ),
            "replicate",
        )

    def stop(self) -> None:
        """Stop and remove every node."""
        for node in self.nodes:
            node.stop()


class RedisSentinel:
    """One master, two replicas, and three sentinels that promote a replica when the master has gone."""

    def __init__(self, nodes: list[NativeRedis], sentinels: list[NativeSentinel]) -> None:
        self.nodes = nodes
        self.sentinels = sentinels
        self.password = nodes[0].password

    @property
    def url(self) -> str:
        """All sentinels as the desk's setting takes them."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{self.password}@{hosts}/{SENTINEL_NAME}"

    @classmethod
    def create(cls) -> RedisSentinel:
        """Start everything. Raises ServerMissingError or ServerDidNotStartError."""
        program("redis-sentinel", package=_SENTINEL_PACKAGE)
        password = secrets.token_hex(16)
        ports = free_ports(3 + _SENTINELS)
        master = NativeRedis(ports[0], password, server_folder("redis-master"))
        follow = ("--replicaof", f"127.0.0.1 {ports[0]}")
        replicas = [NativeRedis(port, password, server_folder("redis-replica"), *follow) for port in ports[1:3]]
        found = cls([master, *replicas], [NativeSentinel(port, ports[0], password) for port in ports[3:]])
        try:
            for node in found.nodes:
                node.process.start()
            _wait(lambda: all("master_link_status:up" in _replication(node) for node in replicas), "replicate")
            for sentinel in found.sentinels:
                sentinel.process.start()
            _wait(lambda: all(sentinel.knows(_SENTINELS - 1, 2) for sentinel in found.sentinels), "watch")
        except BaseException:
            found.stop()
            raise
        return found

    def master(self) -> NativeRedis:
        """The node that the sentinels call master now."""
        port = self.sentinels[0].master_port()
        return next(node for node in self.nodes if node.port == port)

    def stop(self) -> None:
        """Stop and remove everything."""
        for sentinel in self.sentinels:
            sentinel.stop()
        for node in self.nodes:
            node.stop()


class NativeSentinel:
    """One sentinel in a temporary folder, behind the same password as what it watches."""

    def __init__(self, port: int, master_port: int, password: str) -> None:
        self.port = port
        self._password = password
        self._folder = server_folder("sentinel")
        configuration = self._folder / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nrequirepass {password}\n"
            f"sentinel monitor {SENTINEL_NAME} 127.0.0.1 {master_port} {_QUORUM}\n"
            f"sentinel auth-pass {SENTINEL_NAME} {password}\n"
            f"sentinel sentinel-pass {password}\n"
            f"sentinel down-after-milliseconds {SENTINEL_NAME} 1000\n"
            f"sentinel failover-timeout {SENTINEL_NAME} 5000\n",
            encoding="ascii",
        )
        command = [program("redis-sentinel", package=_SENTINEL_PACKAGE), str(configuration)]
        self.process = ServerProcess(command, self._folder, self._is_ready)

    def command(self, *words: str) -> str:
        """Send one command."""
        return _ask(self.port, self._password, words)

    def knows(self, others: int, replicas: int) -> bool:
        """Whether it has found the other sentinels and the master's replicas."""
        lines = self.command("SENTINEL", "MASTER", SENTINEL_NAME).split("\n")
        found = dict(zip(lines[::2], lines[1::2], strict=False))
        return found.get("num-other-sentinels") == str(others) and found.get("num-slaves") == str(replicas)

    def master_port(self) -> int:
        """The port of the master as it sees it."""
        return int(self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SENTINEL_NAME).split("\n")[1])

    def stop(self) -> None:
        """Stop and remove it."""
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        try:
            return self.command("PING") == "PONG"
        except OSError:
            return False


class ContainerRedis(RedisServer):
    """Redis in a container of the local Docker engine."""

    def __init__(self) -> None:
        password = secrets.token_hex(16)
        self._container = Container.run(_IMAGE, 6379, {}, "redis-server", "--requirepass", password)
        super().__init__(f"redis://:{password}@127.0.0.1:{self._container.port}/0")
        self._container.wait_until_healthy(("redis-cli", "-a", password, "ping"))

    def stop(self) -> None:
        """Remove the container."""
        self._container.remove()


def find_or_start() -> RedisServer:
    """A single server by the policy of this package. Raises ServerMissingError."""
    given = os.environ.get(VARIABLE)
    if given:
        return RedisServer(given)
    if engine_runs():
        return ContainerRedis()
    return NativeRedis.create()


def _replication(node: NativeRedis) -> str:
    return node.command("INFO", "replication")


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _FORM_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise ServerDidNotStartError(f"the nodes did not {what} within {_FORM_SECONDS_MAX:g} s")
        time.sleep(_POLL_SECONDS)


def _ask(port: int, password: str, words: tuple[str, ...]) -> str:
    """One command after the password, and its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        file = connection.makefile("rwb")
        for line in (("AUTH", password), words):
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in line]
            file.write((f"*{len(line)}\r\n" + "".join(parts)).encode())
        file.flush()
        _read_answer(file.readline, file.read)
        return _read_answer(file.readline, file.read)


def _read_answer(line: Callable[[], bytes], read: Callable[[int], bytes]) -> str:
    """One answer of Redis's protocol as text; the items of a list on lines of their own."""
    head = line().decode().rstrip("\r\n")
    kind, rest = head[:1], head[1:]
    if kind == "$":
        size = int(rest)
        return "" if size < 0 else read(size + 2)[:-2].decode()
    if kind == "*":
        return "\n".join(_read_answer(line, read) for _ in range(int(rest)))
    if not kind:
        raise ConnectionResetError("Redis closed the connection")
    return head if kind == "-" else rest
