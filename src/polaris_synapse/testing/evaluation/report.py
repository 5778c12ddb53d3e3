"""The evaluation as one HTML file with its plots in it: no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from polaris_synapse.testing.evaluation.evaluate import Arm, Calibration, Evaluation

_COLOURS: Final = ("#0b6e4f", "#999", "#c44", "#d98", "#36c", "#93c", "#c80", "#5aa")
_WIDTH, _HEIGHT, _MARGIN = 760, 260, 44
_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:860px;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;font-size:14px}td,th{padding:.25rem .5rem;text-align:right}
td:first-child,th:first-child{text-align:left}tr{border-bottom:1px solid #ddd}
.verdict{padding:.8rem 1rem;border-left:6px solid #c44;background:#faf3f3}.edge{border-color:#0b6e4f;background:#f1f8f4}
svg{width:100%;height:auto}.note{color:#555;font-size:14px}
"""


def html_report(evaluations: Sequence[Evaluation]) -> str:
    """The whole document."""
    parts = [_section(evaluation) for evaluation in evaluations]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Evaluation of the agents</title>"
        f"<style>{_STYLE}</style></head><body><h1>Evaluation of the agents</h1>"
        "<p class='note'>Every fill is simulated: an order meets the touch of the next step, made worse by the "
        f"slippage, and pays the fee. Nothing here promises anything.</p>{''.join(parts)}</body></html>"
    )


def _section(evaluation: Evaluation) -> str:
    kind = "verdict edge" if evaluation.has_edge else "verdict"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in evaluation.reasons)
    pbo = "not computed" if evaluation.overfitting is None else f"{evaluation.overfitting:.2f}"
    return (
        f"<h2>{escape(evaluation.market)}</h2><p class='note'>{escape(evaluation.sentence)} "
        f"{evaluation.length}.</p>"
        f"<div class='{kind}'><b>{escape(evaluation.verdict)}</b><ul>{reasons}</ul></div>"
        f"<h3>Equity</h3>{_curves(evaluation.arms)}{_table(evaluation.arms)}"
        f"<h3>What chance could do</h3><p>{evaluation.random_better:.0%} of the random entries with the same turnover "
        f"did as well or better. Deflated Sharpe ratio over {evaluation.trials} trials: "
        f"{evaluation.deflated_sharpe:.2f}. Probability of backtest overfitting: {pbo}.</p>"
        f"<h3>Is its confidence true?</h3>{_calibration(evaluation.calibration)}"
        f"<p>{evaluation.decisions} decisions, {evaluation.refused} orders refused, "
        f"{evaluation.cost_usd_per_decision:.4f} USD a decision for language models.</p>"
    )


def _table(arms: Sequence[Arm]) -> str:
    rows = "".join(
        f"<tr><td style='color:{_COLOURS[n % len(_COLOURS)]}'>{escape(arm.name)}</td><td>{arm.total_return:.2%}</td>"
        f"<td>{arm.sharpe:.2f}</td><td>{arm.sharpe_low:.1f} to {arm.sharpe_high:.1f}</td><td>{arm.drawdown:.2%}</td>"
        f"<td>{arm.turnover:.1f}</td><td>{arm.trades}</td><td>{arm.fees_share:.2%}</td></tr>"
        for n, arm in enumerate(arms)
    )
    return (
        "<table><tr><th>way to trade</th><th>return</th><th>Sharpe a year</th><th>95 %</th><th>drawdown</th>"
        f"<th>turnover</th><th>trades</th><th>fees</th></tr>{rows}</table>"
    )


def _curves(arms: Sequence[Arm]) -> str:
    values = [value for arm in arms for value in arm.curve]
    low, high = min(values), max(values)
    span = high - low or 1.0

    def place(number: int, count: int, value: float) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * number / max(count - 1, 1)
        y = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / span
        return f"{x:.1f},{y:.1f}"

    lines = "".join(
        f"<polyline fill='none' stroke='{_COLOURS[n % len(_COLOURS)]}' stroke-width='{2.5 if not n else 1.2}' points='"
        + " ".join(place(i, len(arm.curve), value) for i, value in enumerate(arm.curve))
        + f"'><title>{escape(arm.name)}</title></polyline>"
        for n, arm in enumerate(arms)
    )
    return (
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='Equity of every way to trade'>{lines}"
        f"<text x='2' y='{_HEIGHT - _MARGIN}' font-size='11'>{low - 1:+.1%}</text>"
        f"<text x='2' y='{_MARGIN}' font-size='11'>{high - 1:+.1%}</text></svg>"
    )


def _calibration(calibration: Calibration) -> str:
    if calibration.brier is None:
        return "<p>No directed view has been scored.</p>"
    size = 260
    dots = "".join(
        f"<circle cx='{30 + 200 * found.stated:.1f}' cy='{230 - 200 * found.right:.1f}' "
        f"r='{3 + min(found.count, 100) ** 0.5:.1f}' fill='#0b6e4f' fill-opacity='.6'>"
        f"<title>{found.count} views: stated {found.stated:.0%}, right {found.right:.0%}</title></circle>"
        for found in calibration.bins
    )
    return (
        f"<p>Of {calibration.views} directed views {calibration.right} were right. Brier score "
        f"{calibration.brier:.3f}; saying 50 % every time gets 0.250.</p>"
        f"<svg viewBox='0 0 {size} {size}' style='max-width:320px' role='img' "
        "aria-label='Share that was right against stated confidence'>"
        "<line x1='30' y1='230' x2='230' y2='30' stroke='#bbb' stroke-dasharray='4'/>"
        "<path d='M30 30V230H230' fill='none' stroke='#444'/>"
        "<text x='90' y='252' font-size='11'>stated confidence</text><text x='34' y='26' font-size='11'>right</text>"
        f"{dots}</svg>"
    )
