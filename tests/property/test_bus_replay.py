"""Whatever happens to a host, replaying its journal gives the state it had, and recorders miss and repeat nothing."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from polaris_synapse.bus.core import NOTHING
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.bus.subscriptions import BusSubscription
from polaris_synapse.domain import topics
from polaris_synapse.domain.messages import AccountStanding, AuditNote, BreakerChanged, Message
from polaris_synapse.domain.messages.compliance import AccountKind, KycState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.bus import build_host
from polaris_synapse.testing.cascade import FunctionCore
from polaris_synapse.testing.journal import MemoryJournal


def compliance(message: Message) -> Sequence[Message]:
    """Tell risk of every note, and of every breaker that risk then announces nothing more."""
    if not isinstance(message, AuditNote):
        return NOTHING
    return [
        AccountStanding(
            time_ns=message.time_ns,
            account=message.action,
            account_kind=AccountKind.PERSON,
            kyc=KycState.APPROVED,
            sanctions_hold=False,
            blocked=False,
            restricted_symbols=(),
            version=1,
        )
    ]


def risk(message: Message) -> Sequence[Message]:
    """Announce a breaker for each account standing, which goes back to compliance."""
    if not isinstance(message, AccountStanding):
        return NOTHING
    scope = f"account:{message.account}"
    return [
        BreakerChanged(time_ns=message.time_ns, scope=scope, tripped=True, reason=Reason.NONE, note="", actor="desk")
    ]


class World:
    """A journal that outlives its hosts, and a recorder that outlives them too."""

    def __init__(self, interval: int) -> None:
        self.journal = MemoryJournal()
        self.settings = HostSettings(snapshot_interval_messages=interval)
        self.recorded: list[str] = []
        self.recorded_offset = 0
        self.host: EmbeddedHost | None = None
        self.subscription: BusSubscription | None = None
        self.notes = 0

    async def start(self) -> None:
        """A new process."""
        cores = [FunctionCore("risk", risk), FunctionCore("compliance", compliance)]
        self.host = build_host(cores, journal=self.journal, settings=self.settings)
        self.subscription = BusSubscription(
            [topics.RISK_EVENTS],
            name="recorder",
            backlog_messages_max=1_000,
            droppable=False,
            recorded_offset=self.recorded_offset,
        )
        self.host.attach(self.subscription, records=True)
        await self.host.start()

    async def record(self) -> None:
        """The recorder writes down what it has heard."""
        assert self.subscription is not None
        assert self.host is not None
        if self.subscription.backlog_messages:
            heard = await self.subscription.take() or []
            self.recorded += [
                envelope.message.scope for envelope in heard if isinstance(envelope.message, BreakerChanged)
            ]
        self.recorded_offset = self.subscription.recorded_offset = self.host.released_offset

    async def send(self, count: int) -> None:
        """Some notes together."""
        assert self.host is not None
        numbers = range(self.notes, self.notes + count)
        self.notes += count
        await self.host.send([AuditNote(time_ns=1, actor="t", action=str(number)) for number in numbers])


@given(
    interval=st.integers(1, 12),
    steps=st.lists(st.one_of(st.integers(1, 5), st.sampled_from(["record", "crash", "stop"])), min_size=1, max_size=25),
)
@settings(max_examples=60)
def test_any_history_replays_to_the_same_state(interval: int, steps: list[int | str]) -> None:
    """Over sends, recordings, crashes and stops in any order, state hashes and recorded facts are as without them."""

    async def main() -> None:
        world = World(interval)
        await world.start()
        for step in steps:
            assert world.host is not None
            if isinstance(step, int):
                await world.send(step)
            elif step == "record":
                await world.record()
            else:
                hashes, last = world.host.state_hashes(), world.journal.last_offset
                if step == "stop":
                    await world.record()
                    await world.host.stop()
                crashed = world.host
                cores = [FunctionCore("risk", risk), FunctionCore("compliance", compliance)]
                probe = build_host(cores, journal=world.journal, settings=world.settings)
                report = await probe.recover()
                assert report.state_hashes == hashes
                assert report.last_offset == last
                await world.start()
                # Only now, so that the crashed host wrote nothing more: its task ends with the event loop.
                if step == "crash":
                    await _abandon(crashed)
        await world.record()
        assert world.recorded == [f"account:{number}" for number in range(world.notes)]
        assert world.host is not None
        await world.host.stop()

    anyio.run(main)


async def _abandon(host: EmbeddedHost) -> None:
    """End a host as a crash does: nothing is written any more."""
    task = host._task
    assert task is not None
    task.cancel()
    await anyio.wait_all_tasks_blocked()
