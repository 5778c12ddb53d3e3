"""Two instances of the agents' service on a real broker: one desk to talk to, whichever of them answers."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from anyio.from_thread import start_blocking_portal
from tests.end_to_end.support import WIDE_LIMITS, account, write_config

from polaris_synapse.testing.alert_servers import PostServer, post_server
from polaris_synapse.testing.cluster import ClusterDesk
from polaris_synapse.testing.model_servers import Asked, running_model_server
from polaris_synapse.testing.servers.kafka import KafkaServer

pytestmark = pytest.mark.timeout(600)
WAIT_SECONDS_MAX = 120.0
AGENTS = "llm-agents"
_SCORE = re.compile(r"^- (score: (\S+) (\[\S+\]))$", re.MULTILINE)
_REQUEST = re.compile(r"approve (\d+(?:-\d+)?)")
#: Candles of a second and no doubts, so that it has a view and follows it soon; and a person is asked about each order.
JARVIS = {
    "name": "jarvis", "account": "jarvis", "symbols": ["BTCUSDT", "ETHUSDT"], "interval_seconds": 5,
    "candle_seconds": 1, "confidence_ppm_min": 0, "cooldown_seconds": 5, "horizon_seconds": 60,
    "slippage_ppm_max": 5_000, "model_roles": ["fact"],
}  # fmt: skip
MANDATE = {
    "account": "jarvis", "agent": "jarvis", "symbols": ["BTCUSDT", "ETHUSDT"], "order_value_max": "2500",
    "daily_value_max": "100000", "approval_above": "0",
}  # fmt: skip

T = TypeVar("T")


def believer(asked: Asked) -> str:
    """A model that agrees with whatever the score says, and has nothing to say about outside texts."""
    found = _SCORE.search(asked.prompt)
    if found is None:
        return "{}"
    view = "SELL" if found[2].startswith("-") else "BUY"
    return json.dumps({"view": view, "conviction": "high", "argument": f"The score is {found[2]} {found[3]}."})


def until(read: Callable[[], T], *, what: str) -> T:
    """Read again until there is something true."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := read()):
        assert time.monotonic() < deadline, f"{what} did not come about; last read: {found!r}"
        time.sleep(0.1)
    return found


