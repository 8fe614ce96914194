"""Where the gap between the supernet as it is and a standalone comes from: a stacked bar per architecture."""

from collections.abc import Sequence

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oneshot.report.image import LIGHT, hover, style
from oneshot.report.series import Rows, column

PARTS = {
    "batch-norm": ("gap_batch_norm", "batch norm: closed by recalibration"),
    "under-training": ("gap_under_training", "under-training: closed by fine-tuning"),
    "rest": ("gap_rest", "rest"),
}
DOMINANT = 3  # a part so many times as large as the others would press them flat


@style()
def draw_ledger(study: str, rows: Rows) -> Figure:
    """Points by which standalones are above the subnets with inherited batch-norm buffers, part by part. Where batch
    norm is most of it, the other parts are drawn again on a scale of their own."""
    parts = {name: numpy.nan_to_num(column(rows, key)) for name, (key, _) in PARTS.items()}
    largest = {name: float(numpy.abs(values).max()) for name, values in parts.items()}
    split = largest["batch-norm"] > DOMINANT * max(largest["under-training"], largest["rest"])
    names = [row["architecture"] for row in rows]
    figure = Figure(figsize=(min(14, max(5.6, 2 + 0.17 * len(rows))), 5.4 if split else 3.8), layout="constrained")
    panels = figure.subplots(2 if split else 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, kinds in zip(panels, (list(PARTS), list(PARTS)[1:]), strict=False):
        _draw_bars(axes, names, {kind: parts[kind] for kind in kinds})
    panels[0].set_title(f"{study}: standalone minus subnet with inherited batch norm")
    if split:
        panels[1].set_title("the same without batch norm")
    crowded = len(names) * max(map(len, names)) > 90
    panels[-1].set_xticks(range(len(names)), names, rotation=90 if crowded else 0, fontsize=7 if crowded else 9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_bars(axes: Axes, names: Sequence[str], parts: dict[str, numpy.typing.NDArray[numpy.float64]]) -> None:
    """What is below zero is stacked downwards."""
    above, below = numpy.zeros(len(names)), numpy.zeros(len(names))
    for part, values in parts.items():
        bottoms = numpy.where(values >= 0, above, below)
        bars = axes.bar(range(len(names)), values, 0.7, bottoms, color=LIGHT[part], label=PARTS[part][1])
        for bar, name, value in zip(bars, names, values, strict=True):
            hover(bar, f"{name}, {part.replace('-', ' ')}: {value:+.2f} points")
        above, below = above + values.clip(min=0), below + values.clip(max=0)
    axes.axhline(0, color=LIGHT["muted"], linewidth=0.8)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="points", xlim=(-0.7, len(names) - 0.3))
