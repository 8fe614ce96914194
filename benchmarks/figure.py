"""The figure of the table: seconds to score all subnets of a space, as spaces grow."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.scoring import Growth
from oneshot.report.image import LIGHT, png, style


@style()
def draw_growth(growths: Sequence[Growth]) -> bytes:
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    architectures = [growth.architectures for growth in growths]
    first = growths[0]
    axes.plot(
        architectures,
        [growth.tree_seconds for growth in growths],
        "o-",
        color=LIGHT["oneshot"],
        label="tree of shared prefixes",
    )
    axes.plot(
        architectures,
        [first.tree_seconds * growth.nodes / first.nodes for growth in growths],
        ":",
        color=LIGHT["oneshot"],
        label="in proportion to the tree's nodes",
    )
    singles = [(growth.architectures, growth.single_seconds) for growth in growths if growth.single_seconds]
    axes.plot(
        [count for count, _ in singles],
        [seconds for _, seconds in singles],
        "s-",
        color=LIGHT["standalone"],
        label="one network after the other",
    )
    if single := first.single_seconds:
        axes.plot(
            architectures,
            [single * growth.path_modules / first.path_modules for growth in growths],
            ":",
            color=LIGHT["standalone"],
            label="in proportion to architectures x depth",
        )
    axes.set(xscale="log", yscale="log", xlabel="architectures", ylabel="seconds", xticks=architectures)
    axes.set_xticklabels([str(count) for count in architectures])
    axes.minorticks_off()
    axes.set_title("Scoring every subnet, batch norm recalibrated")
    axes.legend()
    return png(figure)
