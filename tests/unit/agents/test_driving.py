"""The core over recorded messages, without a shell: repeatable, in order, and with models as a function."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from tests.unit.agents.markets import SECOND, SETTINGS, START, new_core, set_up, trending
from tests.unit.agents.test_opinions import fact_text

from polaris_synapse.agents.core.driving import OutOfOrderError, drive
from polaris_synapse.domain.messages import DecisionRecorded, Message, OpinionGiven, OpinionWanted, ProposalMade


def record(*roles: str) -> list[Message]:
    """Forty minutes of a rising market, decided each minute."""
    return [*set_up(settings=replace(SETTINGS, model_roles=roles)), *trending(40, 3_000, lean=30)]


def adviser(wanted: OpinionWanted) -> Iterator[OpinionGiven]:
    """A model that takes two seconds."""
    for role in wanted.roles:
        yield OpinionGiven(
            time_ns=wanted.time_ns + 2 * SECOND, agent=wanted.agent, decision_id=wanted.decision_id, role=role,
            output=f'{{"view":"BUY","conviction":"low","argument":"The score is {fact_text(wanted, "score")}."}}',
        )  # fmt: skip


def test_two_runs_are_the_same() -> None:
    """The same record gives the same messages and the same state."""
    first, second = new_core(), new_core()
    assert list(drive(first, record())) == list(drive(second, record()))
    assert first.state_hash() == second.state_hash()


def test_a_model_is_as_late_as_it_was() -> None:
    """An answer counts from its own time on, not from its question's."""
    outputs = list(drive(new_core(), record("fact"), adviser))
    asked = {output.decision_id: output.time_ns for output in outputs if isinstance(output, OpinionWanted)}
    assert asked
    for output in outputs:
        if isinstance(output, DecisionRecorded) and output.decision_id in asked and output.revision == 0:
            assert output.decided_time_ns == asked[output.decision_id] + 2 * SECOND
    assert any(isinstance(output, ProposalMade) for output in outputs)


def test_without_an_adviser_nothing_is_ordered() -> None:
    """Where nobody answers, every decision that wanted a model ends without an order."""
    outputs = list(drive(new_core(), record("fact")))
    assert any(isinstance(output, OpinionWanted) for output in outputs)
    assert not any(isinstance(output, ProposalMade) for output in outputs)


def test_a_record_out_of_order_is_refused() -> None:
    """Time that runs backwards would show a decision its own future."""
    messages = [*record(), *set_up(time_ns=START)]
    with pytest.raises(OutOfOrderError):
        list(drive(new_core(), messages))
