"""Fees by tier: what an account pays by how much it has traded."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message


class FeeTier(Struct, frozen=True, kw_only=True):
    """Rates from a volume on. ``volume_units_min``: traded in the 30 UTC days before today, valuation asset.

    Rates are parts per million of what is received; a negative maker rate is a rebate.
    """

    volume_units_min: int
    maker_ppm: int
    taker_ppm: int


class SetFeeTiers(Command, frozen=True, kw_only=True, gc=False):
    """Set the tiers of ``account``, from the lowest volume up; ``"*"``: of accounts without their own.

    No tiers: of an account, the default's; of the default, each instrument's own rates.
    """

    account: str
    tiers: tuple[FeeTier, ...]


class FeeTierChanged(Message, frozen=True, kw_only=True, gc=False):
    """What an account pays from now on. ``tier`` counts from 1, 0: each instrument's own rates are in force."""

    account: str
    tier: int
    maker_ppm: int
    taker_ppm: int
    volume_units: int
    day: int
