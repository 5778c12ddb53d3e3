"""The benchmarks run, measure what they say, and notice when what they measured is void."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from polaris_synapse.compiled import cores_in_use, plain_packages
from polaris_synapse.testing import order_benchmark
from polaris_synapse.testing.core_benchmark import CorePlan, run_core_benchmark
from polaris_synapse.testing.load_clients import LoadClientError
from polaris_synapse.testing.order_benchmark import OrderPlan, run_order_benchmark
from polaris_synapse.testing.order_load import OrderStream, account_names
from polaris_synapse.testing.slow_orders import slow_orders
from polaris_synapse.testing.stream_load import Passage
from polaris_synapse.testing.traced_desk import DeskNotes, OrderNote, TurnNote, WorkNote


def test_the_core_path_is_measured_and_profiled(tmp_path: Path) -> None:
    """Every group size has its figures as numbers, every order is accepted, and nothing is left on the disk."""
    profile = tmp_path / "profile.txt"
    steps: list[float] = []
    plan = CorePlan(directory=tmp_path, orders=200, groups=(10, 100), profile=profile)
    report = run_core_benchmark(plan, lambda _, share: steps.append(share))
    names = {figure.name: figure.value for figure in report.figures}
    assert names["whole path, groups of 100"] > 0
    assert names["whole path, groups of 100, with read models"] > 0
    assert report.accepted == report.sent > 0
    assert report.forms_in_use == cores_in_use()
    assert steps[-1] == 1.0
    listed = profile.read_text(encoding="utf-8")
    assert "embedded.py" in listed
    assert ("cascade.py" in listed) == bool(plain_packages()), "a profile says what it cannot see"
    assert ("-X plain-cores" in listed) == (not plain_packages())
    assert msgspec.json.decode(msgspec.json.encode(report))["machine"]["cores"] > 0
    assert list(tmp_path.iterdir()) == [profile]


def test_the_order_path_is_measured_on_a_real_desk(tmp_path: Path) -> None:
    """REST, batches, closed and open loops give figures, nothing is refused, and every order is in the read model."""
    plan = OrderPlan(
        directory=tmp_path, seconds=0.3, warm_up_seconds=0.1, connections=2, in_flight=4, rates=(50,), batch_orders=5
    )
    report = run_order_benchmark(plan, lambda *_: None)
    names = {figure.name: figure.value for figure in report.figures}
    assert names["REST, 2 connections"] > 0
    assert names["REST, 100 connections"] > 0
    assert report.forms_in_use == cores_in_use()
    assert names["REST batches of 5, 2 connections"] > 0
    assert names["WebSocket, 2 connections, 4 in flight"] > 0
    assert names["WebSocket, open loop at 50/s, p99"] > 0
    assert report.refused == {}
    assert report.acknowledged > 0
    assert report.fills > 0
    assert list(tmp_path.iterdir()) == []


def test_an_acknowledged_order_that_is_not_there_voids_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmark fails where the read model lacks an order that was acknowledged."""
    monkeypatch.setattr(order_benchmark, "_stored", lambda _: (set[int](), 0))
    plan = OrderPlan(directory=tmp_path, seconds=0.1, warm_up_seconds=0.0, connections=1, only=("batch",))
    with pytest.raises(LoadClientError, match="not in the read model"):
        run_order_benchmark(plan, lambda *_: None)


def test_slow_orders_are_followed_through_the_desk(tmp_path: Path) -> None:
    """A desk that takes notes knows when each order of an open loop passed each part, and the parts add up."""
    plan = OrderPlan(
        directory=tmp_path, seconds=0.3, warm_up_seconds=0.1, connections=1, rates=(50,), only=("port-open",), slow=True
    )
    report = run_order_benchmark(plan, lambda *_: None)
    assert "order port, open loop at 50/s: " in report.slow[0]
    assert f" of {report.acknowledged} orders took more than 5 ms" in report.slow[0]


def test_a_slow_order_is_put_down_to_what_kept_it() -> None:
    """Each part has its time, only the slow order is looked into, and what overlapped it is named."""
    notes = DeskNotes(
        orders={"a-0": OrderNote(1.001, 1.002, 0), "a-1": OrderNote(2.001, 2.002, 1)},
        turns=[TurnNote(1.003, 1.033, 1.034, 1, 0.0005, 0.001), TurnNote(2.003, 2.004, 2.0045, 1, 0.0005, 0.0005)],
        work=[WorkNote("garbage collection 1", 1.0, 1.0005, 0.0005), WorkNote("later", 1.5, 1.6, 0.1)],
    )
    passages = [Passage("a-0", 1.0, 1.0, 1.035), Passage("a-1", 2.0, 2.0, 2.0048), Passage("unknown", 3.0, 3.0, 9.0)]
    lines = list(slow_orders("x", passages, notes))
    assert lines[0] == "x: 1 of 2 orders took more than 5 ms"
    commit = next(line for line in lines if line.startswith("  commit "))
    assert commit.split()[1:] == ["15.50", "30.00", "30.00", "1"]
    meanwhile = "\n".join(lines[lines.index(next(line for line in lines if "meanwhile" in line)) :])
    assert "garbage collection 1" in meanwhile
    assert "later" not in meanwhile


def test_the_same_seed_gives_the_same_orders() -> None:
    """A stream is reproducible, takes turns between accounts and has an order that takes in every five."""
    first, second = (OrderStream(account_names(3), middle_cents=6_000_000, tag="t", seed=7) for _ in range(2))
    orders = [first.next() for _ in range(50)]
    assert orders == [second.next() for _ in range(50)]
    assert sum('"IOC"' in order for order in orders) == 10
    assert len({msgspec.json.decode(order)["account"] for order in orders}) == 3
