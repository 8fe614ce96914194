"""A supernet and its choices as a diagram, generated from the space: boxes left to right, a column per layer."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from oneshot.blocks import (
    ClassifierLayer,
    ConvLayer,
    DepthBlock,
    GlobalAveragePoolLayer,
    KernelBlock,
    Layer,
    LinearLayer,
    MaxPoolLayer,
)
from oneshot.report.image import LIGHT, style
from oneshot.space import SearchSpace

FIXED, CHOICE, JOIN = LIGHT["fixed"], LIGHT["choice"], LIGHT["join"]
WIDTH, HEIGHT, SPACING = 1.7, 0.62, 0.55
JOINS = {"sum": "sum", "concat": "concat,\nconv 1x1", "wide": "concat"}


@dataclass
class Pen:
    """Draws from left to right; `x` is the left edge of the next column, the middle line is at 0."""

    axes: Axes
    x: float = 0.0
    before: float = 0.0
    """Where the middle line stopped in the column before."""
    height: float = 1.0

    def column(self, labels: list[str], color: str) -> None:
        """Alternatives above each other, each joined to the middle line on both sides."""
        for index, label in enumerate(labels):
            y = ((len(labels) - 1) / 2 - index) * (HEIGHT + 0.25)
            self._box(label, y, color)
            if len(labels) > 1:
                for edge, middle in ((self.x, self.x - SPACING / 2), (self.x + WIDTH, self.x + WIDTH + SPACING / 2)):
                    self._line([middle, middle, edge], [0, y, y])
        self.height = max(self.height, len(labels) * (HEIGHT + 0.25))
        if self.x > 0:
            self._line([self.before, self.x if len(labels) == 1 else self.x - SPACING / 2], [0, 0])
        self.before = self.x + WIDTH + (0 if len(labels) == 1 else SPACING / 2)
        self.x += WIDTH + SPACING

    def leave(self, start: float, end: float, y: float) -> None:
        """A way around: from the middle line up to `y` and down to it again."""
        self._line([start, start, end, end], [0, y, y, 0], ":")

    def _line(self, xs: list[float], ys: list[float], style: str = "-") -> None:
        self.axes.plot(xs, ys, color=LIGHT["muted"], linewidth=1, linestyle=style, zorder=1)

    def _box(self, label: str, y: float, color: str) -> None:
        box = (self.x, y - HEIGHT / 2)
        patch = FancyBboxPatch(
            box, WIDTH, HEIGHT, "round,pad=0,rounding_size=0.08", facecolor=color, edgecolor=LIGHT["muted"], zorder=2
        )
        self.axes.add_patch(patch)
        self.axes.text(self.x + WIDTH / 2, y, label, ha="center", va="center", fontsize=8, zorder=3)


@style()
def draw_diagram(study: str, space: SearchSpace) -> Figure:
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    pen = Pen(axes)
    pen.column(["image\n" + "x".join(str(size) for size in space.input_shape)], JOIN)
    for layer in space.layers:
        _draw_layer(pen, layer)
    axes.set_xlim(-0.1, pen.x - SPACING + 0.1)
    axes.set_ylim(-pen.height / 2 - 0.1, pen.height / 2 + 0.1)
    axes.set_aspect("equal")
    axes.set_axis_off()
    figure.set_size_inches(0.62 * pen.x + 0.6, 0.65 * pen.height + 0.5)
    figure.suptitle(f"{study}: {len(space.architectures)} architectures; choices in yellow")
    return figure


def _draw_layer(pen: Pen, layer: Layer) -> None:
    match layer:
        case KernelBlock():
            pen.column(
                [f"conv {name if 'x' in name else f'{name}x{name}'}\n{layer.channels}" for name in layer.choices()],
                CHOICE,
            )
            pen.column([JOINS[layer.sharing]], JOIN)
        case DepthBlock():
            _draw_depths(pen, layer)
        case ConvLayer():
            height, width = layer.kernel
            stride = f" stride {layer.stride}" if layer.stride > 1 else ""
            pen.column([f"conv {height}x{width}{stride}\n{layer.channels}"], FIXED)
        case MaxPoolLayer():
            pen.column([f"max pool\n{layer.size}x{layer.size}"], FIXED)
        case GlobalAveragePoolLayer():
            pen.column(["global\naverage pool"], FIXED)
        case LinearLayer():
            pen.column([f"linear\n{layer.features}"], FIXED)
        case ClassifierLayer():
            pen.column([f"classifier\n{layer.classes}"], FIXED)


def _draw_depths(pen: Pen, layer: DepthBlock) -> None:
    height, width = layer.kernel
    if layer.sharing == "block":
        pen.column([f"{name} x conv {height}x{width}" for name in layer.choices()], CHOICE)
        return
    # One chain; an arc leaves it after each depth that may be chosen.
    exits, end = [], pen.x + max(layer.depths) * (WIDTH + SPACING) - SPACING / 2
    for depth in range(1, max(layer.depths) + 1):
        pen.column([f"conv {height}x{width}\nlayer {depth}"], CHOICE)
        if depth in layer.depths and depth < max(layer.depths):
            exits.append(pen.x - SPACING / 2)
    for level, start in enumerate(reversed(exits), start=1):
        y = HEIGHT / 2 + 0.3 * level
        pen.leave(start, end, y)
        pen.height = max(pen.height, 2 * y + 0.4)
