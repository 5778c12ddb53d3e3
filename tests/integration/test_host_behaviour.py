"""One suite of behaviour on both hosts: the same commands lead to the same answers, facts, money and state hashes."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec import Struct
from tests.integration.host_behaviours import AFTER_RESTART, BEHAVIOURS, Behaviour
from tests.integration.host_worlds import FACTS, ROOMS, DeskUnderTest, Host, embedded_world, kafka_world

from polaris_synapse.domain.messages import Answer, Message
from polaris_synapse.testing.servers.kafka import KafkaServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]
HOSTS = ("embedded", "kafka")


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of one behaviour. ``problem``: where it did not hold, empty where it did."""

    problem: str
    answers: tuple[Answer, ...]
    hashes: Mapping[str, str]


class Life(Struct, frozen=True, kw_only=True):
    """A desk's whole life: the outcome of each behaviour, all facts, and what a replay of its log comes to."""

    outcomes: Mapping[str, Outcome]
    facts: Mapping[str, list[Message]]
    hashes: Mapping[str, str]
    replayed: Mapping[str, str]


async def run(desk: DeskUnderTest, behaviours: Mapping[str, Behaviour], outcomes: dict[str, Outcome]) -> None:
    """Run behaviours one after the other; one that does not hold does not keep the next from being tried."""
    for name, behaviour in behaviours.items():
        told, problem = len(desk.answers), ""
        try:
            await behaviour(desk)
            await desk.pass_time(1.0)
        except AssertionError:
            problem = traceback.format_exc()
        outcomes[name] = Outcome(problem=problem, answers=tuple(desk.answers[told:]), hashes=desk.hashes())


async def live(host: Host, directory: Path) -> Life:
    """All behaviours, with a restart in between."""
    desk, outcomes = DeskUnderTest(host, directory), dict[str, Outcome]()
    async with desk.open():
        await run(desk, BEHAVIOURS, outcomes)
    await host.restart()
    async with desk.open():
        await run(desk, AFTER_RESTART, outcomes)
        hashes, replayed = desk.hashes(), await host.replayed()
    return Life(outcomes=outcomes, facts=desk.facts, hashes=hashes, replayed=replayed)


@pytest.fixture(scope="module")
async def lives(kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Life]:
    """The same life on both hosts."""
    directories = {name: tmp_path_factory.mktemp(name) for name in HOSTS}
    found: dict[str, Life] = {}
    async with embedded_world(directories["embedded"]) as embedded:
        found["embedded"] = await live(embedded, directories["embedded"])
    async with kafka_world(kafka_server) as kafka:
        found["kafka"] = await live(kafka, directories["kafka"])
    return found


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("behaviour", [*BEHAVIOURS, *AFTER_RESTART])
async def test_the_behaviour_holds(lives: dict[str, Life], behaviour: str, host: str) -> None:
    """What the behaviour promises comes true on this host."""
    assert not lives[host].outcomes[behaviour].problem


@pytest.mark.parametrize("behaviour", [*BEHAVIOURS, *AFTER_RESTART])
async def test_both_hosts_answer_alike(lives: dict[str, Life], behaviour: str) -> None:
    """Every command of the behaviour has the same answer to the last field, refusals and duplicates included."""
    assert lives["embedded"].outcomes[behaviour].answers == lives["kafka"].outcomes[behaviour].answers


@pytest.mark.parametrize("behaviour", [*BEHAVIOURS, *AFTER_RESTART])
async def test_both_hosts_come_to_the_same_state(lives: dict[str, Life], behaviour: str) -> None:
    """After each behaviour every room's state has the same hash on both hosts."""
    embedded, kafka = (dict(lives[host].outcomes[behaviour].hashes) for host in HOSTS)
    if behaviour in AFTER_RESTART:
        # The audit chain tells up to which offset the desk had replayed, and the hosts' logs count differently.
        del embedded["compliance"], kafka["compliance"]
    assert embedded == kafka


@pytest.mark.parametrize("topic", FACTS)
async def test_both_hosts_say_the_same_facts(lives: dict[str, Life], topic: str) -> None:
    """Each topic has the same messages in the same order."""
    assert lives["embedded"].facts[topic] == lives["kafka"].facts[topic]
    assert lives["embedded"].facts[topic]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("room", ROOMS)
async def test_a_replay_of_the_log_comes_to_the_same_state(lives: dict[str, Life], host: str, room: str) -> None:
    """Fresh cores that fold the whole log, without a snapshot, have the state of those that lived through it."""
    assert lives[host].replayed[room] == lives[host].hashes[room]
