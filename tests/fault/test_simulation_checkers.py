"""A planted bug for each checker of the simulator, put in through the world's own seams: the checker names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.fault.test_simulation import PLANTED, STORM, found

from polaris_synapse.bus.core import Core
from polaris_synapse.domain.messages import (
    BreakChanged,
    ExecutionRecorded,
    HostStarted,
    Message,
    OrderReport,
    OrderUpdated,
    ReplaceOrder,
    VenueBalances,
    VenueReport,
)
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.simulation import disk
from polaris_synapse.testing.simulation import world as world_module
from polaris_synapse.testing.simulation.faults import Faults
from polaris_synapse.testing.simulation.world import World

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def bent(core: Callable[[], Core], faults: Faults, pause_seconds: float = 0.0) -> Callable[[int], World]:
    """Makes worlds in which one core is replaced by a wrong one, as it would be by a bug in it.

    ``pause_seconds``: how long everybody rests after each step.
    """

    class Bent(World):
        """The world with it."""

        def make_cores(self) -> dict[str, Core]:
            """The right cores but for one."""
            wrong = core()
            return super().make_cores() | {wrong.name: wrong}

        def _step(self) -> None:
            super()._step()
            self._pass(pause_seconds)

    return lambda seed: Bent(seed, faults=replace(faults))


class SaysMoreThanOrdered(RiskCore):
    """Says of a filled order that more was filled than ordered."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Add a lot."""
        return [
            replace(said, order=replace(said.order, filled_lots=said.order.quantity_lots + 1))
            if isinstance(said, OrderUpdated) and said.order.state is OrderState.FILLED
            else said
            for said in super().apply(message)
        ]


class ForgetsFees(RiskCore):
    """Books trades without their fees, and says that it booked them with."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Take the fee off on the way in, and put it back on the way out."""
        fill = message.fill if isinstance(message, OrderReport) else None
        if fill is None:
            return super().apply(message)
        out = super().apply(replace(message, fill=replace(fill, fee_units=0)))
        return [replace(said, fill=fill) if isinstance(said, ExecutionRecorded) else said for said in out]


class RenamesTrades(ExecutionCore):
    """Takes a trade that the stream tells of for another one than the venue's answers name."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Add to its id."""
        if isinstance(message, VenueReport) and message.fill is not None:
            message = replace(message, fill=replace(message.fill, trade_id=f"{message.fill.trade_id}x"))
        return super().apply(message)


class ForgetsFunds(RiskCore):
    """Loses from a snapshot, and from the first inputs of a replay, which deposits it has taken."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Forget at each start."""
        out = super().apply(message)
        if isinstance(message, HostStarted):
            for account in self._desk.state.accounts.values():
                account.fund_references.clear()
        return out


class Fails(RiskCore):
    """Cannot take a replacement."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Raise."""
        if isinstance(message, ReplaceOrder):
            raise ZeroDivisionError
        return super().apply(message)


class LosesBalances(ExecutionCore):
    """Never looks at what a venue holds after the first time."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Drop it."""
        if isinstance(message, VenueBalances) and self._state.balances:
            return ()
        return super().apply(message)


class BooksElsewhere(RiskCore):
    """Books what it trades at the paper venue on another one's account."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Move the clearing legs."""
        out = super().apply(message)
        for totals in self._desk.state.ledger.values():
            moved = totals.pop("venue:paper", 0)
            if moved:
                totals["venue:other"] = totals.get("venue:other", 0) + moved
        return out


class IgnoresBreaks(RiskCore):
    """Goes on trading where a break is open."""

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Do not hear of breaks."""
        return () if isinstance(message, BreakChanged) else super().apply(message)


#: The checker that must name it, the wrong core, and the weather that shows it. Balances are compared in quiet ones.
BENT: dict[str, tuple[Callable[[], Core], Faults]] = {
    "never_overfilled": (SaysMoreThanOrdered, STORM),
    "fills_match": (ForgetsFees, STORM),
    "nothing_unexplained": (RenamesTrades, STORM),
    "acknowledged_kept": (ForgetsFunds, STORM),
    "core_raised": (Fails, STORM),
    "converges": (LosesBalances, Faults(balance_moved_per_step=0.05)),
    "balances_match": (BooksElsewhere, STORM),
    "break_stops": (IgnoresBreaks, Faults(balance_moved_per_step=0.05)),
}


@pytest.mark.parametrize("checker", sorted(BENT))
def test_each_checker_names_the_wrong_core_that_it_is_there_for(checker: str) -> None:
    """A core that is wrong in one thing is found by the checker of that thing, whichever else finds it too."""
    core, faults = BENT[checker]
    # A break of a balance opens when nothing has been traded for a while.
    pause_seconds = 25.0 if checker == "break_stops" else 0.0
    assert checker in found(until={checker}, make=bent(core, faults, pause_seconds))


class OddDisk(disk.Disk):
    """Fails in a way that nobody expects."""

    def crash(self, *, power_cut: bool) -> int:
        """Raise."""
        raise LookupError("an odd disk")


class OddWorld(World):
    """A world with an odd disk."""

    def make_disk(self) -> disk.Disk:
        """The odd one."""
        return OddDisk(self.rng, self.faults)


def test_whatever_is_raised_outside_of_the_cores_is_found_too() -> None:
    """A disk that raises what no disk does ends the run with the checker ``raised``."""
    assert found(until={"raised"}, make=lambda seed: OddWorld(seed, faults=replace(STORM))) == {"raised"}


def named_checkers() -> set[str]:
    """Every checker that the simulator's source names."""
    names: set[str] = {"raised"}
    for path in Path(world_module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            place = {"Violation": 0, "hold": 1}.get(node.func.id)
            named = node.args[place] if place is not None and len(node.args) > place else None
            if isinstance(named, ast.Constant):
                names.add(str(named.value))
    return names - {"set_up"}


def test_every_checker_is_documented_and_has_a_bug_that_it_must_notice() -> None:
    """The table of docs/testing.md is the list in the source, and no checker is only believed to work."""
    section = PAGE.read_text(encoding="utf-8").split("### What is checked", 1)[1].split("###", 1)[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == named_checkers()
    # A bug that one of several checkers may name proves none of them.
    proved = {"raised", *BENT}.union(*(names for _, names in PLANTED.values() if len(names) == 1))
    assert documented - proved == set()
