"""The table: a row per figure, with the floor that it has to reach beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import Ratio

HEADINGS = ("work", "ours", "against", "measured", "floor", "held")
RULES = ("---",) * len(HEADINGS)


@dataclass(frozen=True)
class Row:
    """`value` is what the floor is about, in `unit`; a ratio has none. The spread is its range over the rounds."""

    work: str
    ours: str
    against: str
    value: float | None
    unit: str = ""
    spread: tuple[float, float] | None = None
    at_least: float | None = None
    at_most: float | None = None

    def cells(self) -> tuple[str, ...]:
        return self.work, self.ours, self.against, self._measured(), self._floor(), self._held()

    def _measured(self) -> str:
        if self.value is None:
            return "-"
        figure = self._figure(self.value)
        if self.spread:
            figure += f" ({self._figure(self.spread[0])} to {self._figure(self.spread[1])})"
        return figure

    def _figure(self, value: float) -> str:
        return f"{value:.1f}%" if self.unit == "%" else f"{value:.2f}{self.unit}"

    def _floor(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}{self.unit}"
        return "" if self.at_most is None else f"at most {self.at_most:g}{self.unit}"

    def _held(self) -> str:
        if self.value is None or (self.at_least is None and self.at_most is None):
            return ""
        low, high = self.at_least, self.at_most
        return "yes" if (low is None or self.value >= low) and (high is None or self.value <= high) else "**no**"


def ratio_row(work: str, ours: str, against: str, ratio: Ratio, at_least: float | None = None) -> Row:
    return Row(work, ours, against, ratio.value, spread=ratio.spread, at_least=at_least)


def share_row(work: str, ours: str, against: str, ratio: Ratio, at_least: float | None = None) -> Row:
    low, high = ratio.spread
    return Row(work, ours, against, 100 * ratio.value, "%", (100 * low, 100 * high), at_least)


def markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
