"""Where the gap between the supernet as it is and a standalone comes from: a stacked bar per architecture."""

from collections.abc import Sequence

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oneshot.report.image import LIGHT, hover, style
from oneshot.report.series import Rows, Series, column

PARTS = {
    "batch-norm": ("gap_batch_norm", "batch norm: closed by recalibration"),
    "under-training": ("gap_under_training", "under-training: closed by fine-tuning"),
    "rest": ("gap_rest", "rest"),
}
ALWAYS = "rest"
DOMINANT = 3  # a part so many times as large as the others would press them flat


def ledger_parts(rows: Rows) -> dict[str, Series]:
    """Points by part. What is zero or unknown of every architecture is left out, as batch norm of a space without."""
    parts = {name: column(rows, key) for name, (key, _) in PARTS.items()}
    return {name: values for name, values in parts.items() if name == ALWAYS or numpy.nan_to_num(values).any()}


@style()
def draw_ledger(study: str, rows: Rows) -> Figure:
    """Points by which standalones are above the subnets with inherited batch-norm buffers, part by part. Where batch
    norm is most of it, the other parts are drawn again on a scale of their own."""
    parts = ledger_parts(rows)
    largest = {name: float(numpy.nan_to_num(numpy.abs(values)).max(initial=0)) for name, values in parts.items()}
    split = largest.pop("batch-norm", 0) > DOMINANT * max(largest.values(), default=numpy.inf)
    names = [row["architecture"] for row in rows]
    crowded = len(names) * max(map(len, names)) > 60
    width = max(10, 2 + 0.15 * len(names)) if split or crowded else 5.6
    figure = Figure(figsize=(width, 5.6 if split and crowded else 3.8), layout="constrained")
    shape = ((2, 1) if crowded else (1, 2)) if split else (1, 1)
    panels = figure.subplots(*shape, sharex=True, squeeze=False).flat
    for axes, kinds in zip(panels, (list(parts), list(parts)[1:]), strict=False):
        _draw_bars(axes, names, {kind: parts[kind] for kind in kinds})
        axes.set_xticks(range(len(names)), names, rotation=90 if crowded else 0, fontsize=7 if crowded else 9)
    panels[0].set_title(f"{study}: standalone minus subnet{' with inherited batch norm' * ('batch-norm' in parts)}")
    if split:
        panels[1].set_title("the same without its batch-norm part")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_bars(axes: Axes, names: Sequence[str], parts: dict[str, Series]) -> None:
    """What is below zero is stacked downwards."""
    above, below = numpy.zeros(len(names)), numpy.zeros(len(names))
    for part, values in parts.items():
        bottoms = numpy.where(values >= 0, above, below)
        bars = axes.bar(range(len(names)), values, 0.7, bottoms, color=LIGHT[part], label=PARTS[part][1])
        for bar, name, value in zip(bars, names, values, strict=True):
            if numpy.isfinite(value):
                hover(bar, f"{name}, {part.replace('-', ' ')}: {value:+.2f} points")
        known = numpy.nan_to_num(values)
        above, below = above + known.clip(min=0), below + known.clip(max=0)
    axes.axhline(0, color=LIGHT["muted"], linewidth=0.8)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="points", xlim=(-0.7, len(names) - 0.3))
