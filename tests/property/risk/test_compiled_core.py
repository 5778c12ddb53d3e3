"""The compiled risk core says and becomes what the plain one does, message by message."""

from __future__ import annotations

from types import FunctionType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plain_forms import RISK, plain_modules
from tests.property.risk.test_machine import STREAM, start
from tests.real_servers import must_be_compiled

from polaris_synapse.compiled import cores_in_use, plain_packages
from polaris_synapse.risk.core import RiskCore

#: In continuous integration a compiled form that is missing fails, unless it was left out on purpose.
pytestmark = pytest.mark.skipif(bool(plain_packages()) and not must_be_compiled(), reason=cores_in_use())


def test_the_compiled_form_is_in_use() -> None:
    """What is compared below are two forms and not one with itself."""
    assert not plain_packages(), cores_in_use()


@settings(max_examples=100)
@given(STREAM, st.integers(0, 60))
def test_both_forms_say_and_become_the_same(steps: list[tuple[str, int, int, int]], cut: int) -> None:
    """Each takes over from the other's snapshot, and from there on every output and the state are equal."""
    bench, stream = start()
    core, plain = bench.core, plain_modules(RISK)[RISK].RiskCore(closed_orders_max=5)
    plain.restore(core.snapshot())
    for index, step in enumerate(steps):
        if index == cut:
            core.restore(plain.snapshot())
        message = stream.message(*step)
        out = core.apply(message)
        assert plain.apply(message) == out
        stream.see(out)
    assert plain.state_hash() == core.state_hash()
    assert plain.check() == core.check()


def test_the_plain_form_is_plain() -> None:
    """What the comparison is made with runs Python's own functions, and the one in use does not."""
    assert isinstance(plain_modules(RISK)[RISK].RiskCore.apply, FunctionType)
    assert not isinstance(RiskCore.apply, FunctionType)
