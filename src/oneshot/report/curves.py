"""Validation accuracy by epoch, one line per architecture and seed: subnets left, standalones right."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oneshot.report.image import COLORS, LIGHT, LINES, choice_colors, hover, style
from oneshot.report.series import Rows, column, first_choice, limits, number, percent
from oneshot.space import SearchSpace, architecture_id

FEW = 16  # up to here every architecture has its own colour, and a dot per epoch; beyond, each first choice has one
STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))  # of the first block's choices, also in greyscale
WIDTH = 10


@style()
def draw_curves(study: str, space: SearchSpace, supernet: Rows, standalone: Rows) -> Figure:
    names = [architecture_id(architecture) for architecture in space.architectures]
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_arm(left, "subnet", names, supernet)
    _draw_arm(right, "standalone", names, standalone)
    left.set(title="subnets, recalibrated", ylabel="validation accuracy (%)", ylim=_settled(supernet, standalone))
    right.set(title="standalones")
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", handlelength=2.6)
    figure.suptitle(study)
    return figure


def _settled(*arms: Rows) -> tuple[float, float]:
    """Limits of what the last half of the epochs reaches. The first ones may be far below: they would press what
    matters into a line."""
    late = []
    for rows in arms:
        last = max((int(row["epoch"]) for row in rows), default=0)
        late += [row for row in rows if int(row["epoch"]) > last / 2]
    low, high = limits(percent(late, "val_accuracy"), margin=0.1)
    return low, min(high, 100)


def _draw_arm(axes: Axes, arm: str, names: Sequence[str], rows: Rows) -> None:
    few, choices, labelled = len(names) <= FEW, choice_colors(names), set()
    for index, name in enumerate(names):
        own = [row for row in rows if row["architecture"] == name]
        label = name if few else f"block 1: {first_choice(name)}"
        for seed in sorted({int(row["seed"]) for row in own}):
            line = [row for row in own if int(row["seed"]) == seed and math.isfinite(number(row["val_accuracy"]))]
            if not line:
                continue
            accuracies = percent(line, "val_accuracy")
            (drawn,) = axes.plot(
                column(line, "epoch"),
                accuracies,
                marker="." if few or len(line) == 1 else None,
                linewidth=1.4 if few else 0.8,
                linestyle=STYLES[list(choices).index(first_choice(name)) % len(STYLES)],
                color=_color(index, len(names)) if few else choices[first_choice(name)],
                label=None if label in labelled else label,
            )
            labelled.add(label)
            hover(drawn, f"{arm} {name}, seed {seed}: {accuracies[-1]:.2f}% after epoch {line[-1]['epoch']}")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _color(index: int, count: int) -> str | tuple[float, ...]:
    """Of a few architectures colours that are told apart one by one; of more, a gradient."""
    return LIGHT[LINES[index]] if count <= len(LINES) else COLORS(index / (count - 1))
