"""Validation accuracy by epoch, one line per architecture and seed: subnets left, standalones right."""

import math
from collections.abc import Sequence

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from oneshot.report.image import COLORS, LIGHT, LINES, choice_colors, hover, style
from oneshot.report.series import Rows, Series, column, first_choice, number, percent
from oneshot.space import SearchSpace, architecture_id

FEW = 16  # up to here every architecture has its own colour, and a dot per epoch; beyond, each first choice has one
STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))  # of the first block's choices, also in greyscale
WIDTH = 10
LEAST = 0.01  # percent: added to each error, as none at all has no logarithm
ERRORS = (70, 50, 30, 20, 10, 7, 5, 3, 2, 1.5, 1, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02)


@style()
def draw_curves(study: str, space: SearchSpace, supernet: Rows, standalone: Rows) -> Figure:
    names = [architecture_id(architecture) for architecture in space.architectures]
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _by_error(left)
    _draw_arm(left, "subnet", names, supernet)
    _draw_arm(right, "standalone", names, standalone)
    left.set(title="subnets, recalibrated", ylabel="validation accuracy (%), log scale of the error")
    right.set(title="standalones")
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", handlelength=2.6)
    figure.suptitle(study)
    return figure


def _by_error(axes: Axes) -> None:
    """Accuracies in percent, higher by the logarithm of the error that is left: on an even scale the first epochs,
    which may be far below, would press what matters into a line."""
    axes.set_yscale("function", functions=(_height, _accuracy))
    axes.yaxis.set_major_locator(FixedLocator([100 - error for error in ERRORS]))
    axes.yaxis.set_major_formatter("{x:g}")


def _height(accuracy: Series) -> Series:
    return -numpy.log10(100 + LEAST - accuracy)


def _accuracy(height: Series) -> Series:
    return 100 + LEAST - 10**-height


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
