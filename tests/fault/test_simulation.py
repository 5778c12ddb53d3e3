"""The simulator itself: it finds nothing in the desk, every bug that is planted in it, and the same each time."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from copy import deepcopy
from functools import wraps
from typing import Any

import pytest
import typer
from msgspec.structs import replace
from tests.plain_forms import COMPLIANCE, RISK, plain_modules
from typer.testing import CliRunner

from polaris_synapse.cli import simulate
from polaris_synapse.compliance.core.audit_chain import AuditHead
from polaris_synapse.domain.messages import Message, OrderReport, RemoveOrder, VenueSubmit
from polaris_synapse.domain.orders import OrderEvent, OrderState, next_state
from polaris_synapse.execution.core import ExecutionCore, fills
from polaris_synapse.execution.core.statuses import VenueStatuses
from polaris_synapse.execution.dispatch import Dispatch
from polaris_synapse.execution.service import ExecutionService
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.testing.simulation import disk, final_checks, host
from polaris_synapse.testing.simulation import world as world_module
from polaris_synapse.testing.simulation.faults import Faults
from polaris_synapse.testing.simulation.runner import run_seed, run_seeds
from polaris_synapse.testing.simulation.world import World

#: Enough of everything that a planted bug shows within a few seeds.
STORM = Faults(
    request_lost=0.1,
    request_answer_lost=0.2,
    request_slow=0.3,
    report_lost=0.2,
    report_doubled=0.3,
    report_late=0.3,
    ids_reused=True,
    crash_per_step=0.03,
    crash_in_release_per_step=0.02,
    power_loss=0.5,
    snapshot_rot=0.3,
    stops_per_step=0.03,
    client_doubled=0.1,
)


def stormy(seed: int) -> World:
    """A world of the storm."""
    return World(seed, faults=replace(STORM))


def found(
    *, seeds: int = 40, steps: int = 50, until: Container[str] = (), make: Callable[[int], World] = stormy
) -> set[str]:
    """The checkers that storms break, until one of ``until`` is among them."""
    checkers: set[str] = set()
    for seed in range(seeds):
        outcome = run_seed(seed, steps, make=make)
        if outcome.checker:
            assert outcome.trace
            assert outcome.detail
            checkers.add(outcome.checker)
        if outcome.checker in until:
            break
    return checkers


def test_many_seeds_find_nothing() -> None:
    """The desk keeps every promise under a mixture of faults that each seed draws for itself."""
    report = run_seeds(range(120), 50)
    assert [(failure.replay_command, failure.checker, failure.detail) for failure in report.failures] == []
    assert report.counts["crashes"] > 40
    assert report.counts["outcomes unknown"] > 40
    assert report.counts["fills"] > 400


def test_a_seed_is_a_run() -> None:
    """The same seed gives the same run to the last byte, and another seed another one."""
    first, again, other = run_seed(7, 30), run_seed(7, 30), run_seed(8, 30)
    assert first == again
    assert first.fingerprint != other.fingerprint


def test_a_storm_without_a_planted_bug_finds_nothing() -> None:
    """What the tests below find is what they planted."""
    assert found(seeds=15) == set()


Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: dict[str, tuple[Plant, set[str]]] = {}


# Bugs are planted in the plain form of the cores.
RiskCore = plain_modules(RISK)[RISK].RiskCore
answers, check_limits, ledger, orders, replacements, reports = (
    plain_modules(RISK)[f"{RISK}.{name}"]
    for name in ("answers", "check_limits", "ledger", "orders", "replacements", "reports")
)
ComplianceCore = plain_modules(COMPLIANCE)[COMPLIANCE].ComplianceCore
recording = plain_modules(COMPLIANCE)[f"{COMPLIANCE}.recording"]


def planted(*checkers: str) -> Callable[[Plant], Plant]:
    """A bug to plant, and the checkers one of which must name it."""

    def register(plant: Plant) -> Plant:
        @wraps(plant)
        def plant_in_plain_core(monkeypatch: pytest.MonkeyPatch) -> None:
            for module in (world_module, final_checks):
                monkeypatch.setattr(module, "RiskCore", RiskCore)
            monkeypatch.setattr(world_module, "ComplianceCore", ComplianceCore)
            plant(monkeypatch)

        PLANTED[plant.__name__] = (plant_in_plain_core, set(checkers))
        return plant_in_plain_core

    return register


@planted("client_id_once")
def order_sent_again_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders in doubt are sent again instead of asked about."""
    original = ExecutionCore._host_started

    def resend(self: ExecutionCore, message: Any) -> Sequence[Message]:
        out = list(original(self, message))
        out += [
            VenueSubmit(
                time_ns=message.time_ns,
                venue=order.venue,
                symbol=order.request.symbol,
                order_id=order.order_id,
                venue_client_id=order.client_id,
                request=order.request,
                quantity_lots=order.quantity_lots,
                price_ticks=order.price_ticks,
                stop_price_ticks=order.stop_price_ticks,
            )
            for order in self._state.orders.values()
            if order.state is OrderState.UNKNOWN
        ]
        return out

    monkeypatch.setattr(ExecutionCore, "_host_started", resend)


@planted("converges", "nothing_unexplained")
def fill_that_the_stream_missed_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trades that only the venue's answer names are not booked."""
    monkeypatch.setattr(VenueStatuses, "_take_fills", lambda *_: None)


@planted("fills_match", "nothing_unexplained", "never_overfilled")
def doubled_report_is_booked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trade that is reported twice counts twice."""
    original, count = fills.book_fill, iter(range(10**9))

    def book(orders_: Any, breaks: Any, out: Any, order: Any, fill: Any, **rest: Any) -> bool:
        return original(orders_, breaks, out, order, replace(fill, trade_id=f"{fill.trade_id}.{next(count)}"), **rest)

    monkeypatch.setattr("polaris_synapse.execution.core.venue_reports.book_fill", book)


@planted("reservations")
def reservation_is_never_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an ended order held stays reserved."""
    monkeypatch.setattr(reports, "settle", lambda *_: False)


