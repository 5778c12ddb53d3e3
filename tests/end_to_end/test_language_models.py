"""A desk with a language model over the wire: asked before an order, paid for, kept, replayed, heard in the chat."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from tests.end_to_end.support import WIDE_LIMITS, Person, account, until, write_config
from tests.end_to_end.test_decisions import DEPOSITS, JARVIS, MANDATE

from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.model_servers import Asked, ModelServer, running_model_server

_SCORE = re.compile(r"^- (score: (\S+) (\[\S+\]))$", re.MULTILINE)


def answer(asked: Asked) -> str:
    """A model that believes whatever the score says, and takes every message for the same order."""
    if "The message:" in asked.prompt:
        order = {"intent": "place_order", "topic": "", "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01"}
        return json.dumps(order | {"quote_amount": "", "percent": "", "price": ""})
    found = _SCORE.search(asked.prompt)
    assert found is not None, asked.prompt
    view = "SELL" if found[2].startswith("-") else "BUY"
    return json.dumps({"view": view, "conviction": "high", "argument": f"The score is {found[2]} {found[3]}."})


class Office:
    """A desk, its trader, and the server that its model runs on."""

    def __init__(self, desk: DeskProcess, server: ModelServer) -> None:
        self.desk = desk
        self.server = server
        self.trader = Person.added(desk, "trader", "TRADER", ["jarvis"])

    def decision(self, decision_id: str) -> dict[str, Any]:
        """A decision as the agents' service has it."""
        found: dict[str, Any] = self.trader.get(f"/decisions/{decision_id}", service="llm_agents")["decision"]
        return found

    def asked(self) -> dict[str, Any]:
        """A decision which the model was asked for and had a say in."""

        def found() -> str:
            listed = self.trader.get("/decisions?limit=200")["decisions"]
            return next((str(made["decision_id"]) for made in listed if "The fact model argues" in made["thesis"]), "")

        return self.decision(until(found, what="a decision with a model", seconds_max=60))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the desk's operator."""
        return subprocess.run(
            [sys.executable, "-m", "polaris_synapse.cli.main", *arguments],
            env=self.desk.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The desk of this file."""
    folder = tmp_path_factory.mktemp("models")
    accounts = [account("main"), account("jarvis", kind="AGENT", deposits=DEPOSITS)]
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_model_server(answer)) as server,
    ):
        provider = {
            "name": "local", "vendor": "compatible", "model": "tiny", "base_url": f"{server.url}/v1",
            "input_usd_per_million_tokens": "1", "output_usd_per_million_tokens": "2",
        }  # fmt: skip
        config = write_config(
            folder,
            accounts=accounts,
            limits={"*": WIDE_LIMITS},
            agent=JARVIS | {"model_roles": ["fact"]},
            mandates=[MANDATE],
            models={"providers": [provider]},
        )
        with DeskProcess(folder / "desk", config=str(config)) as desk:
            yield Office(desk, server)


def test_a_decision_names_its_model_and_comes_out_the_same(office: Office) -> None:
    """The model's argument is in the thesis, its vote is counted, its price is known, and the replay is equal."""
    decision = office.asked()
    assert "The fact model argues: The score is" in decision["thesis"]
    assert "fact model" in [vote["voter"] for vote in decision["votes"]]
    assert decision["cost_micro_usd"] > 0
    assert "Nobody has set when the training" in decision["not_evidence"]
    done = office.command("decisions", "replay", decision["decision_id"], "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["equal"], found["thesis"]) == (True, decision["thesis"])
    shown = office.command("decisions", "show", decision["decision_id"])
    assert "How the agents voted" in shown.stdout
    assert office.command("decisions", "list", "--limit", "3").returncode == 0


def test_spending_survives_a_restart(office: Office) -> None:
    """What was spent today is known after a restart, and a decision from before it can still be replayed."""
    decision = office.asked()
    before = office.trader.get("/models", service="llm_agents")
    assert before["models"] == ["local/tiny"]
    spent = next(part for part in before["purposes"] if part["purpose"] == "fact")
    assert spent["micro_usd"] > 0
    office.desk.kill()
    office.desk.start()
    office.trader = Person(office.desk, "trader")
    after = next(
        part for part in office.trader.get("/models", service="llm_agents")["purposes"] if part["purpose"] == "fact"
    )
    assert after["micro_usd"] >= spent["micro_usd"]
    replayed = office.trader.get(f"/decisions/{decision['decision_id']}/replay", service="llm_agents")
    assert replayed["equal"], replayed


def test_the_chat_understands_more_with_a_model(office: Office) -> None:
    """A message that the grammar does not know becomes a preview that says so; a yes is still needed."""
    body = {"message": "would be lovely to scoop up 0.01 bitcoin i reckon"}
    said = office.trader.call("POST", "/chat", body, service="llm_agents")
    assert said["understood_with_model"], said
    assert said["reply"].startswith("(Understood with a model.)")
    assert said["confirmation"]
    assert said["preview"][0]["quantity"] == "0.01"
    assert not said["placed"]


def test_a_tampered_store_is_noticed(office: Office) -> None:
    """A case that was changed in the file fails its replay, and the command says so and fails."""
    decision = office.asked()
    file = sqlite3.connect(office.desk.directory / "models.sqlite3", timeout=10)
    digest = decision["case_digest"]
    with closing(file):
        ((body,),) = file.execute("SELECT body FROM model_records WHERE digest = ?", (digest,)).fetchall()
        with file:
            file.execute("UPDATE model_records SET body = x'00' WHERE digest = ?", (digest,))
        done = office.command("decisions", "replay", decision["decision_id"])
        with file:
            file.execute("UPDATE model_records SET body = ? WHERE digest = ?", (body, digest))
    assert done.returncode != 0
    assert "was not reproduced" in done.stderr


def test_spending_is_shown(office: Office) -> None:
    """The command shows what models took today."""
    office.asked()
    done = office.command("decisions", "spending")
    assert done.returncode == 0, done.stderr
    assert "local/tiny" in done.stdout
