"""What the paper exchange keeps on disk: every order it ever took, every fill and its balances, as a real venue would.

One SQLite file, ``synchronous=FULL``; each ``write`` is one transaction, committed when it returns. Not safe for two
threads at once: the venue serialises its calls. Of two processes only one can write. Either whoever came first holds a
lock until it ends; or, where somebody else says whose turn it is, whoever came last has the file's highest number, and
a write under a lower one is refused. A process that hangs keeps a lock, and no number.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from polaris_synapse.domain.orders import Fill
from polaris_synapse.execution.paper.orders import PaperOrder
from polaris_synapse.execution.paper.outbox import Outcome

SCHEMA_VERSION: Final = 1

_MOUNTS: Final = Path("/proc/self/mounts")
#: File systems of which a machine shares its view, and its memory, with nobody else.
_ONE_MACHINE: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay"})
#: How long another process's transaction is waited for.
_BUSY_SECONDS: Final = 1.0

_SCHEMA: Final = """
CREATE TABLE orders (
    client_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX open_orders ON orders (is_open) WHERE is_open = 1;
CREATE INDEX order_sequences ON orders (sequence);
CREATE TABLE fills (
    number INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    time_ns INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX fills_of_an_order ON fills (client_id);
"""

#: Added to a store that was made before venues had balances; those then count from here. Text: they pass 64 bits.
_BALANCES: Final = "CREATE TABLE IF NOT EXISTS balances (asset TEXT PRIMARY KEY, units TEXT NOT NULL) WITHOUT ROWID"


#: The number of the process that may write.
_OWNER: Final = "CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL)"
_TAKE_OVER: Final = """
INSERT INTO owner (one, number) VALUES (1, 1) ON CONFLICT (one) DO UPDATE SET number = number + 1 RETURNING number
"""


def shared_journal_mode(path: Path, mounts: str | None = None) -> str:
    """How to write a file that other processes have open: WAL where they all run on this machine, else TRUNCATE.

    A write-ahead log needs memory that its processes share, so it is for file systems that only one machine mounts. The
    other way costs three times the synchronisations. ``mounts``: the machine's own table where it is not given.
    """
    try:
        table = _MOUNTS.read_text(encoding="utf-8") if mounts is None else mounts
    except OSError:
        return "TRUNCATE"
    place, kind = "", ""
    for line in table.splitlines():
        _, point, found, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        # A mount that comes later lies over the one before at the same point.
        if path.resolve().is_relative_to(point) and len(point) >= len(place):
            place, kind = point, found
    return "WAL" if kind in _ONE_MACHINE else "TRUNCATE"


class PaperStoreError(RuntimeError):
    """The file is not a paper store that this version reads, or cannot be read or written."""


class PaperStore:
    """Opens or creates the file at ``path``. Raises PaperStoreError.

    ``takes_over``: whoever had the file before can write no more, also where it hangs and wakes up later. Without it a
    file that somebody has is not opened.
    """

    def __init__(self, path: Path, *, takes_over: bool = False) -> None:
        self.path = path
        self._number = 0
        self._order_decoder = msgspec.json.Decoder(PaperOrder)
        self._fill_decoder = msgspec.json.Decoder(Fill)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
            )
            try:
                self._set_up(takes_over)
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise PaperStoreError(f"the paper store {path} cannot be opened: {error}") from error

    def _set_up(self, takes_over: bool) -> None:
        run = self._connection.execute
        run(f"PRAGMA locking_mode={'NORMAL' if takes_over else 'EXCLUSIVE'}")
        run(f"PRAGMA journal_mode={shared_journal_mode(self.path) if takes_over else 'WAL'}")
        run("PRAGMA synchronous=FULL")
        (version,) = run("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            raise PaperStoreError(f"{self.path} has version {version}, this desk reads version {SCHEMA_VERSION}")
        run(_BALANCES)
        if takes_over:
            run(_OWNER)
            ((self._number,),) = run(_TAKE_OVER).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def next_numbers(self) -> tuple[int, int]:
        """The next order and trade number: one beyond the highest ever given."""
        (orders,) = self._connection.execute("SELECT coalesce(max(sequence), 0) + 1 FROM orders").fetchone()
        (trades,) = self._connection.execute("SELECT coalesce(max(number), 0) + 1 FROM fills").fetchone()
        return int(orders), int(trades)

    def open_orders(self) -> list[PaperOrder]:
        """The orders that have not ended, in their order of arrival."""
        rows = self._connection.execute("SELECT body FROM orders WHERE is_open = 1 ORDER BY sequence")
        return [self._order_decoder.decode(body) for (body,) in rows]

    def order(self, client_id: str) -> PaperOrder | None:
        """An order, ended or not."""
        row = self._connection.execute("SELECT body FROM orders WHERE client_id = ?", (client_id,)).fetchone()
        return self._order_decoder.decode(row[0]) if row is not None else None

    def fills(self, client_id: str) -> tuple[Fill, ...]:
        """The fills of an order, oldest first."""
        rows = self._connection.execute("SELECT body FROM fills WHERE client_id = ? ORDER BY number", (client_id,))
        return tuple(self._fill_decoder.decode(body) for (body,) in rows)

    def balances(self) -> dict[str, int]:
        """What the trades have made of each asset, in its minor units."""
        return {asset: int(units) for asset, units in self._connection.execute("SELECT asset, units FROM balances")}

    def probe(self) -> None:
        """Write something that changes nothing. Raises PaperStoreError when the disk does not take it."""
        try:
            self._connection.executescript(f"BEGIN IMMEDIATE;PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        except sqlite3.Error as error:
            raise PaperStoreError(f"the paper store {self.path} cannot be written: {error}") from error

    def write(self, outcomes: list[Outcome]) -> None:
        """Store what happened, in one transaction. Raises PaperStoreError; then nothing of it is stored."""
        encode = msgspec.json.encode
        # An order that changed more than once is written as it stands last.
        orders = {order.client_id: order for outcome in outcomes for order in outcome.orders}
        fills = [fill for outcome in outcomes for fill in outcome.fills]
        if not orders and not fills:
            return
        run, run_many = self._connection.execute, self._connection.executemany
        try:
            run("BEGIN IMMEDIATE")
            try:
                self._check_owner()
                run_many(
                    "INSERT INTO orders (client_id, sequence, is_open, body) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (client_id) DO UPDATE SET is_open = excluded.is_open, body = excluded.body"
                    " WHERE orders.sequence = excluded.sequence",
                    [(order.client_id, order.sequence, order.is_open, encode(order)) for order in orders.values()],
                )
                run_many(
                    "INSERT INTO fills (number, client_id, symbol, time_ns, body) VALUES (?, ?, ?, ?, ?)",
                    [(one.number, one.client_id, one.symbol, one.time_ns, encode(one.fill)) for one in fills],
                )
                if fills:
                    self._move([outcome.moved for outcome in outcomes])
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise PaperStoreError(f"the paper store {self.path} cannot be written: {error}") from error

    def _check_owner(self) -> None:
        """Within the transaction, so that nobody takes over between this and the commit."""
        if self._number:
            (number,) = self._connection.execute("SELECT number FROM owner").fetchone()
            if number != self._number:
                raise PaperStoreError(f"another process has taken over the paper store {self.path}")

    def _move(self, moves: list[dict[str, int]]) -> None:
        """Add to the balances, within the transaction."""
        totals = self.balances()
        for moved in moves:
            for asset, units in moved.items():
                totals[asset] = totals.get(asset, 0) + units
        self._connection.executemany(
            "INSERT INTO balances (asset, units) VALUES (?, ?)"
            " ON CONFLICT (asset) DO UPDATE SET units = excluded.units",
            [(asset, str(units)) for asset, units in totals.items()],
        )
