"""Test accuracy against MACs, both arms, and the Pareto front of each: what no other architecture beats in both."""

import math

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


@style()
def draw_pareto(study: str, rows: Rows) -> Figure:
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    macs = column(rows, "macs") / 1e6
    drawn, points = [], []
    for arm, (name, marker, line) in ARMS.items():
        key, color = f"{arm}_test_accuracy", LIGHT[arm]
        accuracies, (low, high) = percent(rows, key), interval(rows, key)
        drawn += [accuracies, low, high]
        front = pareto_front(macs, accuracies)
        axes.step(macs[front], accuracies[front], line, where="post", color=color, linewidth=1.2, alpha=0.8)
        axes.vlines(macs, low, high, color=color, linewidth=0.8, alpha=0.4 if len(rows) <= 30 else 0.15)
        for index, row in enumerate(rows):
            fill = color if index in front else LIGHT["page"]
            (point,) = axes.plot(
                macs[index : index + 1], accuracies[index : index + 1], marker, color=color, mfc=fill, markersize=5.5
            )
            hover(point, f"{row['architecture']} {name}: {accuracies[index]:.2f}% at {macs[index]:.2f} M MACs")
        axes.plot([], [], marker + line, color=color, label=f"{name}, front filled")
        points += [
            (index not in front, row["architecture"], macs[index], accuracies[index]) for index, row in enumerate(rows)
        ]
    axes.set(xlim=limits(macs), ylim=limits(*drawn), title=f"{study}: accuracy and cost")
    axes.set(xlabel="MACs of one image (millions)", ylabel="test accuracy (%)")
    label_points(axes, [point[1:] for point in sorted(points, key=lambda point: point[0])], 330, 270)
    figure.legend(loc="outside lower center", ncols=2)
    return figure
