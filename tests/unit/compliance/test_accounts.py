"""Accounts, identity checks, holds, blocks and restrictions."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.compliance.samples import EURUSDT, START_NS, Desk, open_account, review

from polaris_synapse.compliance.core.accounts import is_date
from polaris_synapse.domain.messages import (
    AccountStanding,
    KycState,
    ListInstrument,
    Message,
    OpenAccount,
    RestrictInstrument,
    SetAccountBlock,
    SetSanctionsHold,
)
from polaris_synapse.domain.reasons import Reason


def test_new_account_starts_pending_with_a_name_and_none_without() -> None:
    """An account with a holder to check is PENDING, one without is NONE, and neither may trade yet."""
    desk = Desk(opened=False)
    assert desk.answer(open_account("alice")).reason is Reason.NONE
    assert desk.answer(open_account("ghost", holder_name=" ")).reason is Reason.NONE
    assert (desk.standing("alice").kyc, desk.standing("alice").version) == (KycState.PENDING, 1)
    assert desk.standing("ghost").kyc is KycState.NONE


def test_an_account_is_opened_once() -> None:
    """Opening an account again is refused, and nothing about it changes."""
    desk = Desk()
    before = desk.core.state_hash()
    assert desk.answer(open_account()).reason is Reason.ACCOUNT_EXISTS
    assert desk.core.state_hash() == before


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"account": ""}, "account"),
        ({"account": "*"}, "account"),
        ({"account": "a b"}, "account"),
        ({"account": "x" * 65}, "account"),
        ({"holder_name": "x" * 201}, "holder_name"),
        ({"country": "Germany"}, "country"),
        ({"country": "de"}, "country"),
        ({"date_of_birth": "1980-02-30"}, "date_of_birth"),
        ({"operator": "x" * 201}, "operator"),
    ],
)
def test_fields_that_cannot_be_are_refused(changes: dict[str, str], field: str) -> None:
    """A malformed field is refused by name, and no account comes of it."""
    desk = Desk(opened=False)
    answer = desk.answer(replace(open_account("bob"), **changes))
    assert (answer.reason, answer.detail.split(":")[0]) == (Reason.INVALID_VALUE, field)
    assert desk.all(AccountStanding) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2000-02-29", True),
        ("1900-02-29", False),
        ("2024-02-29", True),
        ("2023-02-29", False),
        ("1980-12-31", True),
        ("1980-13-01", False),
        ("1980-04-31", False),
        ("0000-01-01", False),
        ("1980-1-1", False),
        ("1980-01-00", False),
    ],
)
def test_dates_are_days_of_the_calendar(text: str, expected: bool) -> None:
    """Leap years and month lengths are honoured."""
    assert is_date(text) is expected


def test_identity_check_moves_along_its_table_only() -> None:
    """PENDING, APPROVED, EXPIRED is a way; from EXPIRED straight to APPROVED is none."""
    desk = Desk()
    for state in (KycState.APPROVED, KycState.EXPIRED):
        assert desk.answer(review("alice", state)).reason is Reason.NONE
        assert desk.standing().kyc is state
    answer = desk.answer(review("alice", KycState.APPROVED))
    assert answer.reason is Reason.KYC_TRANSITION_NOT_ALLOWED
    assert "PENDING or REJECTED" in answer.detail
    assert desk.standing().kyc is KycState.EXPIRED


@pytest.mark.parametrize(
    "command",
    [
        review("nobody", KycState.APPROVED),
        SetSanctionsHold(time_ns=START_NS, account="nobody", held=True),
        SetAccountBlock(time_ns=START_NS, account="nobody", blocked=True),
        RestrictInstrument(time_ns=START_NS, account="nobody", symbol="BTCUSDT", restricted=True),
    ],
)
def test_commands_about_unknown_accounts_are_refused(command: Message) -> None:
    """An account that was never opened is not found."""
    assert Desk().answer(command).reason is Reason.ACCOUNT_NOT_FOUND


@pytest.mark.parametrize(
    "command",
    [
        SetSanctionsHold(time_ns=START_NS, account="alice", held=True, note="x" * 1_001),
        RestrictInstrument(time_ns=START_NS, account="*", symbol="BTCUSDT", restricted=True, note="x" * 1_001),
    ],
)
def test_notes_have_a_bound(command: Message) -> None:
    """A note that is too long for the audit log is refused, not cut."""
    assert Desk().answer(command).reason is Reason.INVALID_VALUE


def test_holds_and_blocks_stand_until_lifted() -> None:
    """A hold and a block each appear in the standing, are lifted singly, and repeating one changes nothing."""
    desk = Desk()
    hold = SetSanctionsHold(time_ns=START_NS, request_id="h", account="alice", held=True, note="list hit")
    assert desk.answer(hold).duplicate is False
    assert desk.answer(hold).duplicate is True
    desk.tell(SetAccountBlock(time_ns=START_NS, account="alice", blocked=True))
    assert (desk.standing().sanctions_hold, desk.standing().blocked, desk.standing().version) == (True, True, 3)
    desk.tell(replace(hold, held=False))
    assert (desk.standing().sanctions_hold, desk.standing().blocked, desk.standing().version) == (False, True, 4)


def restrict(symbol: str, *, account: str = "alice", restricted: bool = True) -> RestrictInstrument:
    """A command that restricts an instrument."""
    return RestrictInstrument(
        time_ns=START_NS, request_id="r", actor="user:olga", account=account, symbol=symbol, restricted=restricted
    )


def test_restriction_for_all_reaches_every_account_and_the_next_one() -> None:
    """A restriction for everyone is in each standing at once, and in those of accounts opened later."""
    desk = Desk()
    desk.tell(open_account("bob"), ListInstrument(time_ns=START_NS, instrument=EURUSDT), restrict("EURUSDT"))
    said = desk.tell(restrict("BTCUSDT", account="*"))
    assert [(s.account, s.restricted_symbols) for s in said if isinstance(s, AccountStanding)] == [
        ("alice", ("BTCUSDT", "EURUSDT")),
        ("bob", ("BTCUSDT",)),
    ]
    desk.tell(open_account("carol"))
    assert desk.standing("carol").restricted_symbols == ("BTCUSDT",)
    desk.tell(restrict("BTCUSDT", account="*", restricted=False))
    assert [desk.standing(name).restricted_symbols for name in ("alice", "bob", "carol")] == [("EURUSDT",), (), ()]


def test_an_own_restriction_outlives_the_lifting_of_the_common_one() -> None:
    """An account's own restriction and everyone's are kept apart."""
    desk = Desk()
    desk.tell(restrict("BTCUSDT"), restrict("BTCUSDT", account="*"), restrict("BTCUSDT", account="*", restricted=False))
    assert desk.standing().restricted_symbols == ("BTCUSDT",)


def test_restricting_an_unlisted_symbol_is_refused() -> None:
    """A mistyped symbol restricts nothing silently."""
    desk = Desk()
    assert desk.answer(restrict("BTCUSTD")).reason is Reason.SYMBOL_NOT_FOUND
    assert desk.answer(restrict("BTCUSTD", account="*", restricted=False)).reason is Reason.SYMBOL_NOT_FOUND
    assert desk.answer(restrict("BTCUSDT", restricted=False)).duplicate is True


def test_every_answer_carries_its_request_id() -> None:
    """Commands are answered once each, under the id they came with."""
    desk = Desk(opened=False)
    assert desk.answer(OpenAccount(time_ns=1, request_id="q1", account="x", holder_name="X")).request_id == "q1"
    assert desk.answer(OpenAccount(time_ns=1, request_id="q2", account="x", holder_name="X")).request_id == "q2"
