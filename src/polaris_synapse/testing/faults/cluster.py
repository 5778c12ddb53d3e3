"""Faults of a desk of services under load: everything that can die is killed, frozen, cut off, moved and replaced.

Orders are sent all the time; each acknowledgement is a promise. After each fault the read models must have every
promise; at the end everything is stopped, and four accounts of what happened are held against each other: the promises,
the venue's own record, the log folded anew, and the read models. See docs/faults.md.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx2
from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.topics import partition_counts
from polaris_synapse.desk.bus_settings import declared_topics, kafka_settings
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.reference_data import assets_of, instruments_of
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.money import parse_amount
from polaris_synapse.domain.orders import Order, OrderState
from polaris_synapse.storage.database import DatabaseUnavailableError
from polaris_synapse.testing.cluster import ClusterDesk, ServiceDidNotStartError
from polaris_synapse.testing.faults.cluster_actions import BACK_SECONDS_MAX, Faults, FaultTimes
from polaris_synapse.testing.faults.cluster_checks import judge
from polaris_synapse.testing.faults.cluster_evidence import (
    Evidence,
    LogReader,
    SnapshotKey,
    newest_fills,
    order_ids,
    read_models,
    read_snapshots,
    read_venue,
)
from polaris_synapse.testing.faults.cluster_load import ACCOUNTS, BOOK_SYMBOLS, VENUE_SYMBOLS, OrderLoad, longest_gap
from polaris_synapse.testing.faults.cluster_planted import Planted, plant
from polaris_synapse.testing.faults.cluster_refold import Refold, core_makers, refold
from polaris_synapse.testing.faults.cluster_servers import ClusterServers, write_cluster_settings
from polaris_synapse.testing.servers.process import ServerDidNotStartError

#: Called with what happens, and with the share of the run that is behind it.
Progress = Callable[[str, float], None]
_PREFIX: Final = "faults."
_SETTLE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.2
_QUIET_LOOKS: Final = 3
_OK: Final = 200
_SENTENCE_CHARACTERS_MAX: Final = 300


class FaultFigures(Struct, frozen=True, kw_only=True):
    """One fault. ``met``: whom it met. ``silence_seconds``: the longest time that one trader waited for the next
    acknowledgement, from the fault until every trader and every symbol was served again, and ``silent`` who that was;
    ``unfilled_seconds``: the longest time in it without an execution of one symbol, and ``unfilled`` which. Both hold
    the pause between orders too. ``load_average``: of the machine, over the minute before the fault was over.
    """

    fault: str
    met: str
    seconds: float
    silence_seconds: float
    silent: str
    unfilled_seconds: float = 0.0
    unfilled: str = ""
    acknowledged: int
    unknown: int
    refused: dict[str, int]
    load_average: float


class ClusterReport(Struct, frozen=True, kw_only=True):
    """What happened. ``violations`` is empty where everything held. ``unknown``: answers that never came, after which
    the order was sent again. ``skipped_messages`` and ``repeated_facts``: what lies on
    inboxes and topics of facts again, said by a successor, and is skipped by whoever reads it.
    ``order_ends``: how many orders ended in which state, rejected ones by reason. ``ended``: services that ended by
    themselves, and were started again.
    """

    brokers: int
    instances: int
    start_seconds: float
    quiet: FaultFigures
    faults: tuple[FaultFigures, ...]
    acknowledged: int
    unknown: int
    refused: dict[str, int]
    median_milliseconds: float
    order_ends: dict[str, int]
    executions: int
    ledger_entries: int
    messages_folded: int
    skipped_messages: int
    repeated_facts: int
    states_compared: int
    planted: tuple[Planted, ...]
    ended: tuple[str, ...]
    seconds: float
    violations: tuple[str, ...]


class _Window(Struct, frozen=True):
    """A fault's place in time, by the wall clock."""

    begin: float
    end: float


