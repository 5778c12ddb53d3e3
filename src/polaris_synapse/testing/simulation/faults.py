"""Which faults a seed meets, and how often. Every seed draws its own mixture, so that rare pairs meet too."""

from __future__ import annotations

from random import Random
from typing import Final

from msgspec import Struct

#: The part of all seeds that meets a kind of fault at all.
_MEETS: Final = 0.55


class SimulatedCrash(BaseException):
    """The process dies here. Not an Exception, so that nothing on the way handles it."""


class Faults(Struct, kw_only=True):
    """Rates from 0 to 1: of requests, reports, commits, steps or seconds, as the names say.

    ``request_*``: what becomes of a request to the venue. *not_sent*: nothing left the desk, and that is known;
    *lost*: it never arrives; *answer_lost*: it had its effect and the answer is an error; *overtaken*: the error is
    here before the request arrives; *hangs*: neither answer nor error. ``refused``: the venue turns it away.
    ``report_*``: what becomes of a report on its way back. *untold*: a gap that the stream does not notice.
    ``balance_moved_per_step``: the venue moves a balance for good, *misreported*: one answer is wrong.
    ``crash_clock_jump``: the clock is set by days while the process is down. ``fill_hidden``: a trade that the venue
    itself learns of late. ``ids_reused``: the venue takes a client id again
    once its order has ended.
    """

    request_not_sent: float = 0.0
    request_lost: float = 0.0
    request_answer_lost: float = 0.0
    request_overtaken: float = 0.0
    request_hangs: float = 0.0
    request_slow: float = 0.0
    refused: float = 0.0
    report_lost: float = 0.0
    report_untold: float = 0.0
    report_doubled: float = 0.0
    report_late: float = 0.0
    fill_hidden: float = 0.0
    ids_reused: bool = False
    outage_per_step: float = 0.0
    crash_per_step: float = 0.0
    crash_in_commit_per_step: float = 0.0
    crash_in_release_per_step: float = 0.0
    crash_clock_jump: float = 0.0
    power_loss: float = 0.0
    disk_full_per_step: float = 0.0
    fsync_failure: float = 0.0
    snapshot_rot: float = 0.0
    clock_jump_per_step: float = 0.0
    clock_jump_seconds_max: int = 0
    balance_moved_per_step: float = 0.0
    balance_misreported: float = 0.0
    stale_per_step: float = 0.0
    price_jump_per_step: float = 0.0
    stops_per_step: float = 0.0
    client_answer_lost: float = 0.0
    client_doubled: float = 0.0
    client_late: float = 0.0


#: The highest rate that a seed may draw for each kind.
_HIGHEST: Final[dict[str, float]] = {
    "request_not_sent": 0.1,
    "request_lost": 0.2,
    "request_answer_lost": 0.3,
    "request_overtaken": 0.15,
    "request_hangs": 0.05,
    "request_slow": 0.4,
    "refused": 0.15,
    "report_lost": 0.3,
    "report_untold": 0.5,
    "report_doubled": 0.5,
    "report_late": 0.5,
    "fill_hidden": 0.2,
    "outage_per_step": 0.02,
    "crash_per_step": 0.03,
    "crash_in_commit_per_step": 0.03,
    "crash_in_release_per_step": 0.03,
    "crash_clock_jump": 1.0,
    "power_loss": 1.0,
    "disk_full_per_step": 0.02,
    "fsync_failure": 0.02,
    "snapshot_rot": 0.5,
    "clock_jump_per_step": 0.02,
    "balance_moved_per_step": 0.01,
    "balance_misreported": 0.3,
    "stale_per_step": 0.02,
    "price_jump_per_step": 0.02,
    "stops_per_step": 0.04,
    "client_answer_lost": 0.3,
    "client_doubled": 0.3,
    "client_late": 0.5,
}


def draw_faults(rng: Random) -> Faults:
    """The mixture of one seed."""
    rates = {name: rng.random() * highest if rng.random() < _MEETS else 0.0 for name, highest in _HIGHEST.items()}
    return Faults(
        ids_reused=rng.random() < 0.5,
        clock_jump_seconds_max=rng.choice((2, 30, 600, 3_600, 86_400)),
        **rates,
    )
