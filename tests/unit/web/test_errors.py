"""One error body, and a status for every reason."""

from __future__ import annotations

import http

import pytest

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import HTTP_STATUSES, ApiError, error_body, http_status


def test_every_reason_has_a_status() -> None:
    """The table is complete, so no refusal can turn into a bug on its way out."""
    assert set(HTTP_STATUSES) == set(Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_statuses_are_real(reason: Reason) -> None:
    """Each status is one that HTTP defines, and only NONE is a success."""
    status = http.HTTPStatus(http_status(reason))
    assert (status < 400) == (reason is Reason.NONE)


def test_only_the_desks_own_troubles_are_5xx() -> None:
    """What a client sends is answered with 4xx; 5xx is for the desk and its venues."""
    ours = {reason for reason in Reason if http_status(reason) >= 500}
    assert all(reason >= 5000 or reason is Reason.BOOK_FULL for reason in ours)
    assert {reason for reason in ours if http_status(reason) == 500} == {Reason.INTERNAL_ERROR}


def test_the_body_is_the_reason_in_words_and_numbers() -> None:
    """Code, name, sentence, detail and the request's id."""
    body = error_body(Reason.INSUFFICIENT_FUNDS, "Short of 5 USDT.", request_id="r1")
    assert (body.code, body.reason, body.request_id) == (2090, "INSUFFICIENT_FUNDS", "r1")
    assert body.message == "The account does not have enough free funds."
    assert str(ApiError(Reason.NOT_FOUND)) == "NOT_FOUND: There is nothing at this address."
