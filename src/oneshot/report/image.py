"""How every figure looks, whatever the user's own settings of matplotlib, and its bytes: PNG, or SVG for a page.

Equal figures give equal bytes. An SVG takes its colours from variables of the page's style, so that it is light or dark
with the page; an artist that `hover` has named shows its text under the pointer.
"""

import contextlib
import html
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from oneshot.report.series import first_choice

DOTS_PER_INCH = 120
# By name: in light, in dark. Text and lines have enough contrast on `page` and `soft` of either. The light ones differ
# from each other, since an SVG is searched for them.
PALETTE = {
    "ink": ("#1f2328", "#e8e6e1"),
    "muted": ("#59616b", "#a4acb6"),
    "grid": ("#e1e4e8", "#343a41"),
    "page": ("#ffffff", "#15181b"),
    "soft": ("#f5f6f8", "#1e2226"),
    "link": ("#1d57b5", "#8fb8ff"),
    "oneshot": ("#2460c0", "#7fadff"),
    "standalone": ("#a84d0b", "#f0a35c"),
    "batch-norm": ("#7683a8", "#8b9bc9"),
    "under-training": ("#20857a", "#45b8a9"),
    "rest": ("#b8435f", "#f0869c"),
    "fixed": ("#dbe4f0", "#2c3b50"),
    "choice": ("#ffe08a", "#66500f"),
    "join": ("#f0f0ed", "#2b3035"),
    "tier-1": ("#15784f", "#4fc38e"),
    "tier-2": ("#2563be", "#80b0ff"),
    "tier-3": ("#7f4fb5", "#c09bf0"),
    "tier-4": ("#a94f0f", "#f2a661"),
    "tier-5": ("#ab2f55", "#f38ba6"),
    "tier-6": ("#5a626c", "#a6aeb8"),
    # Ten lines that colour-blind readers can tell apart: M. A. Petroff, Accessible Color Sequences for Data
    # Visualization, 2021; on black, the two darkest a little lighter.
    "line-1": ("#3f90da", "#3f90da"),
    "line-2": ("#ffa90e", "#ffa90e"),
    "line-3": ("#bd1f01", "#d02a0a"),
    "line-4": ("#94a4a2", "#94a4a2"),
    "line-5": ("#832db6", "#9238c6"),
    "line-6": ("#a96b59", "#a96b59"),
    "line-7": ("#e76300", "#e76300"),
    "line-8": ("#b9ac70", "#b9ac70"),
    "line-9": ("#717581", "#717581"),
    "line-10": ("#92dadd", "#92dadd"),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
LINES = tuple(name for name in LIGHT if name.startswith("line-"))
# For more than these, of one lightness, so that every line stands out on white and on black.
COLORS = LinearSegmentedColormap.from_list("architectures", ["#2f74d0", "#8a5fd0", "#c94f93", "#d9622b", "#a67c12"])
STYLE: dict[Any, Any] = {
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlesize": 10,
    "axes.edgecolor": LIGHT["muted"],
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.titlesize": 11,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "svg.hashsalt": "oneshot",
}
HOVER = "hover "


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Also as a decorator of a function that draws: matplotlib reads its settings when an artist is made."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def choice_colors(names: Iterable[str]) -> dict[str, str]:
    """Of each choice of the first block, in the order of the architectures' names."""
    choices = dict.fromkeys(first_choice(name) for name in names)
    return {choice: LIGHT[LINES[place % len(LINES)]] for place, choice in enumerate(choices)}


def hover(artist: Artist, text: str) -> None:
    artist.set_gid(HOVER + text)


@style()
def png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, facecolor=LIGHT["page"], metadata={"Software": None})
    return content.getvalue()


@style()
def svg(figure: Figure, name: str, label: str) -> str:
    """An `<svg>` element to stand in an HTML page: with the label for those who do not see it, without anything that
    would reach beyond itself. `name` starts its ids, so it must be the page's only one, without spaces."""
    content = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(content, format="svg", facecolor="none", metadata=nothing)
    text = content.getvalue()
    body = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index(">", text.index("<svg")) + 1 :], flags=re.S
    )
    body = re.sub(f'<g id="{HOVER}([^"]*)">', r'<g class="hover"><title>\1</title>', body)
    body = re.sub(r' id="(?=(?:figure|axes|patch|line2d|text|xtick|ytick|matplotlib\.axis|legend)_)[^"]*"', "", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}.", body)
    for variable, light in LIGHT.items():
        body = body.replace(light, f"var(--{variable})")
    width, height = (72 * side for side in figure.get_size_inches())
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {width:g} {height:g}" '
        f'style="--width: {width:g}">{body}'
    )
