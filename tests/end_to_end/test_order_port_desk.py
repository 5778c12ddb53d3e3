"""The order port of a real desk: what it acknowledged survives a kill, and a client goes on where it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from polaris_synapse.order_gateway.order_frames import frame
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.order_load import PASSWORD, OrderStream, account_names, write_settings
from polaris_synapse.testing.order_port_client import OrderPortClient

pytestmark = pytest.mark.anyio

_ACKNOWLEDGED_MIN = 200


def trader_token(desk: DeskProcess, account: str) -> str:
    """A log-in of a trader of the account."""
    answer = desk.request(
        "gateway", "POST", "/login", {"username": account, "password": PASSWORD}, headers={"accept": "*/*"}
    )
    return str(msgspec.json.decode(answer.content)["access_token"])


class Answers(list[bytes]):
    """The answers to frames of our own; ``enough`` is set when there are as many as the test waits for."""

    def __init__(self) -> None:
        self.enough = asyncio.Event()

    def take(self, answer: bytes) -> None:
        """Keep one."""
        self.append(answer)
        if len(self) >= _ACKNOWLEDGED_MIN:
            self.enough.set()


async def connected(desk: DeskProcess, account: str, answers: Answers) -> OrderPortClient:
    """A connection of a trader of the account."""
    client = OrderPortClient(desk.place.host, desk.place.ports["order_port"], answers.take)
    await client.connect()
    await client.log_in(token=trader_token(desk, account), answers="BRIEF")
    return client


async def test_what_the_port_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """After SIGKILL in the middle of a stream every acknowledged order is there, and asking again finds each."""
    (account,) = account_names(1)
    write_settings(tmp_path / "desk.yml", (account,))
    book = OrderStream((account,), middle_cents=6_000_000, tag="kill")
    orders = [msgspec.json.decode(book.next()) for _ in range(600)]
    with DeskProcess(tmp_path / "desk", config=str(tmp_path / "desk.yml")) as desk:
        user = {"username": account, "password": PASSWORD, "role": "TRADER", "accounts": [account]}
        desk.json("gateway", "POST", "/users", user)
        answers = Answers()
        client = await connected(desk, account, answers)
        client.send([frame({"id": n, "method": "submit", "params": order}) for n, order in enumerate(orders)])
        await asyncio.wait_for(answers.enough.wait(), 30)
        desk.kill()
        await asyncio.wait_for(client.ended.wait(), 10)
        found = [msgspec.msgpack.decode(answer) for answer in answers]
        acknowledged = {answer["id"]: answer["result"]["order_id"] for answer in found if "result" in answer}
        assert len(acknowledged) >= _ACKNOWLEDGED_MIN

        desk.start()
        client = await connected(desk, account, answers)
        for number, order_id in acknowledged.items():
            again = await client.call("submit", orders[number])
            assert (again["order_id"], again["duplicate"]) == (order_id, True)
        client.close()


async def test_the_port_is_closed_where_it_is_not_asked_for(tmp_path: Path) -> None:
    """A desk whose settings do not switch the port on has none."""
    with DeskProcess(tmp_path / "desk") as desk:
        assert "order_port" not in desk.place.ports