class ClusterRun:
    """One desk of services on servers of its own, with a load on it."""

    def __init__(
        self, directory: Path, servers: ClusterServers, *, seed: int, times: FaultTimes, spare: bool, progress: Progress
    ) -> None:
        config = write_cluster_settings(directory / "cluster.yml")
        self.directory = directory / "desk"
        self.servers = servers
        self.desk = ClusterDesk(
            self.directory,
            servers.kafka.bootstrap,
            prefix=_PREFIX,
            config=str(config),
            replicas=servers.kafka.brokers,
            environment=servers.environment(),
        )
        self.load = OrderLoad(self.desk, seed)
        self.faults = Faults(self.desk, servers, self.load, _PREFIX, times, spare=spare)
        self.snapshots: dict[SnapshotKey, str] = {}
        self.violations: list[str] = []
        self.windows: list[_Window] = []
        self._settings: DeskSettings = load_settings(str(config))
        self._progress = progress
        self._spare = spare

    def run(self, faults: Sequence[str]) -> ClusterReport:
        """Run the faults one after the other and judge. Raises where the desk does not start or does not end."""
        began = time.monotonic()
        with self.desk:
            self._progress("the desk starts", 0.0)
            self.desk.make_topics()
            start_seconds = self.faults.start_instances()
            instances = sum(len(found) for found in self.desk.instances.values())
            self._progress(f"{instances} processes are ready after {start_seconds:.0f} s", 0.0)
            self.load.start()
            try:
                self.load.wait_for_promises(time.monotonic(), BACK_SECONDS_MAX)
                figures = [self._measure("nothing", self._wait, 0.0)]
                for number, fault in enumerate(faults):
                    share = (number + 1) / (len(faults) + 2)
                    try:
                        figures.append(self._measure(fault, self.faults.carry_out, share))
                    except (TimeoutError, ServiceDidNotStartError, ServerDidNotStartError) as error:
                        # Nothing more is done to a desk that stays away, but what it has done is judged.
                        self.violations.append(f"{fault}: {str(error)[:_SENTENCE_CHARACTERS_MAX]}")
                        self._progress(f"{fault} did not end: {error}", share)
                        break
            finally:
                self.load.stop()
            self._settle()
            self.desk.stop()
        self._progress("the log is folded anew", (len(faults) + 1) / (len(faults) + 2))
        return self._report(figures, start_seconds, instances, began)

    def _wait(self, _: str) -> str:
        """What the load looks like without a fault: the measure of everything else."""
        time.sleep(5 * _SETTLE_SECONDS)
        return "nobody"

    def _measure(self, fault: str, carry_out: Callable[[str], str], share: float) -> FaultFigures:
        before = dict(self.load.counts)
        promised = len(self.load.promises)
        began, began_at = time.monotonic(), time.time()
        met = carry_out(fault)
        self.load.wait_for_promises(time.monotonic(), BACK_SECONDS_MAX)
        self._wait_for_fills(time.time_ns(), fault)
        ended = time.monotonic()
        self.windows.append(_Window(began_at, time.time()))
        silence, silent = self.load.longest_silence(began, ended)
        counts = {name: count - before.get(name, 0) for name, count in self.load.counts.items()}
        figures = FaultFigures(
            fault=fault,
            met=met,
            seconds=round(ended - began, 1),
            silence_seconds=round(silence, 2),
            silent=silent,
            acknowledged=len(self.load.promises) - promised,
            unknown=counts.pop("unknown", 0),
            refused={name: count for name, count in sorted(counts.items()) if count},
            load_average=round(os.getloadavg()[0], 1),
        )
        self._look(fault)
        self._progress(
            f"{fault} ({met}): {figures.seconds:.0f} s, no acknowledgement for at most {silence:.1f} s "
            f"({silent}), {figures.acknowledged} acknowledged, load {figures.load_average:g}",
            share,
        )
        return figures

    def _wait_for_fills(self, after_ns: int, fault: str) -> None:
        """Return once every symbol trades again. Raises TimeoutError."""
        deadline = time.monotonic() + BACK_SECONDS_MAX
        while True:
            # While SQL is on its way back nothing is known.
            with suppress(DatabaseUnavailableError):
                newest = newest_fills(self.servers.orders_url)
                waiting = [one for one in (*VENUE_SYMBOLS, *BOOK_SYMBOLS) if newest.get(one, 0) <= after_ns]
                if not waiting:
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{', '.join(waiting)} did not trade {BACK_SECONDS_MAX:g} s after {fault}")
            time.sleep(_LOOK_SECONDS)

    def _look(self, fault: str) -> None:
        """After a fault, with orders flowing on: every promise before now is in SQL, and snapshots are remembered."""
        promised = {promise.order_id for promise in self.load.promises}
        deadline = time.monotonic() + BACK_SECONDS_MAX
        while True:
            missing = promised
            with suppress(DatabaseUnavailableError):
                self.snapshots |= self._known_snapshots()
                missing = promised - order_ids(self.servers.orders_url)
            if not missing:
                return
            if time.monotonic() > deadline:
                self.violations.append(f"after {fault} {len(missing)} acknowledged orders did not come to SQL")
                return
            time.sleep(_SETTLE_SECONDS)

    def _known_snapshots(self) -> dict[SnapshotKey, str]:
        makers = core_makers(self._settings)
        return {key: state for key, state in read_snapshots(self.servers.orders_url).items() if key[0] in makers}

    def _settle(self) -> None:
        """Cancel everything, and wait until no order is open and the read models know it. Raises TimeoutError."""
        deadline = time.monotonic() + BACK_SECONDS_MAX
        quiet = 0
        while quiet < _QUIET_LOOKS:
            if time.monotonic() > deadline:
                raise TimeoutError(f"orders were still open {BACK_SECONDS_MAX:g} s after everything was cancelled")
            still_open = [account for account in ACCOUNTS if not self._has_no_order(account)]
            quiet = 0 if still_open else quiet + 1
            time.sleep(_SETTLE_SECONDS)

    def _has_no_order(self, account: str) -> bool:
        # A gateway may be on its way back from the last fault.
        with suppress(httpx2.TransportError):
            answer = self.desk.request("order-gateway", "GET", f"/orders?account={account}&open_only=true")
            # Just after a fault the read models may be behind, and say so.
            if answer.status_code != _OK:
                return False
            if not answer.json()["orders"]:
                return True
            self.desk.request("order-gateway", "DELETE", f"/orders?account={account}")
        return False

    # --- judging ---

    def _report(
        self, figures: Sequence[FaultFigures], start_seconds: float, instances: int, began: float
    ) -> ClusterReport:
        load, settings = self.load, self._settings
        makers = core_makers(settings)
        section = load_settings(self.desk.environment["POLARIS_CONFIG"], bus={"kafka": self._bus_section()}).bus.kafka
        destinations = Destinations(partition_counts(declared_topics(section)))
        host: KafkaHostSettings = kafka_settings(section)
        self.snapshots |= self._known_snapshots()
        evidence = Evidence(
            promises=load.promises,
            refused=load.refused_for_good,
            read_models=read_models(self.servers.orders_url),
            venue=read_venue(self.directory),
            snapshots=self.snapshots,
            log=LogReader(host),
        )
        folded = refold(evidence.log, destinations, makers, self.snapshots)
        violations = [*self.violations, *load.contradictions, *self._judge(evidence, folded)]
        planted: list[Planted] = []
        if not violations:
            planted = plant(evidence, folded, self._judge, destinations, makers)
            violations += [f"the checks do not notice that {one.violation}" for one in planted if not one.noticed]
        seconds = sorted(load.seconds)
        counts = dict(load.counts)
        quiet, *faults = self._with_fills(figures, folded)
        return ClusterReport(
            brokers=self.servers.kafka.brokers,
            instances=instances,
            start_seconds=round(start_seconds, 1),
            quiet=quiet,
            faults=tuple(faults),
            acknowledged=len(evidence.promises),
            unknown=counts.pop("unknown", 0),
            refused=counts,
            median_milliseconds=round(seconds[len(seconds) // 2] * 1000, 1) if seconds else 0.0,
            order_ends=dict(sorted(Counter(_end_of(one) for one in evidence.read_models.orders.values()).items())),
            executions=len(evidence.read_models.executions),
            ledger_entries=len(evidence.read_models.entries),
            messages_folded=folded.messages,
            skipped_messages=folded.skipped,
            repeated_facts=folded.repeated,
            states_compared=len(folded.hashes),
            planted=tuple(planted),
            ended=tuple(self.faults.ended),
            seconds=round(time.monotonic() - began, 1),
            violations=tuple(violations),
        )

    def _bus_section(self) -> dict[str, object]:
        """The bus's settings as the services have them, from their environment."""
        start = "POLARIS_BUS__KAFKA__"
        section: dict[str, object] = {}
        counts: dict[str, object] = {}
        for name, value in self.desk.environment.items():
            if name.startswith(f"{start}PARTITIONS__"):
                counts[name.removeprefix(f"{start}PARTITIONS__").lower()] = value
            elif name.startswith(start):
                section[name.removeprefix(start).lower()] = value
        return section | {"partitions": counts}

    def _judge(self, evidence: Evidence, folded: Refold) -> list[str]:
        instruments = {one.symbol: one for one in instruments_of(self._settings)}
        assets = assets_of(self._settings)
        deposits = {
            (account.name, code): parse_amount(text, assets[code])
            for account in self._settings.accounts
            for code, text in account.deposits.items()
        }
        return judge(evidence, folded, instruments, deposits)

    def _with_fills(self, figures: Sequence[FaultFigures], folded: Refold) -> list[FaultFigures]:
        """The figures with the longest time without an execution, which only the log knows."""
        found: list[FaultFigures] = []
        # Partitions are read one after the other, and an account's fills lie in its own.
        moments = {symbol: sorted(found) for symbol, found in folded.filled.items()}
        for one, window in zip(figures, self.windows, strict=True):
            seconds, symbol = longest_gap(moments, window.begin, window.end)
            found.append(replace(one, unfilled_seconds=round(seconds, 2), unfilled=symbol))
        return found


def _end_of(order: Order) -> str:
    return f"{order.state} {order.reason.name}" if order.state is OrderState.REJECTED else order.state.value


def run_cluster(
    directory: Path,
    faults: Sequence[str],
    *,
    brokers: int,
    seed: int = 1,
    times: FaultTimes | None = None,
    spare: bool = True,
    progress: Progress = lambda _text, _share: None,
) -> ClusterReport:
    """Start everything, run the faults one after the other, and judge.

    ``spare``: a second instance of each service. Raises ServerMissingError where a server is not installed,
    ServiceDidNotStartError or TimeoutError where the desk does not start or does not come to an end.
    """
    progress(f"{brokers} broker{'s' if brokers > 1 else ''}, PostgreSQL and Redis start", 0.0)
    with ClusterServers(directory, brokers) as servers:
        run = ClusterRun(directory, servers, seed=seed, times=times or FaultTimes(), spare=spare, progress=progress)
        return run.run(faults)
