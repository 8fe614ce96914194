"""Columns of a table as numbers that can be drawn or sorted: what is missing is NaN."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

Rows = Sequence[Mapping[str, Any]]
Series = NDArray[numpy.float64]


def number(value: Any) -> float:
    """NaN for None, an empty cell, and whatever else is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def first_choice(name: str) -> str:
    """Of the first choice block, from an architecture's id."""
    return name.partition("-")[0]


def column(rows: Rows, key: str) -> Series:
    return numpy.array([number(row.get(key)) for row in rows])


def percent(rows: Rows, key: str) -> Series:
    return 100 * column(rows, key)


def interval(rows: Rows, key: str) -> tuple[Series, Series]:
    """Low and high end, in percent."""
    return percent(rows, f"{key}_low"), percent(rows, f"{key}_high")


def limits(*series: Series, margin: float = 0.08) -> tuple[float, float]:
    """From the smallest to the largest number, with air around them; (0, 1) if there is none."""
    every = numpy.concatenate(series)
    every = every[numpy.isfinite(every)]
    if not every.size:
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    air = margin * (high - low) or 0.05 * abs(high) or 0.1
    return low - air, high + air