@planted("ledger_balanced")
def leg_of_a_posting_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side of a fill is not posted."""
    monkeypatch.setattr(reports, "fill_postings", lambda *args: ledger.fill_postings(*args)[:-1])


@planted("audit_chain")
def audit_entry_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain moves on by an entry that nobody gets."""
    original = recording.append

    def append(head: AuditHead, *record: Any) -> Any:
        if head.sequence == 60:
            original(head, *record)
        return original(head, *record)

    monkeypatch.setattr(recording, "append", append)


@planted("order_table")
def cancelled_order_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused cancel ends the order."""

    def wrong(state: OrderState, event: OrderEvent, *, filled_lots: int) -> OrderState:
        found = next_state(state, event, filled_lots=filled_lots)
        return OrderState.REJECTED if event is OrderEvent.REJECT_CANCEL else found

    monkeypatch.setattr(reports, "next_state", wrong)


@planted("limits_kept")
def open_orders_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The position limit looks at what is held and not at what is open."""

    def held_only(context: Any, *_: Any) -> int:
        return int(context.prospect.extra_lots)

    monkeypatch.setattr(check_limits, "_worst_lots", held_only)


@planted("replay_equals_live")
def state_outside_of_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that a restart forgets decides an order's id."""
    original = RiskCore.apply

    def apply(self: Any, message: Message, /) -> Sequence[Message]:
        self.__dict__["applied"] = applied = self.__dict__.get("applied", 0) + 1
        self._desk.state.entry_number += applied % 64 == 0
        said: Sequence[Message] = original(self, message)
        return said

    monkeypatch.setattr(RiskCore, "apply", apply)


@planted("acknowledged_kept", "facts_once", "client_id_once", "raised")
def commit_without_a_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged does not survive a power cut."""
    monkeypatch.setattr(disk, "is_repeated_soon", lambda _: True)


@planted("kill_switch")
def waiting_order_leaves_after_the_kill_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its turn is sent although its cancel is behind it, and the kill switch is on."""
    one_at_a_time = Dispatch(at_once=1, cancels_at_once=1, waiting_max=1_000)
    monkeypatch.setattr(ExecutionService, "held_back", lambda *_: None)
    monkeypatch.setattr(ExecutionService, "new_dispatch", lambda _: deepcopy(one_at_a_time))


@planted("converges")
def lost_order_is_never_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """UNKNOWN stays for ever."""
    monkeypatch.setattr(ExecutionCore, "_work_off_due", lambda *_: None)


@planted("answered_once")
def cancel_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that somebody waits for has no answer."""

    def answer(desk: Any, command: Any, *args: Any, **rest: Any) -> None:
        if type(command).__name__ != "CancelOrder":
            answers.answer(desk, command, *args, **rest)

    monkeypatch.setattr(orders, "answer", answer)


@planted("facts_complete")
def balance_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A balance changes and nobody hears of it."""
    monkeypatch.setattr(reports, "say_balance", lambda *_: None)


@planted("facts_once")
def read_model_forgets_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart gives a reader of facts what it has already."""
    original = host.DirectSubscription.__init__

    def forgetful(self: Any, topics: Any, handler: Any, *, name: str, **_: Any) -> None:
        original(self, topics, handler, name=name)

    monkeypatch.setattr(host.DirectSubscription, "__init__", forgetful)


@planted("damage_found")
def checksum_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped bit in the journal goes unnoticed."""
    monkeypatch.setattr(disk.StoredGroup, "is_whole", True)


@planted("internal_book")
def cancelled_order_stays_on_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """The internal book reports a cancel and keeps the order."""

    def remove(_: MatchingCore, message: RemoveOrder) -> Sequence[Message]:
        return [
            OrderReport(
                time_ns=message.time_ns,
                order_id=message.order_id,
                account="",
                symbol=message.symbol,
                event=OrderEvent.CANCEL,
            )
        ]

    monkeypatch.setattr(MatchingCore, "_remove", remove)


@planted("core_raised")
def core_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core fails on an input."""

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(replacements, "_problem", fail)


@pytest.fixture(params=sorted(PLANTED))
def bug(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Each planted bug, with the checkers that may name it."""
    plant, checkers = PLANTED[request.param]
    plant(monkeypatch)
    return checkers


def test_a_planted_bug_is_found(bug: set[str]) -> None:
    """Every checker catches the bug that it is there for."""
    # Some show in the first storm, some in one of a hundred.
    assert found(seeds=200, until=bug) & bug


def command() -> typer.Typer:
    """The command on its own."""
    app = typer.Typer()
    simulate.register(app)
    return app


def test_the_command_reports_its_figures() -> None:
    """JSON names seeds, failures and speed, and a clean run ends with 0."""
    result = CliRunner().invoke(command(), ["--seeds", "3", "--steps", "5", "--jobs", "1", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert (figures["seeds"], figures["failures"], report["failures"]) == (3, 0, [])
    assert figures["speed"] > 0


def test_the_command_says_how_to_repeat_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing seed prints what broke, the last messages and the command that runs it again, and ends with 1."""
    reservation_is_never_released(monkeypatch)
    result = CliRunner().invoke(command(), ["--seed", "2", "--steps", "40"])
    assert result.exit_code == 1
    assert "polaris simulate --seed 2 --steps 40" in result.stdout
    assert "reservations" in result.stdout
    assert "The last messages" in result.stdout
