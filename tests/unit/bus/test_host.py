"""The embedded host: journal first, then apply, then release; and what happens when something gives way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.core import NOTHING, Envelope
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.port import BusError, SlowConsumerError
from polaris_synapse.bus.recovery import HostFailedError
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.bus.subscriptions import BusSubscription, is_volatile
from polaris_synapse.domain import topics
from polaris_synapse.domain.messages import (
    AccountStanding,
    Answer,
    AuditNote,
    BookTickerReceived,
    BreakerChanged,
    CancelOrder,
    HostStarted,
    Mark,
    Message,
    MoveFunds,
    ReviewKyc,
    SetKillLevel,
    Tick,
    VenueQuery,
)
from polaris_synapse.domain.messages.compliance import AccountKind, KycState
from polaris_synapse.domain.messages.risk import KillLevel
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.bus import build_host, running_host
from polaris_synapse.testing.cascade import FunctionCore, run_cores
from polaris_synapse.testing.clock import START_NS, ManualClock
from polaris_synapse.testing.journal import MemoryJournal

pytestmark = pytest.mark.anyio


def funds(number: int, time_ns: int = START_NS) -> MoveFunds:
    """A command for risk."""
    return MoveFunds(time_ns=time_ns, account="alice", asset="USDT", amount_units=number, reference=f"r{number}")


def risk_answers(message: Message) -> Sequence[Message]:
    """A risk room that answers commands and announces a breaker at each deposit of 13."""
    if isinstance(message, MoveFunds):
        said: list[Message] = [Answer(time_ns=message.time_ns, request_id=message.request_id, detail=message.reference)]
        if message.amount_units == 13:
            said.append(
                BreakerChanged(
                    time_ns=message.time_ns, scope="*", tripped=True, reason=Reason.NONE, note="", actor="desk"
                )
            )
        if message.amount_units == 666:
            raise RuntimeError("a bug")
        return said
    if isinstance(message, SetKillLevel | CancelOrder):
        return [Answer(time_ns=message.time_ns, request_id=message.request_id)]
    return NOTHING


def cores() -> list[FunctionCore]:
    """Risk answers, compliance and execution listen."""
    return [FunctionCore("risk", risk_answers), FunctionCore("compliance"), FunctionCore("execution")]


def market_data() -> FunctionCore:
    """A market data room that makes a mark of each ticker."""

    def react(message: Message) -> Sequence[Message]:
        if not isinstance(message, BookTickerReceived):
            return NOTHING
        mark = Mark(
            time_ns=message.time_ns,
            symbol=message.symbol,
            source=message.source,
            mark_ticks=message.bid_ticks,
            bid_ticks=message.bid_ticks,
            ask_ticks=message.ask_ticks,
            last_ticks=0,
            healthy=True,
        )
        return [mark]

    return FunctionCore("market_data", react)


def ticker(bid_ticks: int) -> BookTickerReceived:
    """A message for market data."""
    return BookTickerReceived(
        time_ns=START_NS,
        symbol="BTCUSDT",
        source="test",
        update_id=bid_ticks,
        bid_ticks=bid_ticks,
        bid_lots=1,
        ask_ticks=bid_ticks + 1,
        ask_lots=1,
    )


async def until(condition: Any) -> None:
    """Let the event loop turn until something holds."""
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_a_request_is_answered_after_it_is_journaled() -> None:
    """The answer comes with the request's id, the journal holds the input, and derived messages are not in it."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        answer = await host.request(funds(13))
        assert answer.detail == "r13"
        assert answer.request_id
        kinds = [type(m) for _, group in journal.read(1) for m in group]
        assert kinds == [HostStarted, MoveFunds]


