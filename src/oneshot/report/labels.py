"""Names beside points, as many as fit without touching each other."""

from collections.abc import Iterable

from matplotlib.axes import Axes

from oneshot.report.image import LIGHT

FONT = 8
MOST = 18  # more names would hide the points
# Where a name may stand: horizontal alignment, offset in points.
PLACES = (("left", 6, 3), ("left", 6, -9), ("right", -6, 3), ("right", -6, -9), ("center", 0, 7), ("center", 0, -13))
Box = tuple[float, float, float, float]


def label_points(axes: Axes, points: Iterable[tuple[str, float, float]], width: float, height: float) -> None:
    """Points are (name, x, y), the most important first; a name that has no room is left out.

    width, height: of the axes, roughly, in points of 1/72 inch. The limits must be set before.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    placed = [
        (name, x, y, (x - left) / (right - left) * width, (y - low) / (high - low) * height)
        for name, x, y in points
        if left <= x <= right and low <= y <= high
    ]
    taken: list[Box] = [(across - 4, up - 4, across + 4, up + 4) for *_, across, up in placed]
    for name, x, y, across, up in placed[:MOST]:
        for alignment, right_by, up_by in PLACES:
            box = _box(name, alignment, across + right_by, up + up_by)
            if box[0] >= 0 and box[2] <= width and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    name,
                    (x, y),
                    xytext=(right_by, up_by),
                    textcoords="offset points",
                    ha=alignment,
                    fontsize=FONT,
                    color=LIGHT["ink"],
                )
                break


def _box(name: str, alignment: str, x: float, y: float) -> Box:
    length = 0.62 * FONT * len(name)
    start = x - {"left": 0.0, "right": length, "center": length / 2}[alignment]
    return start, y - 1, start + length, y + FONT


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