class Office:
    """The desk, and what its people do at an instance of the agents' service."""

    def __init__(self, desk: ClusterDesk, slack: PostServer) -> None:
        self.desk = desk
        self.slack = slack

    def get(self, target: str, *, at: int = 0) -> Any:
        """A read that must succeed."""
        return self.desk.json(AGENTS, "GET", target, number=at)

    def say(self, message: str, *, at: int = 0, session: str = "", account: str = "") -> Any:
        """One message of the conversation."""
        body = {"message": message, "session": session, "account": account}
        return self.desk.json(AGENTS, "POST", "/chat", body, number=at)

    def polaris(self, *arguments: str, code: int = 0) -> str:
        """What a command prints that ends with ``code``; it finds the services by itself."""
        done = subprocess.run(
            [sys.executable, "-m", "polaris_synapse.cli.main", *arguments],
            env=self.desk.environment | {"NO_COLOR": "1", "COLUMNS": "200"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def leader(self) -> int:
        """The instance that runs the core."""

        def found() -> list[int]:
            running = [n for n, one in enumerate(self.desk.instances[AGENTS]) if one.running]
            urls = {n: self.desk.service(AGENTS, n).url for n in running}
            return [n for n, url in urls.items() if self.desk.client.get(f"{url}/partitions").json()["partitions"]]

        leading = until(lambda: len(there := found()) == 1 and there, what="one instance with the core")
        assert leading
        return leading[0]

    def proposal(self, *, at: int) -> str:
        """Ask in plain words until a request waits for a person; its id."""

        def asked() -> str:
            reply = self.say("propose a trade in BTC", at=at)
            found = _REQUEST.search(reply["reply"])
            return found[1] if found else ""

        return until(asked, what="a proposal that waits")


@pytest.fixture(scope="module")
def office(kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Seven services, the agents' twice, a model on a local server, a folder of news, and somebody who is told."""
    folder = tmp_path_factory.mktemp("agents")
    news = folder / "news"
    news.mkdir()
    (news / "note.md").write_text("# Bitcoin surges after ETF approval\n\nStrong demand.\n", encoding="utf-8")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_model_server(believer)) as server,
        post_server() as slack,
    ):
        provider = {
            "name": "local", "vendor": "compatible", "model": "tiny", "base_url": f"{server.url}/v1",
            "input_usd_per_million_tokens": "1", "output_usd_per_million_tokens": "2",
        }  # fmt: skip
        config = write_config(
            folder,
            accounts=[account("main"), account("jarvis", kind="AGENT", deposits={"USDT": "100000"})],
            limits={"*": WIDE_LIMITS},
            agent=JARVIS,
            mandates=[MANDATE],
            models={"providers": [provider]},
            sources=[{"name": "notes", "kind": "folder", "folder": str(news), "interval_seconds": 5}],
        )
        with ClusterDesk(
            folder / "desk",
            kafka_server.bootstrap,
            prefix=f"t-{secrets.token_hex(4)}.",
            config=str(config),
            environment={"SLACK_WEBHOOK_URL": f"{slack.url}/hook"},
        ) as desk:
            desk.make_topics()
            desk.start(seconds_max=200)
            desk.add(AGENTS)
            desk.wait_ready(seconds_max=120)
            yield Office(desk, slack)


def test_a_request_in_plain_words_is_approved_at_the_other_instance_and_filled(office: Office) -> None:
    """Proposed at one, held by risk, approved at the other, filled at the venue; both have the receipt and its sum."""
    number = office.proposal(at=0)
    shown = office.get(f"/approvals/{number}", at=1)
    assert (shown["state"], shown["agent"], shown["account"]) == ("PENDING", "jarvis", "jarvis")
    body = {"order_hash": shown["order_hash"], "note": "seen"}
    approved = office.desk.json(AGENTS, "POST", f"/approvals/{number}/approve", body, number=1)
    assert (approved["state"], approved["decided_by"][:4], approved["note"]) == ("APPROVED", "key:", "seen")
    assert office.get(f"/approvals/{number}", at=0) == office.get(f"/approvals/{number}", at=1)
    order_id = approved["order_id"]
    target = f"/orders/{order_id}"
    until(lambda: office.desk.json("order-gateway", "GET", target)["order"]["state"] == "FILLED", what="the fill")
    decision_id = shown["order"]["decision_id"]
    receipts = [office.get(f"/receipts/{decision_id}", at=at) for at in (0, 1)]
    assert receipts[0]["head_hash"] == receipts[1]["head_hash"]
    kinds = [part["kind"] for part in receipts[0]["parts"]]
    assert kinds[:5] == ["prompt", "facts", "proposal", "verdict", "approval"]
    assert {"order", "fill"} <= set(kinds)
    again = office.desk.request(AGENTS, "POST", f"/approvals/{number}/approve", body, number=0)
    assert again.json()["reason"] == "APPROVAL_USED"


def test_a_decision_with_a_model_is_replayed_and_paid_for_once_for_all_instances(office: Office) -> None:
    """Cases, calls and spending are in the database: either instance makes the decision again, and knows its price."""

    def with_model() -> str:
        listed = office.get("/decisions?limit=200")["decisions"]
        return next((str(one["decision_id"]) for one in listed if one["call_digests"]), "")

    decision_id = until(with_model, what="a decision with a model")
    for at in (0, 1):
        replayed = until(lambda at=at: _replayed(office, decision_id, at), what="the case")  # type: ignore[misc]  # bound now
        assert replayed["equal"], replayed
        assert replayed["call_digests"]
    office.desk.json(AGENTS, "POST", "/agents/jarvis/pause")
    try:
        until(lambda: office.get("/models", at=0) == office.get("/models", at=1), what="the same sum at both")
        spent = {one["purpose"]: one["micro_usd"] for one in office.get("/models", at=1)["purposes"]}
        assert spent["fact"] > 0
    finally:
        office.desk.json(AGENTS, "POST", "/agents/jarvis/resume", number=1)


def _replayed(office: Office, decision_id: str, at: int) -> Any:
    found = office.get(f"/decisions/{decision_id}/replay", at=at)
    return None if "is not in the store" in found["problem"] else found


def test_one_instance_reads_the_sources_and_the_other_says_so(office: Office) -> None:
    """One polls; who does not answers that another does, for a proxy to ask there, also after the first has died."""

    def statuses() -> list[int]:
        answers = [office.desk.request(AGENTS, "GET", "/sources", number=at) for at in (0, 1)]
        there = [one for one in answers if one.status_code == 200 and one.json()["sources"][0]["polls"]]
        return sorted(one.status_code for one in answers) if there else []

    assert until(statuses, what="the folder is polled") == [200, 503]
    refused = [office.desk.request(AGENTS, "GET", "/sentiment", number=at) for at in (0, 1)]
    assert sorted(one.status_code for one in refused) == [200, 503]


def test_mandates_and_limits_are_the_same_at_both(office: Office) -> None:
    """Set over one instance, a mandate is in force and read at the other; so are the limits in a conversation."""
    sheet = office.get("/mandates/jarvis/jarvis", at=0)["mandate"]
    assert sheet["daily_value_max"] == "100000.00000000" or float(sheet["daily_value_max"]) == 100_000
    office.desk.json(AGENTS, "PUT", "/mandates/jarvis/jarvis", sheet | {"order_value_max": "2400"}, number=0)
    assert float(office.get("/mandates/jarvis/jarvis", at=1)["mandate"]["order_value_max"]) == 2_400
    replies = [office.say("what are my limits on main?", at=at) for at in (0, 1)]
    assert replies[0]["table"]["rows"] == replies[1]["table"]["rows"]
    assert len(replies[0]["table"]["rows"]) > 3


def test_a_preview_of_one_is_confirmed_at_the_other(office: Office) -> None:
    """The session goes with its id: what one instance shows, a yes at the other places, once."""
    shown = office.say("buy 0.01 BTC", at=0, account="main")
    assert shown["confirmation"], shown
    done = office.say("yes", at=1, session=shown["session"])
    assert (done["session"], len(done["placed"])) == (shown["session"], 1)
    again = office.say("yes", at=0, session=shown["session"])
    assert again["placed"] == []
    stranger = office.say("yes", at=1, session="0" * 24)
    assert (stranger["placed"], stranger["session"] == "0" * 24) == ([], False)


def test_people_are_told_of_a_request(office: Office) -> None:
    """One gateway tells that an order waits for a person."""
    office.proposal(at=1)
    until(lambda: [one for one in office.slack.posted if b"jarvis asks" in one.body], what="the alert")


def test_the_command_line_finds_the_services(office: Office) -> None:
    """Without an address, the commands about agents' authority work against the services of this machine."""
    number = office.proposal(at=0)
    assert json.loads(office.polaris("approvals", "show", number, "--json"))["state"] == "PENDING"
    assert json.loads(office.polaris("approvals", "reject", number, "--note", "no", "--json"))["state"] == "REJECTED"
    assert "jarvis" in office.polaris("mandate", "list")
    assert "BTCUSDT" in office.polaris("chat", "what is the price of BTC?")


def test_trading_is_stopped_while_no_gateway_runs(office: Office) -> None:
    """The kill switch is risk's: without any order gateway it is set, and the command says what it could not read."""
    desk = office.desk
    desk.service("order-gateway").kill()
    desk.instances["order-gateway"].clear()
    try:
        said = office.polaris("halt", "--account", "main", "--note", "test", code=4)
        assert "Trading is stopped for account main" in said
        assert "cannot be read back" in said
        shown = office.say("buy 0.01 BTC", at=0, account="main")
        assert not shown["placed"]
        refused = office.say("yes", at=0, session=shown["session"])
        assert "KILL_SWITCH" in {shown["reason"], refused["reason"]} or "kill switch" in shown["reply"].lower()
    finally:
        office.polaris("resume", "--account", "main")
        desk.add("order-gateway")
        desk.wait_ready(seconds_max=120)


def test_a_session_ends_with_its_instance_and_nothing_else_does(office: Office) -> None:
    """SIGKILL the instance that leads: the other decides, knows what is watched for, and places what is approved."""
    leader = office.leader()
    other = 1 - leader
    standing = office.desk.json(
        AGENTS,
        "POST",
        "/standing",
        {
            "account": "main", "symbol": "BTCUSDT", "side": "SELL", "trigger": "PRICE_ABOVE", "value": "900000",
            "quantity": "0.01",
        },
        number=leader,
    )  # fmt: skip
    number = office.proposal(at=leader)
    before = {one["decision_id"] for one in office.get("/decisions?limit=500", at=other)["decisions"]}
    office.desk.service(AGENTS, leader).kill()
    try:
        _go_on(office, other, number, standing["standing_id"], before)
    finally:
        # For the tests that come after this one, whichever they are.
        office.desk.instances[AGENTS].pop(leader)
        office.desk.add(AGENTS)
        office.desk.wait_ready(seconds_max=120)


def _go_on(office: Office, other: int, number: str, standing_id: str, before: set[str]) -> None:
    """What the instance that is left does."""
    approval = office.get(f"/approvals/{number}", at=other)
    body = {"order_hash": approval["order_hash"]}
    approved = office.desk.request(AGENTS, "POST", f"/approvals/{number}/approve", body, number=other)
    # The market decides whether an order that was held for a while is still one that risk lets through.
    assert approved.status_code == 200 or approved.json()["reason"] in {"PRICE_COLLAR", "MARKET_DATA_STALE"}
    assert office.leader() == other
    watched = office.get("/standing", at=other)["standing"]
    assert standing_id in [one["standing_id"] for one in watched]

    def newer() -> list[Any]:
        found = office.get("/decisions?limit=500", at=other)["decisions"]
        return [one for one in found if one["decision_id"] not in before and one["call_digests"]]

    until(newer, what="a decision of the instance that took over")
    moments = [
        (one["agent"], one["symbol"], one["decided_time_ns"])
        for one in office.get("/decisions?limit=500", at=other)["decisions"]
    ]
    assert len(moments) == len(set(moments)), "a decision was made twice"
    later = office.proposal(at=other)
    assert office.get(f"/approvals/{later}", at=other)["state"] == "PENDING"
