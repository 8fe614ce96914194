"""Test accuracy against MACs, both arms, and the Pareto front of each: what no other architecture beats in both."""

import math
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oneshot.report.image import LIGHT, hover, style
from oneshot.report.labels import label_points
from oneshot.report.series import Rows, Series, column, interval, limits, percent

ARMS = {"standalone": ("standalone", "o", "-"), "oneshot": ("one-shot", "s", "--")}


def pareto_front(costs: Series, accuracies: Series) -> list[int]:
    """Indices of the front, the cheapest first. Of equals the first is taken; NaN is never on it."""
    front: list[int] = []
    best = -math.inf
    for index in sorted(range(len(costs)), key=lambda index: (costs[index], -accuracies[index])):
        if accuracies[index] > best:
            best = accuracies[index]
            front.append(index)
    return front


def constant_macs(rows: Rows) -> bool:
    """Accuracy against MACs would be a vertical line."""
    return len({row["macs"] for row in rows}) == 1


@style()
def draw_pareto(study: str, rows: Rows) -> Figure:
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    macs = column(rows, "macs") / 1e6
    keys = [f"{arm}_test_accuracy" for arm in ARMS]
    accuracies = [series for key in keys for series in (percent(rows, key), *interval(rows, key))]
    axes.set(
        xlim=limits(macs),
        ylim=limits(*accuracies),
        title=f"{study}: accuracy and cost{', the same of all' * constant_macs(rows)}",
    )
    axes.set(xlabel="MACs of one image (millions)", ylabel="test accuracy (%)")
    points = [point for arm in ARMS for point in _draw_arm(axes, arm, rows, macs)]
    label_points(axes, [point[1:] for point in sorted(points, key=lambda point: point[0])], 330, 270)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_arm(axes: Axes, arm: str, rows: Rows, macs: Series) -> Iterator[tuple[bool, str, float, float]]:
    """Of each point whether it is behind the front, its name and its place."""
    name, marker, line = ARMS[arm]
    key, color = f"{arm}_test_accuracy", LIGHT[arm]
    accuracies = percent(rows, key)
    front = pareto_front(macs, accuracies)
    axes.step(macs[front], accuracies[front], line, where="post", color=color, linewidth=1.2, alpha=0.8)
    axes.vlines(macs, *interval(rows, key), color=color, linewidth=0.8, alpha=0.4 if len(rows) <= 30 else 0.15)
    axes.plot([], [], marker + line, color=color, label=f"{name}, front filled")
    for index, (row, x, y) in enumerate(zip(rows, macs, accuracies, strict=True)):
        if math.isfinite(x + y):
            fill = color if index in front else LIGHT["page"]
            (point,) = axes.plot([x], [y], marker, color=color, markerfacecolor=fill, markersize=5.5)
            hover(point, f"{row['architecture']} {name}: {y:.2f}% at {x:.2f} M MACs")
            yield index not in front, row["architecture"], x, y
