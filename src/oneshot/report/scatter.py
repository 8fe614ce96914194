"""Test accuracy of each architecture, one-shot against standalone, with intervals and tiers."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oneshot.report.image import LIGHT, hover, style
from oneshot.report.labels import label_points
from oneshot.report.series import Rows, column, interval, limits, percent

# Of the first tier, the second, ...; the last is also that of all tiers beyond. Shape and colour tell the same.
MARKERS = ("o", "s", "^", "D", "v", "X")


@style()
def draw_scatter(study: str, rows: Rows, summary: Mapping[str, Any]) -> Figure:
    """On the dashed line both accuracies are equal. Marker and colour: the tier among the standalones, 1 the best."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    oneshot, standalone = percent(rows, "oneshot_test_accuracy"), percent(rows, "standalone_test_accuracy")
    up, across = interval(rows, "oneshot_test_accuracy"), interval(rows, "standalone_test_accuracy")
    both = limits(oneshot, standalone, *up, *across)
    axes.axline((both[0], both[0]), slope=1, linestyle="--", color=LIGHT["muted"], linewidth=1)
    faint: dict[str, Any] = {"color": LIGHT["muted"], "linewidth": 0.8, "alpha": 0.5 if len(rows) <= 30 else 0.2}
    axes.hlines(oneshot, *across, **faint)
    axes.vlines(standalone, *up, **faint)
    tiers = [_tier(value) for value in column(rows, "standalone_tier")]
    for row, x, y, tier in zip(rows, standalone, oneshot, tiers, strict=True):
        if not math.isfinite(x + y):
            continue
        color = LIGHT[f"tier-{tier}"] if tier else LIGHT["oneshot"]
        (point,) = axes.plot([x], [y], MARKERS[tier - 1 if tier else 0], color=color, markersize=6, zorder=3)
        hover(point, f"{row['architecture']}: one-shot {y:.2f}%, standalone {x:.2f}%")
    for tier in sorted(set(filter(None, tiers))):
        beyond = " and below" if tier == len(MARKERS) else ""
        axes.plot([], [], MARKERS[tier - 1], color=LIGHT[f"tier-{tier}"], label=f"{tier}{beyond}")
    if any(tiers):
        figure.legend(loc="outside lower center", ncols=6, title="standalone tier (1 is the best)", title_fontsize=8)
    axes.set(xlim=both, ylim=both, aspect="equal")
    axes.set(xlabel="standalone test accuracy (%)", ylabel="one-shot test accuracy (%)")
    tau = summary["kendall_tau"]
    axes.set_title(f"{study}: Kendall tau-b {'undefined' if tau is None else format(tau, '.2f')}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    names = [row["architecture"] for row in rows]
    label_points(axes, sorted(zip(names, standalone, oneshot, strict=True), key=lambda point: -point[1]), 290, 290)
    return figure


def _tier(value: float) -> int:
    """0 if there is none."""
    return min(int(value), len(MARKERS)) if value >= 1 else 0
