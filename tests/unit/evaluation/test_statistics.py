"""The statistics of an evaluation against values worked out by hand or by the papers' own formulas."""

from __future__ import annotations

import math
import random

import pytest

from polaris_synapse.testing.evaluation import statistics as st


def test_sharpe_is_mean_over_sample_deviation() -> None:
    """1, 2, 3 have mean 2 and sample deviation 1; what does not move has no ratio."""
    assert st.sharpe([0.01, 0.02, 0.03]) == pytest.approx(2.0)
    assert st.sharpe([0.01, 0.01]) == 0.0
    assert st.sharpe([0.01]) == 0.0


def test_drawdown_is_the_deepest_fall_from_a_peak() -> None:
    """From 120 to 90 is a quarter; the later fall from a lower peak does not count."""
    assert st.drawdown([100, 120, 90, 110, 85.0 + 10]) == pytest.approx(0.25)
    assert st.drawdown([1, 2, 3]) == 0.0


def test_brier_and_reliability() -> None:
    """Sure and right is 0, sure and wrong is 1, and 50 % is a quarter whatever happens; bins hold what they say."""
    assert st.brier([]) is None
    assert st.brier([(1.0, True), (1.0, False)]) == pytest.approx(0.5)
    assert st.brier([(0.5, True), (0.5, False)]) == pytest.approx(0.25)
    low, high = st.reliability([(0.61, True), (0.69, False), (1.0, True)])
    assert low.count == 2
    assert [low.stated, low.right] == pytest.approx([0.65, 0.5])
    assert (high.low, high.count, high.right) == (0.9, 1, 1.0)


def test_probabilistic_sharpe_of_a_symmetric_series() -> None:
    """By Bailey and López de Prado with skewness 0 and kurtosis 1 of a series of ± about a mean."""
    returns = [0.02, 0.0] * 50
    found = st.sharpe(returns)
    assert list(st.moments(returns)) == pytest.approx([0.0, 1.0])
    # The kurtosis term falls away: (kurtosis - 1) / 4 is 0 and so is the skewness.
    expected = 0.5 * (1 + math.erf(found * math.sqrt(99) / math.sqrt(2)))
    assert st.probabilistic_sharpe(returns, 0.0) == pytest.approx(expected)
    assert st.probabilistic_sharpe(returns, found) == pytest.approx(0.5)


def test_more_trials_ask_for_more() -> None:
    """The best of many trials without skill looks better, so the same result deflates more."""
    chance = random.Random(3)
    few = [chance.gauss(0, 0.1) for _ in range(5)]
    many = few * 20
    assert st.expected_best_sharpe(many) > st.expected_best_sharpe(few) > 0
    returns = [chance.gauss(0.02, 0.1) for _ in range(300)]
    assert st.deflated_sharpe(returns, many) < st.deflated_sharpe(returns, few) < st.probabilistic_sharpe(returns, 0)


def test_overfitting_is_a_coin_on_noise_and_rare_with_skill() -> None:
    """Choosing the best of noise predicts nothing; a configuration with real skill stays in front."""
    noise = []
    for seed in range(12):
        chance = random.Random(seed)
        series = [[chance.gauss(0, 1) for _ in range(200)] for _ in range(8)]
        noise.append(st.backtest_overfitting(series) or 0.0)
    assert 0.3 < sum(noise) / len(noise) < 0.7
    chance = random.Random(1)
    skilled = [[chance.gauss(1.0 if n == 3 else 0.0, 1) for _ in range(200)] for n in range(8)]
    assert st.backtest_overfitting(skilled) == 0.0
    assert st.backtest_overfitting(skilled[:1]) is None
    assert st.backtest_overfitting([[0.1] * 5, [0.2] * 5]) is None
    assert st.backtest_overfitting([[0.0] * 200, [0.0] * 200]) is None


def test_the_interval_holds_the_ratio_and_narrows_with_more_data() -> None:
    """The same seed gives the same interval, and four times the data about half the width."""
    chance = random.Random(5)
    returns = [chance.gauss(0.1, 1) for _ in range(400)]
    low, high = st.sharpe_interval(returns, seed=1, block=1)
    assert low < st.sharpe(returns) < high
    assert (low, high) == st.sharpe_interval(returns, seed=1, block=1)
    few_low, few_high = st.sharpe_interval(returns[:100], seed=1, block=1)
    assert 1.5 < (few_high - few_low) / (high - low) < 2.7
