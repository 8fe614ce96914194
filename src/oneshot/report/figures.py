"""The figures of a comparison, drawn from its tables. Equal tables give equal PNG bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oneshot.checkpoint import write_whole
from oneshot.report.diagram import draw_diagram
from oneshot.report.image import png
from oneshot.space import SearchSpace, architecture_id

Rows = Sequence[Mapping[str, Any]]


def draw_comparison(
    folder: Path,
    study: str,
    space: SearchSpace,
    rows: Rows,
    supernet_curves: Rows,
    standalone_curves: Rows,
    summary: Mapping[str, Any],
) -> None:
    """Writes curves.png, oneshot_vs_standalone.png, table.png and supernet.png."""
    figures = {
        "curves": draw_curves(study, space, supernet_curves, standalone_curves),
        "oneshot_vs_standalone": draw_scatter(study, rows, summary),
        "table": draw_table(study, rows),
        "supernet": draw_diagram(study, space),
    }
    for name, figure in figures.items():
        write_whole(folder / f"{name}.png", png(figure))


def draw_curves(study: str, space: SearchSpace, supernet: Rows, standalone: Rows) -> Figure:
    """Validation accuracy by epoch, one line per architecture and seed: subnets left, standalones right."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [architecture_id(architecture) for architecture in space.architectures]
    _draw_arm(left, "subnets, recalibrated", names, supernet)
    _draw_arm(right, "standalones", names, standalone)
    # The first epochs of a supernet are far below: they would press what matters into a line.
    settled = [float(row["val_accuracy"]) for row in (*supernet, *standalone) if int(row["epoch"]) > 1]
    if settled:
        low = min(settled)
        left.set_ylim(100 * low - (100 - 100 * low) * 0.05, 100)
    left.set_ylabel("validation accuracy (%)")
    figure.legend(
        *right.get_legend_handles_labels(), loc="outside right center", fontsize=8, ncols=1 + len(names) // 20
    )
    figure.suptitle(study)
    return figure


def _draw_arm(axes: Axes, title: str, names: Sequence[str], rows: Rows) -> None:
    colors = matplotlib.colormaps["viridis"]
    for index, name in enumerate(names):
        own = [row for row in rows if row["architecture"] == name]
        for number, seed in enumerate(sorted({int(row["seed"]) for row in own})):
            line = [row for row in own if int(row["seed"]) == seed]
            epochs = [int(row["epoch"]) for row in line]
            accuracies = [100 * float(row["val_accuracy"]) for row in line]
            color = colors(index / max(1, len(names) - 1))
            axes.plot(epochs, accuracies, marker=".", color=color, label=name if number == 0 else None)
    axes.set(title=title, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def draw_scatter(study: str, rows: Rows, summary: Mapping[str, Any]) -> Figure:
    """Test accuracy of each architecture, one-shot against standalone; on the dashed line both are equal."""
    figure = Figure(figsize=(5.6, 5), layout="constrained")
    axes = figure.subplots()
    oneshot = [100 * row["oneshot_test_accuracy"] for row in rows]
    standalone = [100 * row["standalone_test_accuracy"] for row in rows]
    axes.axline((standalone[0], standalone[0]), slope=1, linestyle="--", color="0.6", linewidth=1)
    axes.scatter(standalone, oneshot, zorder=2)
    for row, x, y in zip(rows, standalone, oneshot, strict=True):
        axes.annotate(row["architecture"], (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    both = [*oneshot, *standalone]
    margin = 0.08 * (max(both) - min(both)) or 0.1
    limits = (min(both) - margin, max(both) + margin)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel="standalone test accuracy (%)", ylabel="one-shot test accuracy (%)")
    tau = summary["kendall_tau"]
    axes.set_title(f"{study}: Kendall tau-b {'undefined' if tau is None else format(tau, '.2f')}")
    axes.grid(alpha=0.3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    return figure


def draw_table(study: str, rows: Rows) -> Figure:
    header = ["architecture", "params", "MACs", "one-shot test", "standalone test", "gap (points)"]
    cells = [
        [
            row["architecture"],
            f"{row['params']:,}",
            f"{row['macs']:,}",
            f"{row['oneshot_test_accuracy']:.2%}",
            f"{row['standalone_test_accuracy']:.2%}",
            f"{row['gap']:+.2f}",
        ]
        for row in rows
    ]
    figure = Figure(figsize=(8.5, 0.8 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(study)
    table = axes.table(cells, colLabels=header, loc="center", cellLoc="right")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.3)
    for (row, _), cell in table.get_celld().items():
        cell.set_linewidth(0.3)
        if row == 0:
            cell.set_text_props(weight="bold")
    return figure