async def test_what_waits_shares_a_commit() -> None:
    """A thousand requests that wait together cost one commit, and each gets its own answer."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        before = journal.commits
        answers = await asyncio.gather(*(host.request(funds(n + 1_000)) for n in range(1_000)))
        assert [answer.detail for answer in answers] == [f"r{n + 1_000}" for n in range(1_000)]
        assert journal.commits - before <= 2


async def test_requests_without_a_coroutine_share_a_commit_and_are_answered_each() -> None:
    """``request_soon`` calls back once for each command, after its commit, and one commit serves all of them."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        before = journal.commits
        results: list[Answer | BusError] = []
        complete = anyio.Event()

        def done(result: Answer | BusError) -> None:
            results.append(result)
            if len(results) == 100:
                complete.set()

        for number in range(100):
            host.request_soon(funds(number + 1_000), done)
        assert results == []
        with anyio.fail_after(5):
            await complete.wait()
        assert [result.detail for result in results if isinstance(result, Answer)] == [
            f"r{number + 1_000}" for number in range(100)
        ]
        assert journal.commits - before == 1


async def test_a_commit_waits_for_those_who_are_about_to_send() -> None:
    """Clients that send one after the other, a round of the event loop apart, share a commit."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        before = journal.commits

        async def send(number: int) -> None:
            for _ in range(number):
                await asyncio.sleep(0)
            await host.request(funds(number + 1_000))

        await asyncio.gather(*(send(number) for number in range(5)))
        assert journal.commits - before <= 2


async def test_a_request_without_a_coroutine_hears_why_there_is_no_answer() -> None:
    """Without an answer ``done`` gets TIMED_OUT; a stopped host refuses at once and does not call it."""
    host = build_host(cores(), settings=HostSettings(request_timeout_seconds=0.05))
    await host.start()
    results: list[Answer | BusError] = []
    came = anyio.Event()

    def done(result: Answer | BusError) -> None:
        results.append(result)
        came.set()

    host.request_soon(ReviewKyc(time_ns=1, account="alice", state=KycState.APPROVED), done)
    with anyio.fail_after(5):
        await came.wait()
    assert isinstance(results[0], BusError)
    assert results[0].reason is Reason.TIMED_OUT
    await host.stop()
    with pytest.raises(BusError) as caught:
        host.request_soon(funds(1), done)
    assert caught.value.reason is Reason.SHUTTING_DOWN
    assert len(results) == 1


async def test_facts_are_published_with_ids_made_of_their_causes() -> None:
    """A subscriber gets facts in order, in batches, and each envelope names the input that caused it."""
    async with (
        running_host(cores()) as host,
        host.subscribe([topics.RISK_EVENTS], name="t", backlog_messages_max=10, droppable=True) as subscription,
    ):
        await host.request(funds(1))
        await host.request(funds(13))
        async for batch in subscription:
            assert [envelope.id for envelope in batch] == ["risk/0/3/1"]
            assert isinstance(batch[0].message, BreakerChanged)
            assert batch[0].topic == topics.RISK_EVENTS
            break


async def test_a_fact_also_reaches_the_inboxes_it_is_addressed_to() -> None:
    """A breaker that risk announces arrives at compliance in the same cascade."""
    rooms = cores()
    async with running_host(rooms) as host:
        await host.request(funds(13))
    assert any(b"breaker_changed" in seen for seen in rooms[1].seen)


async def test_two_requests_with_one_id_are_answered_in_turn() -> None:
    """A request id that a caller uses twice at once answers both."""
    async with running_host(cores()) as host:
        first = MoveFunds(time_ns=1, request_id="same", account="a", asset="U", amount_units=1, reference="one")
        second = MoveFunds(time_ns=1, request_id="same", account="a", asset="U", amount_units=1, reference="two")
        answers = await asyncio.gather(host.request(first), host.request(second))
        assert [answer.detail for answer in answers] == ["one", "two"]


async def test_a_request_without_answer_times_out() -> None:
    """A command that nobody answers ends with TIMED_OUT instead of waiting for ever."""
    async with running_host(cores(), settings=HostSettings(request_timeout_seconds=0.05)) as host:
        with pytest.raises(BusError) as caught:
            await host.request(ReviewKyc(time_ns=1, account="alice", state=KycState.APPROVED))
        assert caught.value.reason is Reason.TIMED_OUT


async def test_send_journals_messages_together() -> None:
    """Messages of one send share a group, and the offset of the last comes back."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        notes = [AuditNote(time_ns=START_NS, actor="desk", action=str(n)) for n in range(5)]
        assert await host.send(notes) == 6
        assert await host.send([]) == 6
        assert [len(group) for _, group in journal.read(2)] == [5]
        with pytest.raises(ValueError, match="use post"):
            await host.send([ticker(1)])


