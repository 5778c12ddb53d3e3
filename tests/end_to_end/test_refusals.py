"""Every reason that a running desk can give is given by a real one, and says what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.end_to_end import refusals_of_authority, refusals_of_lists, refusals_of_orders, refusals_of_requests
from tests.end_to_end.refusal_world import Said, World, check, refusing_config, said_in
from tests.end_to_end.support import WIDE_LIMITS, Person, Stream, account, write_config

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.desk_process import DeskProcess

#: Which scenario provokes which reason, on the one desk of this file.
SCENARIOS: Final = (
    refusals_of_requests.SCENARIOS
    | refusals_of_orders.SCENARIOS
    | refusals_of_lists.SCENARIOS
    | refusals_of_authority.SCENARIOS
)
#: The same for reasons that take a desk of their own, and the test below that provokes them.
ON_DESKS_OF_THEIR_OWN: Final = {
    Reason.OVERLOADED: "test_small_queue_says_that_it_is_full",
}

#: Reasons that this desk cannot be brought to give from outside, and why.
NOT_REACHABLE_HERE: Final[dict[Reason, str]] = {
    Reason.NONE: "it is no refusal",
    Reason.BOOK_NOT_OPEN: "risk refuses first; the conformance suite of the books holds it",
    Reason.ORDER_TYPE_NOT_SUPPORTED: "both venues take every order type; a live venue will not",
    Reason.TIME_IN_FORCE_NOT_SUPPORTED: "both venues take every time in force; a live venue will not",
    Reason.POSITION_BREAK_OPEN: "needs a venue that disagrees with the desk; tests of execution have one",
    Reason.BOOK_PRICE_BAND: "the instruments of this desk have no band; the conformance suite of the books holds it",
    Reason.BOOK_UNKNOWN_ORDER: "risk answers for unknown orders before a book is asked",
    Reason.BOOK_DUPLICATE_ORDER: "risk gives every order its own id",
    Reason.BOOK_FULL: "needs a hundred thousand open orders",
    Reason.BOOK_COMMAND_LIMIT: "needs thousands of makers under one order; the books' own tests have them",
    Reason.VENUE_REJECTED: "needs a live venue",
    Reason.VENUE_UNKNOWN_OUTCOME: "needs a venue whose answer is lost; tests of execution have one",
    Reason.VENUE_UNAVAILABLE: "needs a feed that stops; without one risk refuses first",
    Reason.REAL_TRADING_DISABLED: "needs a live venue's adapter; the settings refuse ENABLE_REAL_TRADING as well",
    Reason.VENUE_RATE_LIMITED: "needs a live venue",
    Reason.VENUE_ORDER_ABSENT: "needs a venue that loses an order; tests of execution have one",
    Reason.VENUE_OVERFILL: "needs a venue that fills more than was ordered; tests of risk have one",
    Reason.AGENT_CONFIDENCE_TOO_LOW: "depends on what the market does; the agents' own tests script it",
    Reason.AGENT_SIZE_TOO_SMALL: "depends on what the market does; the agents' own tests script it",
    Reason.AGENT_POSITION_ALREADY_HELD: "depends on what the market does; the agents' own tests script it",
    Reason.AGENT_PAUSED: "without a view that is the reason; test_decisions pauses an agent that has one",
    Reason.AGENT_PROPOSAL_EXPIRED: "needs order entry that hangs; the agents' own tests have one",
    Reason.AGENT_MODEL_UNAVAILABLE: "needs a language model that goes away; the agents' own tests have one",
    Reason.AGENT_MODEL_BUDGET: "needs a language model that costs; the agents' own tests have one",
    Reason.AGENT_MODEL_INVALID: "needs a language model that talks nonsense; the agents' own tests have one",
    Reason.AGENT_VETOED: "depends on what the market and the news say; the agents' own tests script them",
    Reason.CACHE_UNAVAILABLE: "needs a shared cache that goes away; test_shared_gateways has a real one",
    Reason.SHUTTING_DOWN: "the ports close before the bus does; connections are closed with 1012, see below",
    Reason.JOURNAL_UNAVAILABLE: "needs a disk that fails: the fault tests have one",
    Reason.TIMED_OUT: "needs a core that hangs",
    Reason.INTERNAL_ERROR: "needs a bug",
    Reason.NOT_READY: "the ports open when everything is ready",
    Reason.CANCELLED_BY_WATCHDOG: "needs a desk that died for good and a watchdog: the fault tests have both",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The desk with an account for each limit."""
    folder = tmp_path_factory.mktemp("refusals")
    with DeskProcess(folder / "desk", config=str(refusing_config(folder))) as desk:
        found = World(desk)
        yield found
        found.dawdler.close()


