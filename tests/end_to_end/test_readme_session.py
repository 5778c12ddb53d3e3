"""The README's conversation with Jarvis, said line by line to a real desk whose analyst is quick."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from tests import documents
from tests.end_to_end.support import Person, executions_of, polaris, until, write_config

from polaris_synapse.testing.desk_process import DeskProcess

#: Candles of a second and no doubts, so that there is a proposal within half a minute instead of some minutes.
JARVIS: Final[dict[str, Any]] = {
    "name": "jarvis", "account": "jarvis", "symbols": ["BTCUSDT", "ETHUSDT"], "interval_seconds": 5,
    "candle_seconds": 1, "confidence_ppm_min": 0, "cooldown_seconds": 5, "horizon_seconds": 60,
    "slippage_ppm_max": 5_000,
}  # fmt: skip
SECTION: Final = "Ask Jarvis"
_SESSION_SECONDS_MAX: Final = 120
_CITED: Final = re.compile(r"\[F(\d+)\]")

pytestmark = pytest.mark.timeout(300)


def commands() -> list[str]:
    """What the README's reader types at the shell."""
    blocks = documents.blocks(documents.CHECKOUT / "README.md", section=SECTION)
    return [line for block in blocks if block.language == "bash" for line in block.commands()]


def said() -> list[str]:
    """What the README's reader says in the conversation."""
    blocks = documents.blocks(documents.CHECKOUT / "README.md", section=SECTION)
    return [
        line.removeprefix("> ")
        for block in blocks
        if block.language == "text"
        for line in block.text.splitlines()
        if line.startswith("> ")
    ]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskProcess]:
    """A desk as it comes, but for its analyst's patience. Its mandate is what the README says in words."""
    folder = tmp_path_factory.mktemp("session")
    config = write_config(folder, agent=JARVIS)
    with DeskProcess(folder / "desk", config=str(config)) as running:
        yield running


def test_the_readmes_conversation(desk: DeskProcess, tmp_path: Path) -> None:
    """Asked, proposed, approved, filled and explained: each step says what it is, and every cited fact exists."""
    mandate = re.fullmatch(r'polaris mandate write "(.+)" --yes', commands()[-2])
    assert mandate is not None
    assert commands()[-1] == "polaris chat"
    done = polaris(desk, "mandate", "write", mandate[1], "--yes")
    assert done.returncode == 0, done.stderr
    opinion, propose, approve, why = said()
    symbol = f"{propose.split()[-1].upper()}USDT"
    trader = Person.added(desk, "reader", "TRADER", ["jarvis"])
    conversation = Conversation(desk)

    view = conversation.say(opinion)["reply"]
    assert "I give no advice" in view

    def proposed() -> str:
        reply = str(conversation.say(propose)["reply"])
        return reply if "say approve" in reply else ""

    reply = until(proposed, what="a proposal", seconds_max=_SESSION_SECONDS_MAX)
    assert symbol in reply
    number = re.search(r"say approve (\d+)", reply)
    assert number is not None
    assert executions_of(trader, "jarvis") == [], "nothing is traded before a yes"

    approved = conversation.say(re.sub(r"\d+", number[1], approve))
    assert "is FILLED" in approved["reply"], approved
    assert "simulated" in approved["reply"]
    (order_id,) = approved["placed"]
    fills = executions_of(trader, "jarvis")
    assert {fill["order_id"] for fill in fills} == {order_id}
    assert sum(Decimal(fill["notional"]) for fill in fills) <= 500

    reason = conversation.say(why)["reply"]
    order = trader.placed(order_id)
    assert order["decision_id"] in reason
    cited = set(_CITED.findall(reason))
    assert cited, reason
    decision = trader.get(f"/decisions/{order['decision_id']}", service="llm_agents")["decision"]
    facts = {fact["fact_id"] for fact in decision["facts"]}
    assert {f"{order['decision_id']}.{number}" for number in cited} <= facts


class Conversation:
    """One conversation in `polaris chat`, a command a message."""

    def __init__(self, desk: DeskProcess) -> None:
        self._desk = desk
        self._session = ""

    def say(self, message: str) -> dict[str, Any]:
        """The answer to a message, as JSON."""
        session = ["--session", self._session] if self._session else []
        done = polaris(self._desk, "chat", "--json", *session, message)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        self._session = answer["session"]
        return answer