async def test_time_in_the_log_never_runs_backwards() -> None:
    """A message stamped earlier than the one before it takes that one's time, in the log and in the cores."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        for time_ns in (START_NS + 10, START_NS + 5, 0):
            await host.request(funds(1, time_ns))
        times = [message.time_ns for _, group in journal.read(1) for message in group]
    assert times == [START_NS, START_NS + 10, START_NS + 10, START_NS + 10]


async def test_the_host_tells_the_time() -> None:
    """A tick enters the log each second of the host's clock."""
    clock, journal = ManualClock(), MemoryJournal()
    async with running_host(cores(), clock=clock, journal=journal):
        for second in range(1, 4):
            await until(lambda: clock.sleepers >= 1)
            clock.advance(1)
            await until(lambda expected=second: journal.last_offset == 1 + expected)
    ticks = [message for _, group in journal.read(2) for message in group]
    assert ticks == [Tick(time_ns=START_NS + second * 10**9) for second in (1, 2, 3)]


async def test_market_data_is_not_journaled_but_its_marks_are() -> None:
    """A posted message is applied at once; the mark it causes is published once and journaled for risk."""
    journal, rooms = MemoryJournal(), [*cores(), market_data()]
    async with (
        running_host(rooms, journal=journal) as host,
        host.subscribe(
            [topics.MARKET_DATA_NORMALIZED], name="t", backlog_messages_max=10, droppable=True
        ) as subscription,
    ):
        host.post(ticker(100))
        assert subscription.published == 1
        await until(lambda: journal.last_offset == 2)
        assert any(b'"kind":"mark"' in seen for seen in rooms[0].seen)
        assert subscription.published == 1
        batch = await subscription.take()
        assert batch is not None
        assert is_volatile(batch[0])
        mark = batch[0].message
        assert isinstance(mark, Mark)
        # A mark that a shell sends itself is journaled as it is and published too.
        await host.send([mark])
        assert subscription.published == 2
    assert [type(m) for _, group in journal.read(1) for m in group] == [HostStarted, Mark, Mark]


async def test_old_marks_give_way_to_new_ones() -> None:
    """Where the journal cannot keep up, the oldest marks are dropped and counted; posting neither blocks nor raises."""
    journal, registry = MemoryJournal(), CollectorRegistry()
    settings, clock = HostSettings(derived_messages_max=3), ManualClock()
    rooms = [*cores(), market_data()]
    async with running_host(rooms, journal=journal, settings=settings, registry=registry, clock=clock) as host:
        for bid in range(1, 11):
            host.post(ticker(bid))
        await until(lambda: journal.last_offset == 4 and clock.sleepers == 2)
        clock.advance(1)
        await until(lambda: registry.get_sample_value("polaris_host_dropped_marks_total") == 7)
    marks = [m.mark_ticks for _, group in journal.read(2) for m in group if isinstance(m, Mark)]
    assert marks == [8, 9, 10]


async def test_a_slow_droppable_subscriber_is_dropped() -> None:
    """It gets SlowConsumerError, and the order path does not notice."""
    async with (
        running_host(cores()) as host,
        host.subscribe([topics.RISK_EVENTS], name="slow", backlog_messages_max=3, droppable=True) as subscription,
    ):
        for _ in range(5):
            await host.request(funds(13))
        with pytest.raises(SlowConsumerError, match="slow fell more than 3"):
            await anext(aiter(subscription))
        assert host.subscribers == frozenset()


async def test_a_slow_subscriber_that_must_not_be_dropped_stops_new_orders() -> None:
    """Ordinary commands are refused until it has caught up; cancels, stops and reports still pass."""
    async with (
        running_host(cores()) as host,
        host.subscribe([topics.RISK_EVENTS], name="sql", backlog_messages_max=2, droppable=False) as subscription,
    ):
        await host.request(funds(13))
        await host.request(funds(13))
        with pytest.raises(BusError) as caught:
            await host.request(funds(1))
        assert caught.value.reason is Reason.OVERLOADED
        assert "sql" in (host.readiness()["subscribers"]() or "")
        assert (await host.request(CancelOrder(time_ns=1, account="alice", order_id=1))).reason is Reason.NONE
        assert (await host.request(SetKillLevel(time_ns=1, level=KillLevel.CANCEL_ALL))).reason is Reason.NONE
        await host.send([AuditNote(time_ns=1, actor="desk", action="still passes")])
        await subscription.take()
        assert (await host.request(funds(1))).reason is Reason.NONE
        assert host.readiness()["subscribers"]() is None


