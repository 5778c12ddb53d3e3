"""SIGKILL at a random instant under load, again and again; after each, everything that must hold is checked.

Checked against a witness that follows the journal with cores of its own: every acknowledged order is there, the state
at each snapshot is the state that the replay comes to, each order reached its venue once at most, each trade is booked
once and exists at the venue, reservations equal what open orders need, every ledger entry and the whole ledger sum to
zero. At the end, with nothing on its way, orders and fills equal the venue's, the read models hold exactly the
executions of the journal, and the audit chain verifies.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from polaris_synapse.desk.loading import load_settings
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.load import Acknowledged, Load, middle_cents, write_fault_settings
from polaris_synapse.testing.faults.witness import Witness

Progress = Callable[[str, float], None]

#: How often a desk is killed while it starts, which is in the middle of its recovery.
_KILLED_STARTING: Final = 0.15
_STARTING_SECONDS_MAX: Final = 2.0
_LOAD_SECONDS: Final = (0.05, 0.8)
_SETTLE_SECONDS_MAX: Final = 60.0
_LOOKED_UP: Final = 5


class KillReport(Struct, frozen=True, kw_only=True):
    """What a soak did and found. ``recovery_seconds``: from the start of the process to the ready desk, ascending."""

    seed: int
    rounds: int
    kills: int
    acknowledged: int
    refused: dict[str, int]
    orders: int
    executions: int
    messages: int
    snapshots_compared: int
    recovery_seconds: list[float]
    seconds: float
    violations: list[str]

    def recovery(self, percent: float) -> float:
        """A percentile of the recovery seconds."""
        return self.recovery_seconds[
            min(int(len(self.recovery_seconds) * percent / 100), len(self.recovery_seconds) - 1)
        ]


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of the values do not exceed; 0 of none."""
    return ascending[min(int(len(ascending) * percent / 100), len(ascending) - 1)] if ascending else 0.0


class _Soak:
    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # a reproducible run
        self.seed = seed
        config = write_fault_settings(directory / "faults.yml")
        self.desk = DeskProcess(directory / "desk", config=str(config))
        self.witness = Witness(directory / "desk", load_settings(str(config)))
        self.acknowledged: list[Acknowledged] = []
        self.refused: dict[str, int] = {}
        self.recovery_seconds: list[float] = []
        self.kills = 0

    def round(self, number: int) -> None:
        """Start, look up what was acknowledged before, load, kill, check."""
        if number and self.chance.random() < _KILLED_STARTING:
            self._kill_while_starting()
        self.recovery_seconds.append(self.desk.start())
        for order in self.acknowledged[-_LOOKED_UP:]:
            self._look_up(order)
        load = Load(self.desk, tag=f"r{number}", seed=self.seed, middle_cents=middle_cents(self.desk))
        load.start()
        time.sleep(self.chance.uniform(*_LOAD_SECONDS))
        self.desk.kill()
        self.kills += 1
        load.stop()
        self.check(load)

    def check(self, load: Load) -> None:
        """Everything that must hold at any moment."""
        self.witness.follow()
        for order in load.acknowledged:
            found = self.witness.order_ids.get((order.account, order.client_order_id))
            if found != order.order_id:
                self.witness.say(f"the acknowledged order {order.client_order_id} is {found} and not {order.order_id}")
        self.acknowledged += load.acknowledged
        for reason, count in load.refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + count
        self.witness.compare_with_paper(settled=False)

    def _kill_while_starting(self) -> None:
        command, environment = self.desk.command, self.desk.environment
        with subprocess.Popen(  # noqa: S603  # our own command
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(self.chance.uniform(0, _STARTING_SECONDS_MAX))
            process.kill()
        self.kills += 1
        self.witness.follow()

    def _look_up(self, order: Acknowledged) -> None:
        answer = self.desk.request("gateway", "GET", f"/orders/{order.order_id}")
        if answer.status_code != 200:
            self.witness.say(f"the acknowledged order {order.order_id} is not found: HTTP {answer.status_code}")

    def finish(self) -> None:
        """Start once more, let everything settle, stop gracefully, and compare everything with everything."""
        self.recovery_seconds.append(self.desk.start())
        self.desk.json("risk", "POST", "/kill-switch", {"level": 2, "account": "*", "note": "the soak is over"})
        until = time.monotonic() + _SETTLE_SECONDS_MAX
        while time.monotonic() < until and self.desk.json("gateway", "GET", "/open-orders?limit=1")["orders"]:
            time.sleep(0.2)
        audit = self.desk.json("compliance", "GET", "/audit/verify")
        if not audit["valid"]:
            self.witness.say(f"the audit log does not verify: {audit['problem']}")
        breaks = self.desk.json("execution", "GET", "/breaks?open_only=false")["breaks"]
        for found in breaks:
            self.witness.say(f"a break was opened: {found['detail']}")
        self.desk.stop()
        self.witness.follow()
        for order_id, order in self.witness.orders.items():
            if order.open_lots:
                self.witness.say(f"order {order_id} is still {order.state} after everything was cancelled")
        self.witness.compare_with_paper(settled=True)
        self._compare_read_models()

    def _compare_read_models(self) -> None:
        database = sqlite3.connect(f"file:{self.desk.directory / 'orderdb.sqlite3'}?mode=ro", uri=True)
        try:
            executions = [row[0] for row in database.execute("SELECT execution_id FROM executions")]
            orders = {row[0] for row in database.execute("SELECT order_id FROM orders")}
            sums = dict(
                database.execute("SELECT asset, sum(CAST(units AS INTEGER)) FROM ledger_postings GROUP BY asset")
            )
        finally:
            database.close()
        if len(executions) != len(set(executions)):
            self.witness.say("the read model has an execution twice")
        if set(executions) != self.witness.executions:
            self.witness.say(
                f"the read model has {len(executions)} executions, the journal {len(self.witness.executions)}"
            )
        if orders != self.witness.orders.keys():
            self.witness.say(f"the read model has {len(orders)} orders, the journal {len(self.witness.orders)}")
        if any(sums.values()):
            self.witness.say(f"the ledger in SQL does not sum to zero: {sums}")


def run_kills(directory: Path, *, rounds: int, seed: int, progress: Progress) -> KillReport:
    """Soak a desk in ``directory``, which is empty. Raises where the desk does not start: that is a finding too."""
    began = time.monotonic()
    soak = _Soak(directory, seed)
    try:
        for number in range(rounds):
            progress(f"{soak.kills} kills, {len(soak.witness.violations)} violations", number / rounds)
            soak.round(number)
        soak.finish()
    finally:
        soak.desk.kill()
    progress("done", 1.0)
    return KillReport(
        seed=seed,
        rounds=rounds,
        kills=soak.kills,
        acknowledged=len(soak.acknowledged),
        refused=soak.refused,
        orders=len(soak.witness.orders),
        executions=len(soak.witness.executions),
        messages=soak.witness.offset,
        snapshots_compared=soak.witness.snapshots_compared,
        recovery_seconds=sorted(round(seconds, 2) for seconds in soak.recovery_seconds),
        seconds=round(time.monotonic() - began, 1),
        violations=soak.witness.violations,
    )
