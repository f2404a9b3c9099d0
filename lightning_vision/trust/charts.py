"""The figures of a trust report: reliability, risk against coverage, and histograms of the out-of-distribution scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lightning_vision.drawing import canvas
from lightning_vision.trust.calibration import Bin
from lightning_vision.trust.rejection import Chosen

WIDTH = 4.6
"""Inches: readable at the full width of a phone."""
BARS = 40
"""Of a histogram."""

Floats = npt.NDArray[np.floating]


@canvas.house_style()
def reliability_figure(
    before: Sequence[Bin], after: Sequence[Bin] | None, errors: tuple[float, float | None]
) -> Figure:
    """Accuracy over confidence, and how many images have which confidence.

    Args:
        before: The bins at T = 1.
        after: The bins at the temperature that was fitted; None: not drawn.
        errors: The calibration errors of both.
    """
    figure = Figure(figsize=(WIDTH, 5.0), dpi=canvas.DPI)
    axes = figure.add_axes((0.14, 0.36, 0.82, 0.5))
    counts = figure.add_axes((0.14, 0.1, 0.82, 0.17))
    axes.plot([0, 1], [0, 1], color=canvas.FAINT, linewidth=1, linestyle=(0, (4, 3)))
    drawn = [("before", before, canvas.ORANGE, errors[0])]
    drawn += [] if after is None or errors[1] is None else [("after", after, canvas.BLUE, errors[1])]
    for number, (name, bins, colour, error) in enumerate(drawn):
        filled = [item for item in bins if item.count]
        axes.plot(
            [item.confidence for item in filled], [item.accuracy for item in filled],
            color=colour, marker="os"[number], markersize=5, linewidth=1.6, label=f"{name}: ECE {100 * error:.1f} %",
        )  # fmt: skip
        width = (bins[0].high - bins[0].low) * 0.42
        middles = [(item.low + item.high) / 2 + (number - 0.5) * width for item in bins]
        counts.bar(middles, [item.count for item in bins], width, color=colour)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_ylabel("accuracy", size=10)
    counts.set(xlim=(0, 1))
    counts.set_ylabel("images", size=10)
    counts.set_xlabel("confidence", size=10)
    for panel in (axes, counts):
        panel.xaxis.set_major_formatter(PercentFormatter(1, 0))
        _plain(panel)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    canvas.headline(axes, "Reliability", "dashed: confidence equals accuracy", 1.0, WIDTH)
    return figure


@canvas.house_style()
def risk_coverage_figure(coverage: Floats, risk: Floats, chosen: Chosen | None) -> Figure:
    """Share of errors among the k most confident images over k; the threshold is marked.

    Args:
        coverage: (N,) ascending.
        risk: (N,)
        chosen: What the threshold does on the same images; None: none was fitted.
    """
    figure = Figure(figsize=(WIDTH, 3.4), dpi=canvas.DPI)
    axes = figure.add_axes((0.15, 0.16, 0.81, 0.62))
    axes.plot(coverage, risk, color=canvas.BLUE, linewidth=1.8)
    if chosen is not None and chosen.risk is not None:
        axes.plot(chosen.coverage, chosen.risk, color=canvas.VERMILION, marker="D", markersize=7, linestyle="none")
        right = chosen.coverage < 0.5  # the curve rises: there is room below it, away from the nearer side
        axes.annotate(
            f"threshold {chosen.threshold:.2f}",
            (chosen.coverage, chosen.risk),
            (9, -12) if right else (-9, 8),
            textcoords="offset points",
            ha="left" if right else "right",
            size=9,
            color=canvas.RUST,
        )
    axes.set(xlim=(0, 1.02), ylim=(0, None))
    axes.set_xlabel("coverage: share of the test images that are accepted", size=10)
    axes.set_ylabel("risk: errors among them", size=10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    _plain(axes)
    canvas.headline(axes, "Risk and coverage", "most confident images first", 1.0, WIDTH)
    return figure


@canvas.house_style()
def ood_score_figure(name: str, in_distribution: Floats, ood: Floats, auroc: float) -> Figure:
    """Histograms of one detector's scores, in-distribution and out-of-distribution, each as shares of its images.

    Args:
        name: Of the detector.
        in_distribution: (N,)
        ood: (M,)
        auroc: Of the two.
    """
    figure = Figure(figsize=(WIDTH, 2.5), dpi=canvas.DPI)
    axes = figure.add_axes((0.13, 0.22, 0.83, 0.5))
    both = np.concatenate([in_distribution, ood]).astype(np.float64)
    low, high = np.quantile(both, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, BARS + 1).tolist()
    sides = ((in_distribution, canvas.BLUE, "in-distribution"), (ood, canvas.VERMILION, "OOD"))
    for values, colour, label in sides:
        inside = np.clip(values.astype(np.float64), edges[0], edges[-1])
        axes.hist(
            inside, edges, weights=np.full(len(inside), 1 / len(inside)), histtype="stepfilled", color=colour, alpha=0.55,
            label=label,
        )  # fmt: skip
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1.02, 0.98))
    axes.set_xlabel("score (higher: out-of-distribution)", size=10)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _plain(axes)
    canvas.headline(
        axes, name.capitalize() if name != "Mahalanobis" else name, f"AUROC {100 * auroc:.1f} %", 1.0, WIDTH
    )
    return figure


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