async def test_a_full_queue_refuses_orders_but_not_cancels() -> None:
    """Beyond the queue's bound ordinary commands are refused; the reserve takes cancels and stops."""
    settings = HostSettings(queue_messages_max=2, queue_reserve_messages=1)
    async with running_host(cores(), settings=settings) as host, anyio.create_task_group() as group:
        refused: list[Reason] = []

        async def ask(command: MoveFunds | CancelOrder) -> None:
            try:
                await host.request(command)
            except BusError as error:
                refused.append(error.reason)

        for number in range(3):
            group.start_soon(ask, funds(number))
        for _ in range(2):
            group.start_soon(ask, CancelOrder(time_ns=1, account="alice", order_id=1))
    assert refused == [Reason.OVERLOADED, Reason.OVERLOADED]


async def test_a_failing_journal_refuses_and_recovers() -> None:
    """Nothing of a failed commit has an effect, everybody is told, and a successful probe lets work go on."""
    journal, clock, rooms = MemoryJournal(), ManualClock(), [*cores(), market_data()]
    async with running_host(rooms, journal=journal, clock=clock) as host:
        hashes = host.state_hashes()
        journal.failing = True
        results = await asyncio.gather(
            host.request(funds(1)),
            host.send([AuditNote(time_ns=1, actor="desk", action="x")]),
            return_exceptions=True,
        )
        assert [getattr(result, "reason", None) for result in results] == [Reason.JOURNAL_UNAVAILABLE] * 2
        with pytest.raises(BusError) as caught:
            await host.request(funds(2))
        assert caught.value.reason is Reason.JOURNAL_UNAVAILABLE
        assert host.readiness()["journal"]() is not None
        assert host.state_hashes() == hashes
        clock.advance(1)
        await anyio.sleep(0.01)
        assert host.readiness()["journal"]() is not None
        journal.failing = False
        await until(lambda: clock.sleepers >= 2)
        clock.advance(1)
        await until(lambda: host.readiness()["journal"]() is None)
        assert (await host.request(funds(3))).reason is Reason.NONE


