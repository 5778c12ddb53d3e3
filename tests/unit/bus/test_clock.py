"""The desk's clock when the machine's is set."""

from __future__ import annotations

from polaris_synapse.bus.clock import SystemClock

SECOND = 10**9


class Machine:
    """A machine whose clocks a test sets."""

    def __init__(self) -> None:
        self.wall_ns = 1_000 * SECOND
        self.monotonic_ns = 0

    def clock(self, *, not_before_ns: int = 0) -> SystemClock:
        """The desk's clock on it."""
        return SystemClock(not_before_ns=not_before_ns, wall=lambda: self.wall_ns, monotonic=lambda: self.monotonic_ns)

    def run(self, seconds: int) -> None:
        """Let time pass."""
        self.wall_ns += seconds * SECOND
        self.monotonic_ns += seconds * SECOND


def test_time_is_the_machines() -> None:
    """As long as the machine's clock runs forwards, it is followed, jumps forwards included."""
    machine = Machine()
    clock = machine.clock()
    assert clock.now_ns() == 1_000 * SECOND
    machine.run(5)
    assert clock.now_ns() == 1_005 * SECOND
    machine.wall_ns += 3_600 * SECOND
    assert clock.now_ns() == 4_605 * SECOND


def test_time_goes_on_after_the_machine_was_set_back() -> None:
    """It neither runs backwards nor stands still, and meets the machine's clock after twice the jump."""
    machine = Machine()
    clock = machine.clock()
    clock.now_ns()
    machine.wall_ns -= 60 * SECOND
    assert clock.now_ns() == 1_000 * SECOND
    machine.run(10)
    assert clock.now_ns() == 1_005 * SECOND
    assert clock.now_ns() == 1_005 * SECOND
    machine.run(110)
    assert clock.now_ns() == 1_060 * SECOND
    machine.run(1)
    assert clock.now_ns() == 1_061 * SECOND


def test_time_begins_where_the_journal_ends() -> None:
    """A process that starts after the clock was set back goes on from the newest time that is on record."""
    machine = Machine()
    clock = machine.clock(not_before_ns=1_030 * SECOND)
    assert clock.now_ns() == 1_030 * SECOND
    machine.run(10)
    assert clock.now_ns() == 1_035 * SECOND


def test_time_never_runs_backwards() -> None:
    """Whatever is done to the machine's clock."""
    machine = Machine()
    clock = machine.clock()
    times = []
    for seconds, jump in ((3, -10), (1, 4), (0, -1), (7, 20), (2, -100), (5, 0), (1, 90)):
        machine.run(seconds)
        machine.wall_ns += jump * SECOND
        times += [clock.now_ns(), clock.now_ns()]
    assert times == sorted(times)
