"""One simulated world: the desk's processes, its disk, the network, the venue, the people, and what goes wrong.

Everything that happens is an entry of one schedule, ordered by time and then by the order of its making, and every
choice is drawn from one generator, so a seed names a run. A run has two phases. While things go wrong the checkers hold
after every turn of the host; then the faults stop, and within CONVERGE_SECONDS_MAX the desk and the venue agree.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Final

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.bus.core import Core, Envelope, encode_message
from polaris_synapse.bus.journal import JournalCorruptError, JournalWriteError
from polaris_synapse.bus.port import BusError
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.domain.instruments import PAPER_VENUE
from polaris_synapse.domain.messages import (
    Answer,
    Command,
    KillLevel,
    ProposalMade,
    ResolveBreak,
    SetKillLevel,
    SubmitOrder,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import PROPOSALS, VENUE_COMMANDS
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.execution.service import ExecutionService
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.clock import START_NS
from polaris_synapse.testing.simulation import final_checks
from polaris_synapse.testing.simulation.checkers import FACT_TOPICS, Books, Violation, hold
from polaris_synapse.testing.simulation.clients import INSTRUMENTS, USDT, Clients, opening_commands
from polaris_synapse.testing.simulation.clock import SECOND_NS, ProcessClock, SimulatedTime
from polaris_synapse.testing.simulation.disk import CrashPoint, Disk, SimulatedJournal
from polaris_synapse.testing.simulation.exchange import Exchange, HostileExchange
from polaris_synapse.testing.simulation.faults import Faults, SimulatedCrash, draw_faults
from polaris_synapse.testing.simulation.host import AnswerBox, DirectSubscription, SimulatedHost
from polaris_synapse.testing.simulation.link import ExecutionLink
from polaris_synapse.testing.simulation.market import SimulatedMarket
from polaris_synapse.testing.simulation.paper import PaperTwin
from polaris_synapse.testing.venues import ScriptedVenue

#: After the faults have stopped, desk and venue agree within so long.
CONVERGE_SECONDS_MAX: Final = 300
_TRACE_KEPT: Final = 80
_DAYS_JUMPED_MAX: Final = 3


def durable_cores() -> dict[str, Core]:
    """The desk's durable cores, as ``desk.rooms`` makes them."""
    cores: tuple[Core, ...] = (
        RiskCore(valuation_asset=USDT.code),
        MatchingCore(),
        ExecutionCore(),
        ComplianceCore(),
        AgentsCore(valuation=USDT),
    )
    return {core.name: core for core in cores}


class _NoBus:
    """Stands where the execution service has its bus: the link does its sending."""


