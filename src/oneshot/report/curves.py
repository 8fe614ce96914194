"""Validation accuracy by epoch, one line per architecture and seed: subnets left, standalones right."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oneshot.report.image import hover, style
from oneshot.report.series import Rows, column, limits, number, percent
from oneshot.space import SearchSpace, architecture_id

# Of one lightness, so that every line stands out on white and on black.
COLORS = LinearSegmentedColormap.from_list("architectures", ["#2f74d0", "#8a5fd0", "#c94f93", "#d9622b", "#a67c12"])
FEW = 16  # lines up to here have a dot per epoch, and their legend one column beside the axes
WIDTH, FONT = 10, 7


@style()
def draw_curves(study: str, space: SearchSpace, supernet: Rows, standalone: Rows) -> Figure:
    names = [architecture_id(architecture) for architecture in space.architectures]
    few = len(names) <= FEW
    columns = 1 if few else int(72 * WIDTH / (0.65 * FONT * max(map(len, names)) + 26))
    below = 0 if few else 0.16 * -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH, 4.2 + below), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_arm(left, "subnet", names, supernet)
    _draw_arm(right, "standalone", names, standalone)
    left.set(title="subnets, recalibrated", ylabel="validation accuracy (%)", ylim=_settled(supernet, standalone))
    right.set(title="standalones")
    figure.legend(
        *right.get_legend_handles_labels(),
        loc="outside right center" if few else "outside lower center",
        ncols=columns,
        columnspacing=1,
        handlelength=1.2,
        fontsize=8 if few else FONT,
    )
    figure.suptitle(study)
    return figure


def _settled(*arms: Rows) -> tuple[float, float]:
    """Limits of what the last half of the epochs reaches. The first ones of a supernet are far below: they would press
    what matters into a line."""
    late = []
    for rows in arms:
        last = max((int(row["epoch"]) for row in rows), default=0)
        late += [row for row in rows if int(row["epoch"]) > last / 2]
    low, high = limits(percent(late, "val_accuracy"), margin=0.1)
    return low, min(high, 100)


def _draw_arm(axes: Axes, arm: str, names: Sequence[str], rows: Rows) -> None:
    few = len(names) <= FEW
    for index, name in enumerate(names):
        own = [row for row in rows if row["architecture"] == name]
        for place, seed in enumerate(sorted({int(row["seed"]) for row in own})):
            line = [row for row in own if int(row["seed"]) == seed and math.isfinite(number(row["val_accuracy"]))]
            if not line:
                continue
            accuracies = percent(line, "val_accuracy")
            (drawn,) = axes.plot(
                column(line, "epoch"),
                accuracies,
                marker="." if few or len(line) == 1 else None,
                linewidth=1.4 if few else 0.8,
                color=COLORS(index / max(1, len(names) - 1)),
                label=name if place == 0 else None,
            )
            hover(drawn, f"{arm} {name}, seed {seed}: {accuracies[-1]:.2f}% after epoch {line[-1]['epoch']}")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
