"""Test accuracy of each architecture, one-shot against standalone, with intervals and tiers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oneshot.report.image import LIGHT, choice_colors, hover, style
from oneshot.report.labels import label_points
from oneshot.report.series import Rows, Series, column, first_choice, interval, limits, percent

# Of the first tier, the second, ...: shape and colour tell the same.
MARKERS = ("o", "s", "^", "D", "v", "X")
GROUPS = 3  # of tiers, where there are more than markers
MANY = 16  # with more architectures, colour is worth more as the choice of the first block


def is_crowded(rows: Rows) -> bool:
    """Whether colour tells the first block's choice instead of the tier."""
    return len(rows) > MANY or len(_tiers(rows)) > len(MARKERS)


def _tiers(rows: Rows) -> list[int]:
    return sorted({int(tier) for tier in column(rows, "standalone_tier") if tier >= 1})


def _group(tiers: Sequence[int]) -> dict[int, tuple[int, str]]:
    """Place and name of the group of each tier: a tier alone, or a range of tiers where they are too many."""
    count = GROUPS if len(tiers) > len(MARKERS) else max(1, len(tiers))
    groups = [[int(tier) for tier in group] for group in numpy.array_split(numpy.array(tiers), count)]
    names = [f"{group[0]}" if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in groups if group]
    return {tier: (place, names[place]) for place, group in enumerate(groups) for tier in group}


@style()
def draw_scatter(study: str, rows: Rows, summary: Mapping[str, Any]) -> Figure:
    """On the dashed line both accuracies are equal. Marker: the tier among the standalones, 1 the best; colour too,
    unless the figure is crowded."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    oneshot, standalone = percent(rows, "oneshot_test_accuracy"), percent(rows, "standalone_test_accuracy")
    up, across = interval(rows, "oneshot_test_accuracy"), interval(rows, "standalone_test_accuracy")
    both = limits(oneshot, standalone, *up, *across)
    axes.axline((both[0], both[0]), slope=1, linestyle="--", color=LIGHT["muted"], linewidth=1)
    faint: dict[str, Any] = {"color": LIGHT["muted"], "linewidth": 0.8, "alpha": 0.5 if len(rows) <= 30 else 0.2}
    axes.hlines(oneshot, *across, **faint)
    axes.vlines(standalone, *up, **faint)
    _draw_points(figure, rows, standalone, oneshot)
    axes.set(xlim=both, ylim=both, aspect="equal")
    axes.set(xlabel="standalone test accuracy (%)", ylabel="one-shot test accuracy (%)")
    tau = summary["kendall_tau"]
    axes.set_title(f"{study}: Kendall tau-b {'undefined' if tau is None else format(tau, '.2f')}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    names = [row["architecture"] for row in rows]
    label_points(axes, sorted(zip(names, standalone, oneshot, strict=True), key=lambda point: -point[1]), 290, 290)
    return figure


def _draw_points(figure: Figure, rows: Rows, standalone: Series, oneshot: Series) -> None:
    (axes,) = figure.axes
    groups, crowded = _group(_tiers(rows)), is_crowded(rows)
    colors = choice_colors([row["architecture"] for row in rows])
    for row, x, y, tier in zip(rows, standalone, oneshot, column(rows, "standalone_tier"), strict=True):
        if not math.isfinite(x + y):
            continue
        place, _ = groups.get(int(tier) if tier >= 1 else 0, (None, ""))
        of_tier = LIGHT["oneshot"] if place is None else LIGHT[f"tier-{place + 1}"]
        color = colors[first_choice(row["architecture"])] if crowded else of_tier
        (point,) = axes.plot([x], [y], MARKERS[place or 0], color=color, markersize=6, zorder=3)
        hover(point, f"{row['architecture']}: one-shot {y:.2f}%, standalone {x:.2f}%")
    for place, name in sorted(set(groups.values())):
        color = LIGHT["muted"] if crowded else LIGHT[f"tier-{place + 1}"]
        axes.plot([], [], MARKERS[place], linestyle="", color=color, label=f"tier {name}")
    for choice, color in colors.items() if crowded else ():
        axes.plot([], [], "o", linestyle="", color=color, label=f"block 1: {choice}")
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside lower center", ncols=4, title="standalone tier, 1 the best", title_fontsize=8)