async def test_text_that_json_cannot_hold_is_refused_alone() -> None:
    """A message with half a surrogate pair is refused; those that shared its commit are not."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        broken = MoveFunds(time_ns=1, account="\ud800", asset="U", amount_units=1, reference="r")
        note = AuditNote(time_ns=1, actor="desk", action="fine")
        results = await asyncio.gather(
            host.request(funds(1)),
            host.send([note, note]),
            host.request(broken),
            host.send([note, AuditNote(time_ns=1, actor="\udfff", action="x")]),
            host.request(funds(2)),
            return_exceptions=True,
        )
        assert [getattr(result, "reason", "sent") for result in results] == [
            Reason.NONE,
            "sent",
            Reason.INVALID_VALUE,
            Reason.INVALID_VALUE,
            Reason.NONE,
        ]
        assert journal.last_offset == 5
        assert host.readiness()["host"]() is None


async def test_what_follows_from_a_mark_waits_until_the_mark_is_safe() -> None:
    """A group of marks alone is not synchronised, unless something follows from it that leaves the process."""
    journal = MemoryJournal()
    tripped = BreakerChanged(time_ns=1, scope="*", tripped=True, reason=Reason.NONE, note="", actor="desk")
    mark = Mark(time_ns=1, symbol="B", source="t", mark_ticks=1, bid_ticks=1, ask_ticks=1, last_ticks=1, healthy=True)

    def trip_on_seven(message: Message) -> Sequence[Message]:
        return [tripped] if isinstance(message, Mark) and message.mark_ticks == 7 else NOTHING

    async with (
        running_host([FunctionCore("risk", trip_on_seven)], journal=journal) as host,
        host.subscribe([topics.RISK_EVENTS], name="t", backlog_messages_max=9, droppable=True) as subscription,
    ):
        before = journal.synchronised - journal.commits
        await host.send([mark])
        assert journal.synchronised - journal.commits == before
        await host.send([replace(mark, mark_ticks=7)])
        assert journal.synchronised - journal.commits == before + 1
        assert subscription.published == 1


async def test_a_core_that_raises_stops_the_host() -> None:
    """A bug stops the host at its offset; nothing of that input is released and everybody is told."""
    host = build_host(cores())
    await host.start()
    async with host.subscribe([topics.RISK_EVENTS], name="t", backlog_messages_max=9, droppable=True) as subscription:
        results = await asyncio.gather(
            host.request(funds(13)), host.request(funds(666)), host.request(funds(1)), return_exceptions=True
        )
        assert [getattr(result, "reason", None) for result in results] == [Reason.SHUTTING_DOWN] * 3
        assert await subscription.take() is None
    with pytest.raises(HostFailedError, match="stopped at offset 3: the core risk failed on MoveFunds") as caught:
        await host.wait_stopped()
    assert caught.value.offset == 3
    with pytest.raises(BusError) as refused:
        await host.request(funds(1))
    assert refused.value.reason is Reason.SHUTTING_DOWN
    assert "failed" in (host.readiness()["host"]() or "")
    await host.stop()


async def test_a_host_that_has_not_started_says_so() -> None:
    """Before open, requests are refused with NOT_READY and market data is ignored."""
    rooms = [*cores(), market_data()]
    host = build_host(rooms)
    with pytest.raises(BusError) as caught:
        await host.request(funds(1))
    assert caught.value.reason is Reason.NOT_READY
    host.post(ticker(1))
    assert rooms[-1].seen == []
    await host.start()
    await host.stop()


async def test_stopping_works_off_what_waits() -> None:
    """Requests that were taken are answered before the host stops; later ones are refused."""
    host = build_host(cores())
    await host.start()
    async with anyio.create_task_group() as group:
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await host.request(funds(1)))

        group.start_soon(ask)
        await anyio.lowlevel.checkpoint()
        await host.stop()
    assert len(answers) == 1
    with pytest.raises(BusError) as caught:
        await host.request(funds(2))
    assert caught.value.reason is Reason.SHUTTING_DOWN


async def test_run_serves_until_it_is_cancelled() -> None:
    """`run` starts, serves, and on cancellation stops with a snapshot of everything."""
    journal = MemoryJournal()
    host = build_host(cores(), journal=journal)
    async with anyio.create_task_group() as group:
        group.start_soon(host.run)
        await until(lambda: host.readiness()["host"]() is None)
        await host.request(funds(1))
        group.cancel_scope.cancel()
    assert journal.snapshots() == [2]


async def restart(
    journal: MemoryJournal, rooms: Sequence[FunctionCore], *, recorder: BusSubscription | None = None
) -> Any:
    """Start another host on the same journal, stop it, and give its report."""
    host = build_host(rooms, journal=journal)
    if recorder is not None:
        host.attach(recorder, records=True)
    report = await host.start()
    await host.stop()
    return report


async def test_replay_gives_the_same_state_without_repeating_commands() -> None:
    """After a crash the cores are as they were, and what was sent to the world is not sent again."""

    def asks_venue(message: Message) -> Sequence[Message]:
        if isinstance(message, AuditNote | HostStarted):
            return NOTHING
        return [
            VenueQuery(
                time_ns=message.time_ns, venue="paper", symbol="B", order_id=1, venue_client_id="x", venue_order_id=""
            )
        ]

    journal = MemoryJournal()
    host = build_host([FunctionCore("risk", risk_answers), FunctionCore("execution", asks_venue)], journal=journal)
    await host.start()
    for number in range(20):
        await host.request(funds(number))
    hashes = host.state_hashes()
    # No stop: the process is gone.
    again = build_host([FunctionCore("risk", risk_answers), FunctionCore("execution", asks_venue)], journal=journal)
    async with again.subscribe([topics.VENUE_COMMANDS], name="v", backlog_messages_max=99, droppable=False) as commands:
        report = await again.start()
        assert report.state_hashes == hashes
        assert (report.replayed_messages, report.snapshot_offset, report.last_offset) == (21, 0, 21)
        assert commands.published == 0
    await again.stop()
    await host.stop()


async def test_a_snapshot_shortens_replay() -> None:
    """With a snapshot every five inputs, a restart replays only what came after the newest, to the same state."""
    journal = MemoryJournal()
    settings = HostSettings(snapshot_interval_messages=5)
    host = build_host(cores(), journal=journal, settings=settings)
    await host.start()
    for number in range(12):
        await host.request(funds(number))
    hashes = host.state_hashes()
    report = await restart(journal, cores())
    assert report.snapshot_offset == 10
    assert report.replayed_messages == 3
    assert report.state_hashes == hashes
    await host.stop()


async def test_a_damaged_snapshot_is_passed_over() -> None:
    """A snapshot that does not restore is reported and the journal does the work instead."""
    journal = MemoryJournal()
    async with running_host(cores(), journal=journal) as host:
        await host.request(funds(1))
        hashes = host.state_hashes()
    [offset] = journal.snapshots()
    whole = journal.load_snapshot(offset)
    journal._snapshots[offset] = replace(whole, parts=tuple(replace(part, data=b"[]") for part in whole.parts))
    report = await restart(journal, cores())
    assert len(report.unusable_snapshots) == 1
    assert report.snapshot_offset == 0
    assert report.state_hashes == hashes


async def test_a_recording_subscriber_gets_exactly_what_it_lacks() -> None:
    """Facts beyond what it has recorded are published to it again with the same ids, and none before."""
    journal = MemoryJournal()
    heard: list[Envelope] = []
    host = build_host(cores(), journal=journal)
    first = BusSubscription([topics.RISK_EVENTS], name="sql", backlog_messages_max=99, droppable=False)
    host.attach(first, records=True)
    await host.start()
    for _ in range(4):
        await host.request(funds(13))
    heard += await first.take() or []
    assert [envelope.offset for envelope in heard] == [2, 3, 4, 5]
    await host.stop()
    again = BusSubscription(
        [topics.RISK_EVENTS], name="sql", backlog_messages_max=99, droppable=False, recorded_offset=3
    )
    report = await restart(journal, cores(), recorder=again)
    # The snapshot at the end would leave a hole, so replay began before it.
    assert report.snapshot_offset == 0
    assert report.missing_facts == {}
    assert await again.take() == heard[2:]


async def test_facts_that_cannot_be_made_again_are_reported() -> None:
    """Where the journal's beginning was deleted and a subscriber lost its store, the hole is named."""
    journal = MemoryJournal(snapshots_kept=1)
    settings = HostSettings(snapshot_interval_messages=2, journal_keep_all=False, snapshots_kept=1)
    host = build_host(cores(), journal=journal, settings=settings)
    await host.start()
    for _ in range(9):
        await host.request(funds(13))
    await host.stop()
    assert journal.first_offset > 1
    lost = BusSubscription([topics.RISK_EVENTS], name="sql", backlog_messages_max=99, droppable=False)
    report = await restart(journal, cores(), recorder=lost)
    assert report.missing_facts == {"sql": (1, report.snapshot_offset)}


async def test_cores_run_together_without_a_host() -> None:
    """`run_cores` works off consequences in the desk's order, market data and its marks included."""
    rooms = [*cores(), market_data()]
    outputs = run_cores(rooms, [funds(13), ticker(5)])
    assert [type(output) for output in outputs] == [Answer, BreakerChanged, Mark]
    assert any(b'"kind":"mark"' in seen for seen in rooms[0].seen)
    standing = AccountStanding(
        time_ns=1,
        account="a",
        account_kind=AccountKind.PERSON,
        kyc=KycState.APPROVED,
        sanctions_hold=False,
        blocked=False,
        restricted_symbols=(),
        version=1,
    )
    assert run_cores([FunctionCore("risk")], [standing]) == []


async def test_subscribing_to_nothing_is_a_mistake() -> None:
    """A topic that no message is published on is refused when subscribing."""
    host: EmbeddedHost = build_host(cores())
    with pytest.raises(ValueError, match="no message is published on"):
        host.subscribe(["risk.inbox"], name="t", backlog_messages_max=1, droppable=True)
