"""Approval tokens: genuine to the byte, bound to one order, one person and one moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agents.test_receipts import APPROVAL

from polaris_synapse.agents.approvals_tokens import ApprovalTokens
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import ApiError

TOKENS = ApprovalTokens(b"the desk's secret")
TOKEN = TOKENS.make(APPROVAL, approve=True, approver="user:alice")


def test_a_token_says_exactly_what_it_was_made_for() -> None:
    """The request, the order's hash, the decision, the person and the request's own end."""
    ticket = TOKENS.read(TOKEN, 1)
    assert (ticket.approval_id, ticket.account, ticket.order_hash) == ("1", "jarvis", APPROVAL.order_hash)
    assert (ticket.approve, ticket.approver, ticket.expires_time_ns) == (True, "user:alice", APPROVAL.expires_time_ns)
    assert "secret" not in repr(TOKENS)


@given(data=st.data())
def test_any_other_spelling_is_not_genuine(data: st.DataObject) -> None:
    """One character changed, added or removed anywhere, also where base64 would not mind."""
    place = data.draw(st.integers(0, len(TOKEN) - 1))
    other = data.draw(st.sampled_from("ABCabc019-_.=+/ ").filter(lambda one: one != TOKEN[place]))
    for changed in (TOKEN[:place] + other + TOKEN[place + 1 :], TOKEN[:place] + TOKEN[place + 1 :], TOKEN + other):
        with pytest.raises(ApiError) as refused:
            TOKENS.read(changed, 1)
        assert refused.value.reason is Reason.APPROVAL_TOKEN_INVALID


@pytest.mark.parametrize(
    "token", ["", ".", "a.b", "\u00e4.b", "a" * 5_000, f"{TOKEN}.{TOKEN}", TOKEN.split(".")[0] + "."]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Whatever is sent, the answer is the same refusal."""
    with pytest.raises(ApiError) as refused:
        TOKENS.read(token, 1)
    assert refused.value.reason is Reason.APPROVAL_TOKEN_INVALID


def test_another_desk_or_a_later_time_refuses_it() -> None:
    """A token of another secret is not genuine; at its time it has expired."""
    with pytest.raises(ApiError) as foreign:
        ApprovalTokens(b"another").read(TOKEN, 1)
    assert foreign.value.reason is Reason.APPROVAL_TOKEN_INVALID
    with pytest.raises(ApiError) as late:
        TOKENS.read(TOKEN, APPROVAL.expires_time_ns)
    assert late.value.reason is Reason.APPROVAL_EXPIRED