@pytest.mark.parametrize("reason", SCENARIOS, ids=lambda reason: reason.name)
def test_reason_is_given(world: World, reason: Reason) -> None:
    """The desk gives this reason where it should, with its number, its name, its sentence and its HTTP status."""
    check(reason, SCENARIOS[reason](world))


def test_every_reason_is_provoked_or_explained() -> None:
    """No reason is forgotten: each has a scenario or an explanation why it cannot happen here, and never both."""
    provoked = set(SCENARIOS) | set(ON_DESKS_OF_THEIR_OWN)
    assert provoked | set(NOT_REACHABLE_HERE) == set(Reason)
    assert not provoked & set(NOT_REACHABLE_HERE)
    assert all(name in globals() for name in ON_DESKS_OF_THEIR_OWN.values())


def test_refused_orders_leave_no_trace_on_the_account(world: World) -> None:
    """A refused order reserves nothing and is no order of the account's."""
    response = world.try_order("poor", "BTCUSDT", "BUY", "MARKET", quantity="1")
    assert response.status_code == 422
    (balance,) = world.trader.get("/balances?account=poor")["balances"]
    assert (balance["total"], balance["reserved"]) == ("10", "0")
    assert world.trader.get("/orders?account=poor")["orders"] == []


def test_refusals_are_counted_by_reason(world: World) -> None:
    """The metrics of the gateway count refused orders by their reason."""
    world.try_order("poor", "BTCUSDT", "BUY", "MARKET", quantity="1")
    text = world.desk.request("gateway", "GET", "/metrics", headers={}).text
    assert 'INSUFFICIENT_FUNDS"' in text


def test_small_queue_says_that_it_is_full(tmp_path: Path) -> None:
    """More than the queue may hold is refused with OVERLOADED, and what was accepted is not lost."""
    config = write_config(
        tmp_path,
        accounts=[account("main")],
        limits={"*": WIDE_LIMITS},
        journal={"queue_messages_max": 100, "batch_messages_max": 1},
    )
    with DeskProcess(tmp_path / "desk", config=str(config)) as desk:
        person = Person.added(desk, "flood", "TRADER", ["main"])
        accepted, refused = _flood(desk, person)
        assert refused, "a queue of a hundred messages took everything"
        check(Reason.OVERLOADED, refused[0])
        assert {told.reason for told in refused} <= {Reason.OVERLOADED.name, Reason.RATE_LIMITED.name}
        known = {row["client_order_id"] for row in person.get("/orders?account=main&limit=1000")["orders"]}
        assert set(accepted) <= known


def _flood(desk: DeskProcess, person: Person) -> tuple[list[str], list[Said]]:
    """Many pipelined orders on several connections; the ids that were accepted, and the refusals."""
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.001", "price": "60000"}
    accepted: list[str] = []
    refused: list[Said] = []
    streams = [Stream(desk, token=person.token) for _ in range(4)]
    try:
        for turn in range(200):
            for number, stream in enumerate(streams):
                params = order | {"client_order_id": f"flood-{number}-{turn}"}
                stream.socket.send(json.dumps({"id": turn + 2, "method": "submit", "params": params}))
        for stream in streams:
            for turn in range(200):
                answer = stream.answer(turn + 2, seconds_max=30)
                if "error" in answer:
                    refused.append(said_in(answer["error"]))
                else:
                    accepted.append(answer["result"]["order"]["client_order_id"])
    finally:
        for stream in streams:
            stream.socket.close()
    return accepted, sorted(refused, key=lambda told: told.reason)


def test_desk_that_stops_says_goodbye_to_its_connections(tmp_path: Path) -> None:
    """A graceful stop ends with exit code 0, and closes WebSockets in good order instead of cutting them."""
    with DeskProcess(tmp_path / "desk", config=str(write_config(tmp_path))) as desk:
        person = Person.added(desk, "leaver", "VIEWER", ["main"])
        with Stream(desk, token=person.token) as stream:
            assert desk.stop() == 0
            # 1012: the service restarts; the client may come back.
            assert stream.close_code() == 1012