class World:
    """See the module. ``run`` raises Violation."""

    def __init__(self, seed: int, *, faults: Faults | None = None) -> None:
        self.seed = seed
        self.rng = Random(seed)  # noqa: S311  # reproducible chance is the point
        self.faults = draw_faults(self.rng) if faults is None else faults
        self.time = SimulatedTime()
        self.clock = ProcessClock(self.time)
        self.disk = self.make_disk()
        self.market = SimulatedMarket(self.rng, self.time)
        self.exchange: Exchange = self._make_exchange()
        self.clients = Clients(self.rng, self.faults.stops_per_step)
        self.moved: Counter[str] = Counter()
        self.books = Books(self.market.low_price, lambda asset: self.moved[asset])
        self.trace: deque[tuple[int, str, object]] = deque(maxlen=_TRACE_KEPT)
        self.outage = False
        self.crashes = 0
        self.moves = 0
        self.inputs = 0
        self.answered = 0
        self.host: SimulatedHost | None = None
        self.link: ExecutionLink | None = None
        self.accepted: dict[tuple[str, str], int] = {}
        self.accepted_funds: set[tuple[str, str]] = set()
        self.acknowledged_kills: dict[str, KillLevel] = {}
        self._requests: dict[str, Command] = {}
        self._schedule: list[tuple[int, int, int, Callable[[], None]]] = []
        self._entries = 0
        self._process = 0
        self._turn_due = False
        self._release_armed = 0
        self._in_turn = False
        self._host_settings = HostSettings(
            queue_messages_max=self.rng.choice((20, 20_000)),
            queue_reserve_messages=200,
            batch_messages_max=self.rng.choice((1, 3, 2_000)),
            derived_messages_max=self.rng.choice((4, 10_000)),
            snapshot_interval_messages=self.rng.choice((5, 40, 250_000)),
            journal_keep_all=self.rng.random() < 0.7,
        )

    def make_cores(self) -> dict[str, Core]:
        """The cores of one process. Overridden to see what a wrong one leads to."""
        return durable_cores()

    def make_disk(self) -> Disk:
        """The disk. Overridden like the cores."""
        return Disk(self.rng, self.faults)

    def _make_exchange(self) -> Exchange:
        listed = [instrument for instrument in INSTRUMENTS if instrument.venue == PAPER_VENUE]
        if self.rng.random() < 0.3:
            return PaperTwin(self.rng, self._desk_ns, listed, self.market.prices)
        return HostileExchange(self.rng, self.faults, self.time, self._desk_ns, listed, self.market.prices)

    def _desk_ns(self) -> int:
        """What the desk's clock shows, that of its last process while none runs."""
        return self.clock.now_ns()

    # -- running -------------------------------------------------------------------------------------------------

    def trace_lines(self) -> list[str]:
        """The last things that happened, one line each, with the seconds since the start."""
        return [f"{(at_ns - START_NS) / SECOND_NS:10.3f} {label:9} {what}" for at_ns, label, what in self.trace]

    def fingerprint(self) -> str:
        """Equal for equal runs: everything on the disk, everything at the venue, and how often chance was asked."""
        digest = blake2b(digest_size=16)
        for group in self.disk.groups:
            digest.update(group.payload)
        for client_id, status in self.exchange.orders():
            digest.update(client_id.encode() + encode_message(status))
        digest.update(repr(self.rng.random()).encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """How much happened."""
        books = self.books
        return {
            "inputs journaled": sum(group.count for group in self.disk.groups),
            "crashes": self.crashes,
            "orders accepted": len(books.orders),
            "orders at the venue": len(self.exchange.accepted),
            "fills": len(books.fills),
            "outcomes unknown": books.unknown,
            "balances moved by the venue": self.moves,
            "breaks opened": len(books.breaks),
        }

    def run(self, steps: int) -> None:
        """Both phases. Raises Violation."""
        self._open()
        for _ in range(steps):
            self._step()
        self._heal()
        self._converge()
        final_checks.check_all(self)

    def _open(self) -> None:
        """Start the desk and set it up while nothing goes wrong yet."""
        faults, self.faults = self.faults, Faults()
        self._use(self.faults)
        self._start_process()
        for command in opening_commands(self.clock.now_ns()):
            self.after(0.0, partial(self._arrive, command))
            self._pass(0.03)
        hold(self.answered == self.inputs, "set_up", f"{self.answered} of {self.inputs} commands were answered")
        self._every(1.0, self._market_second)
        self._every(1.0, self._venue_time)
        self._pass(2.5)
        self.faults = faults
        self._use(faults)

    def _use(self, faults: Faults) -> None:
        self.disk.faults = faults
        if isinstance(self.exchange, HostileExchange):
            self.exchange._faults = faults
        if self.link is not None:
            self.link._faults = faults

    def _step(self) -> None:
        rng = self.rng
        self._misfortune()
        self._ask(self.clients.next_command(self.clock.now_ns(), self.market.prices))
        if rng.random() < 0.04:
            for command in self.clients.reopen(self.clock.now_ns()):
                self._ask(command)
        for found in self.books.open_breaks():
            if rng.random() < 0.1:
                self._ask(
                    ResolveBreak(time_ns=self.clock.now_ns(), actor="user:r", break_id=found.break_id, note="checked")
                )
        self._pass(rng.choice((0.0, 0.0, 0.001, 0.05, 0.5, 1.5, rng.random() * 8)))

    def _misfortune(self) -> None:
        """What goes wrong at this step."""
        rng, faults = self.rng, self.faults

        def happens(rate: float) -> bool:
            return rng.random() < rate

        if happens(faults.crash_per_step):
            self.after(rng.random() * 3, self._crash, survives=True)
        if happens(faults.crash_in_commit_per_step):
            self.disk.armed = rng.choice(list(CrashPoint))
        if happens(faults.crash_in_release_per_step):
            self._release_armed = rng.randint(1, 6)
        if happens(faults.outage_per_step):
            self.outage = True
            self.after(rng.random() * 30, self._end_outage, survives=True)
        if happens(faults.disk_full_per_step):
            self.disk.full = True
            self.after(rng.random() * 20, self._free_disk, survives=True)
        if happens(faults.clock_jump_per_step):
            jump = rng.randint(-faults.clock_jump_seconds_max, faults.clock_jump_seconds_max)
            self.note("clock jumps", f"{jump} s")
            self.time.offset_ns += jump * SECOND_NS
        if happens(faults.balance_moved_per_step):
            asset, units = rng.choice(("BTC", "ETH", "USDT")), rng.choice((-1, 1, 10**6))
            self.note("moved", f"the venue moves its {asset} by {units}")
            self.moved[asset] += units
            self.moves += 1
        if happens(faults.stale_per_step):
            self.market.stale = not self.market.stale
        if happens(faults.price_jump_per_step):
            self._tell_exchange(self.market.jump())

    def _heal(self) -> None:
        """From here on nothing goes wrong any more; what was under way still ends as it will."""
        self.note("healed", "")
        self.faults = Faults()
        self._use(self.faults)
        self.disk.full = self.outage = self.market.stale = False
        self.disk.armed, self._release_armed = None, 0
        if self.link is not None:
            self.link.reconnected()

    def _converge(self) -> None:
        waited = 0
        while waited < CONVERGE_SECONDS_MAX:
            self._pass(5)
            waited += 5
            if not final_checks.unsettled(self):
                break
        else:
            raise Violation("converges", "; ".join(final_checks.unsettled(self)[:6]))

    # -- the schedule --------------------------------------------------------------------------------------------

    def after(self, seconds: float, call: Callable[[], None], *, survives: bool = False) -> None:
        """See Surroundings."""
        self._entries += 1
        at_ns = self.time.true_ns + round(seconds * SECOND_NS)
        process = 0 if survives else self._process
        heapq.heappush(self._schedule, (at_ns, self._entries, process, call))

    def _every(self, seconds: float, call: Callable[[], None], *, survives: bool = True) -> None:
        def again() -> None:
            self.after(seconds, again, survives=survives)
            call()

        self.after(seconds, again, survives=survives)

    def _pass(self, seconds: float) -> None:
        """Let time pass and everything happen that is due."""
        until_ns = self.time.true_ns + round(seconds * SECOND_NS)
        while self._schedule and self._schedule[0][0] <= until_ns:
            at_ns, _, process, call = heapq.heappop(self._schedule)
            self.time.true_ns = max(at_ns, self.time.true_ns)
            if process in (0, self._process):
                self._guarded(call)
        self.time.true_ns = until_ns

    def _guarded(self, call: Callable[[], None]) -> None:
        """Run one thing; where the process dies in it, it is dead afterwards."""
        try:
            call()
        except SimulatedCrash:
            self._die()
            return
        host = self.host
        if host is not None and host.has_work and not self._turn_due:
            self._turn_due = True
            self.after(self.rng.choice((0.0, 0.0, 0.001, 0.02)), self._turn)

    def note(self, label: str, what: object) -> None:
        """See Surroundings."""
        self.trace.append((self.time.true_ns, label, what))

    # -- the desk's process --------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._turn_due = False
        host = self.host
        if host is None or not host.has_work:
            return
        self._in_turn = True
        host.turn()
        self._in_turn = False
        # As a projector does, which knows from this that inputs without facts are behind it, too.
        self._facts_subscription.recorded_offset = self.books.recorded_offset = host.released_offset
        self._look_at(host)

    def _look_at(self, host: SimulatedHost) -> None:
        """What holds after every turn."""
        if host.failure is not None:
            cause = host.failure.__cause__ or host.failure
            if isinstance(cause, JournalWriteError):
                # Nothing may follow from what a power cut could take back, so the host stops: a restart recovers.
                raise SimulatedCrash
            raise Violation("core_raised", repr(cause))
        risk = host.cores["risk"]
        assert isinstance(risk, RiskCore)
        problems = risk.check()
        hold(not problems, "reservations", "; ".join(problems))

    def _crash(self) -> None:
        if self.host is not None:
            raise SimulatedCrash

    def _die(self) -> None:
        """The process is gone. What it had in memory with it; what is on its way to the venue still arrives."""
        host, self.host, self.link = self.host, None, None
        self.crashes += 1
        self._process += 1
        self._turn_due = False
        self._release_armed = 0
        clean = host is not None and not self._in_turn
        self._in_turn = False
        hashes = host.state_hashes() if host is not None and clean else {}
        offset = host.last_offset if host is not None else 0
        lost = self.disk.crash(power_cut=self.rng.random() < self.faults.power_loss)
        self.note("crash", f"{lost} unsynchronised groups lost")
        if self.rng.random() < self.faults.snapshot_rot:
            self.disk.rot_snapshot()
        if self.rng.random() < self.faults.crash_clock_jump:
            jump = self.rng.randint(-_DAYS_JUMPED_MAX, _DAYS_JUMPED_MAX) * 86_400
            self.note("clock jumps", f"{jump} s while the process is down")
            self.time.offset_ns += jump * SECOND_NS
        self.exchange.desk_stopped()
        self.after(self.rng.choice((0.01, 1.0, 20.0)), lambda: self._restart(offset, hashes), survives=True)

    def _restart(self, offset: int, hashes: dict[str, str]) -> None:
        self._find_rot()
        self._start_process()
        host = self.host
        if host is not None and hashes and self._recovered_offset == offset:
            found = self._recovered_hashes
            wrong = [name for name in hashes if hashes[name] != found[name]]
            hold(not wrong, "replay_equals_live", f"after recovery at offset {offset}: {', '.join(wrong)}")

    def _find_rot(self) -> None:
        """Damage in the middle of the journal is found before anything is believed, and named by its offset."""
        if len(self.disk.groups) < 3 or self.rng.random() > self.faults.snapshot_rot:
            return
        index = self.rng.randrange(len(self.disk.groups) - 1)
        before = self.disk.rot_group(index)
        try:
            SimulatedJournal(self.disk)
        except JournalCorruptError as error:
            hold(error.offset == before.first_offset, "damage_found", f"named {error.offset}")
        else:
            raise Violation("damage_found", f"a flipped bit in the group at {before.first_offset} was not noticed")
        finally:
            self.disk.groups[index] = before

    def _start_process(self) -> None:
        self._process = max(self._process, 1)
        journal = SimulatedJournal(self.disk)
        self.clock = ProcessClock(self.time, not_before_ns=journal.last_time_ns)
        answers = AnswerBox(self._answered, self._refused)
        host = SimulatedHost(journal, self.make_cores(), self.clock, self._host_settings, answers)
        facts = DirectSubscription(
            FACT_TOPICS,
            self._facts,
            name="books",
            recorded_offset=self.books.recorded_offset,
            fact_offset=self.books.fact_offset,
        )
        host.attach(facts, records=True)
        self._facts_subscription = facts
        report = host.recover_now()
        self._remember_place()
        self._recovered_offset, self._recovered_hashes = report.last_offset, report.state_hashes
        gone = report.missing_facts and not report.unusable_snapshots
        hold(not gone, "facts_complete", f"facts are gone for good: {report.missing_facts}")
        self.note("recovered", f"offset {report.last_offset} from snapshot {report.snapshot_offset}")
        host.attach(DirectSubscription((VENUE_COMMANDS, PROPOSALS), self._commands, name="execution"), records=False)
        service = ExecutionService(
            bus=_NoBus(),  # type: ignore[arg-type]  # never used: the link sends
            clock=self.clock,
            registry=CollectorRegistry(),
            settings=ExecutionSettings(),
            venues=[ScriptedVenue(name=PAPER_VENUE)],
            stopped=self._stopped,
        )
        self.link = ExecutionLink(self, self.rng, self.faults, self.clock, host, self.exchange, service)
        self.host = host
        self._in_turn = True
        try:
            host.open_now()
        except JournalWriteError:
            self._in_turn = False
            raise SimulatedCrash from None
        self._in_turn = False
        self._look_at(host)
        final_checks.check_acknowledged(self)
        self.link.start()
        self._every(1.0, host.tick, survives=False)
        self._every(1.0, host.probe, survives=False)

    def _stopped(self, command: VenueSubmit) -> bool:
        risk = self.host.cores["risk"] if self.host is not None else None
        return isinstance(risk, RiskCore) and risk.keeps_back(command.request)

    def _remember_place(self) -> None:
        """How far the books have come outlives the process, as a read model's offset does."""
        self.books.recorded_offset = self._facts_subscription.recorded_offset
        self.books.fact_offset = self._facts_subscription.fact_offset

    # -- what the host releases ----------------------------------------------------------------------------------

    def _count_down(self) -> None:
        """The process may die between any two things that it releases."""
        if self._release_armed:
            self._release_armed -= 1
            if not self._release_armed:
                raise SimulatedCrash

    def _facts(self, batch: Sequence[Envelope]) -> None:
        self._count_down()
        self.books.take(batch)
        for envelope in batch:
            self.note("said", envelope.message)
            self.books.recorded_offset = max(self.books.recorded_offset, envelope.offset)

    def _commands(self, batch: Sequence[Envelope]) -> None:
        self._remember_place()
        self._count_down()
        if self.link is not None:
            self.link.take(batch)
        for envelope in batch:
            if isinstance(envelope.message, ProposalMade):
                self._propose(envelope.message)

    def _propose(self, proposal: ProposalMade) -> None:
        order = SubmitOrder(time_ns=self.clock.now_ns(), actor=f"agent:{proposal.agent}", order=proposal.order)
        self.after(self.rng.random(), lambda: self._arrive(order))

    def _answered(self, answer: Answer) -> None:
        self._count_down()
        command = self._requests.get(answer.request_id)
        self.note("answered", answer)
        self.answered += 1
        if command is None or answer.reason is not Reason.NONE:
            return
        if isinstance(command, SubmitOrder):
            key = (command.order.account, command.order.client_order_id)
            order_id = answer.order_ids[0] if answer.duplicate else answer.order.order_id if answer.order else 0
            known = self.accepted.setdefault(key, order_id)
            hold(known == order_id, "acknowledged_kept", f"{key} was order {known} and is now order {order_id}")
            if not answer.duplicate:
                hold(self.books.client_ids.get(key) == order_id, "acknowledged_kept", f"{key} is not in the facts")
        elif isinstance(command, SetKillLevel):
            self.acknowledged_kills[command.account] = command.level
        elif hasattr(command, "reference"):
            self.accepted_funds.add((command.account, command.reference))  # type: ignore[attr-defined]  # MoveFunds

    def _refused(self, request_id: str, reason: Reason) -> None:
        self.note("refused", f"{request_id} {reason.name}")

    def held(self) -> Counter[str]:
        """See Surroundings: what its trades made, and what it moved by itself."""
        held = self.exchange.balances()
        held.update(self.moved)
        return held

    def sends(self, command: VenueSubmit) -> None:
        """See Surroundings: no order leaves after the kill switch was acknowledged, but for its own."""
        request, kills = command.request, self.acknowledged_kills
        scopes = ("*", request.account)
        # A level that was lowered since is off, also where the answer to that died with the process.
        levels = (
            min(kills.get(name, KillLevel.OFF), self.books.kill_levels.get(name, KillLevel.OFF)) for name in scopes
        )
        level = max(levels)
        hold(
            level < KillLevel.CANCEL_ALL or request.client_order_id.startswith("flatten-"),
            "kill_switch",
            f"order {command.order_id} was sent after {level.name} was acknowledged for {request.account}",
        )

    # -- people --------------------------------------------------------------------------------------------------

    def _ask(self, command: Command) -> None:
        """Somebody sends a command over a network that may hold it back or double it."""
        rng, faults = self.rng, self.faults
        copies = 2 if rng.random() < faults.client_doubled else 1
        for _ in range(copies):
            late = rng.random() < faults.client_late
            self.after(rng.random() * 5 if late else 0.001, lambda: self._arrive(command), survives=True)

    def _arrive(self, command: Command) -> None:
        """The gateway puts a command on the bus, with a request id of its own for each arrival."""
        if self.host is None:
            return
        self.inputs += 1
        request_id = f"r{self.inputs}"
        command = _stamped(command, request_id, self.clock.now_ns())
        self._requests[request_id] = command
        self.note("asked", command)
        try:
            self.host.command(command)
        except BusError as error:
            self.note("refused", f"{request_id} {error.reason.name}")

    # -- the market and the venue --------------------------------------------------------------------------------

    def _market_second(self) -> None:
        """A second of the market: prices move, and the desk hears of it unless its feed is stale."""
        market, now_ns = self.market, self.clock.now_ns()
        for symbol in list(market.prices):
            market.wander(symbol)
            self._tell_exchange(symbol)
            if self.host is not None and not market.stale:
                self.host.mark(market.words(symbol, now_ns, unhealthy=self.faults.stale_per_step))

    def _tell_exchange(self, symbol: str) -> None:
        self.exchange.move_price(symbol, self.market.prices[symbol])
        self.stream(self.exchange.take_reports())

    def _venue_time(self) -> None:
        self.exchange.advance()
        self.stream(self.exchange.take_reports())

    def _end_outage(self) -> None:
        self.outage = False
        self._reconnect()

    def _free_disk(self) -> None:
        self.disk.full = False

    def _reconnect(self) -> None:
        if self.link is not None:
            self.note("reconnected", "")
            self.link.reconnected()

    def stream(self, reports: Sequence[VenueReport]) -> None:
        """See Surroundings: reports travel to the desk, and not all arrive as they were sent."""
        rng, faults = self.rng, self.faults
        seconds = 0.0
        for report in reports:
            if self.outage or rng.random() < faults.report_lost:
                self.note("lost", report)
                if rng.random() >= faults.report_untold and not self.outage:
                    self.after(1 + rng.random() * 4, self._reconnect)
                continue
            seconds += rng.random() * 0.01
            for _ in range(2 if rng.random() < faults.report_doubled else 1):
                late = rng.random() * 2.5 if rng.random() < faults.report_late else 0.0
                self.after(seconds + late, _delivery(self, report))


def _delivery(world: World, report: VenueReport) -> Callable[[], None]:
    def deliver() -> None:
        world.note("heard", report)
        if world.link is not None:
            # An adapter stamps what it hears by the clock of its own process, whoever's it was when it was said.
            world.link.deliver(replace(report, time_ns=world.clock.now_ns()))

    return deliver


def _stamped(command: Command, request_id: str, time_ns: int) -> Command:
    return replace(command, request_id=request_id, time_ns=time_ns)
