"""Figures are a function of their tables, and the diagram draws any space."""

import matplotlib
import numpy
import pytest
from conftest import SPACES, depth_space, kernel_space
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from oneshot.report.curves import draw_curves
from oneshot.report.diagram import draw_diagram
from oneshot.report.figures import draw_figures, write_pngs
from oneshot.report.image import LIGHT, png, svg
from oneshot.report.labels import MOST, label_points
from oneshot.report.ledger import draw_ledger
from oneshot.report.pareto import draw_pareto
from oneshot.report.scatter import draw_scatter
from oneshot.report.table import draw_table
from oneshot.space import SearchSpace, architecture_id

SPACE = SPACES["sum"]
NAMES = [architecture_id(architecture) for architecture in SPACE.architectures]
FIGURES = ("curves", "gap_ledger", "oneshot_vs_standalone", "pareto", "supernet", "table")
SUMMARY = {"kendall_tau": 0.5}


def comparison_rows(best=0.9):
    return [
        {
            "architecture": name,
            "params": 1000 + index,
            "macs": 20000 + index,
            "oneshot_test_accuracy": 0.8 + index / 100,
            "standalone_test_accuracy": best - index / 100,
            "gap": 10.0 - 2 * index,
            "gap_batch_norm": 1.0 + index,
            "gap_under_training": -0.5,
            "gap_rest": 100 * best - 80,
        }
        for index, name in enumerate(NAMES)
    ]


def curve_rows(start=0.5):
    """As csv gives them: every cell a string."""
    keys = ("architecture", "seed", "epoch", "val_accuracy")
    cells = ((name, seed, epoch, start + epoch / 10) for name in NAMES for seed in (0, 1) for epoch in (1, 2, 3))
    return [dict(zip(keys, map(str, row), strict=True)) for row in cells]


DRAWINGS = {
    "curves": lambda change: draw_curves("study", SPACE, curve_rows(0.5 - change), curve_rows()),
    "scatter": lambda change: draw_scatter("study", comparison_rows(0.9 - change), SUMMARY),
    "pareto": lambda change: draw_pareto("study", comparison_rows(0.9 - change)),
    "ledger": lambda change: draw_ledger("study", comparison_rows(0.9 - change)),
    "table": lambda change: draw_table("study", comparison_rows(0.9 - change)),
    "diagram": lambda change: draw_diagram("study", depth_space("prefix", depths=(1, 2) if change else (1, 2, 3))),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_equal_tables_give_equal_bytes_and_others_differ(name):
    draw = DRAWINGS[name]
    first = png(draw(0))
    assert png(draw(0)) == first
    assert png(draw(0.05)) != first
    assert (
        svg(draw(0), "figure", "a label") == svg(draw(0), "figure", "a label") != svg(draw(0.05), "figure", "a label")
    )


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_users_settings_of_matplotlib_change_nothing(name):
    draw = DRAWINGS[name]
    before = png(draw(0))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9, "savefig.dpi": 30}):
        assert png(draw(0)) == before


@pytest.mark.parametrize("name", DRAWINGS)
def test_an_svg_takes_every_colour_of_the_palette_from_the_page(name):
    drawn = svg(DRAWINGS[name](0), "figure", "a <label>")

    assert "var(--ink)" in drawn and not any(color in drawn for color in LIGHT.values())
    assert 'aria-label="a &lt;label&gt;"' in drawn
    assert "<style" not in drawn and "<metadata" not in drawn


def test_comparison_writes_every_figure(tmp_path):
    rows = comparison_rows()
    drawn = draw_figures("study", SPACE, rows, curve_rows(), curve_rows(), {"kendall_tau": None})
    write_pngs(tmp_path, {**drawn, "table": draw_table("study", rows)})
    figures = {file.name: file.read_bytes()[:8] for file in tmp_path.iterdir()}
    assert figures == dict.fromkeys((f"{name}.png" for name in FIGURES), b"\x89PNG\r\n\x1a\n")


def test_curves_draw_a_line_per_architecture_and_seed():
    for axes in draw_curves("study", SPACE, curve_rows(), curve_rows()).axes:
        assert len(axes.lines) == 4 * 2
        assert axes.get_legend_handles_labels()[1] == NAMES


@pytest.mark.parametrize("accuracies", [(0.1, 0.99), (0.98, 0.9999), (0.9, 1.0), (0.0, 0.0)])
def test_curves_show_every_epoch_however_far_below_the_last(accuracies):
    rows = [row | {"val_accuracy": accuracies[row["epoch"] > "1"]} for row in curve_rows()]
    figure = draw_curves("study", SPACE, rows, rows)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    frame = axes.get_window_extent()
    for line in axes.lines:
        heights = line.get_transform().transform(line.get_xydata())[:, 1]
        assert all(frame.y0 < height < frame.y1 for height in heights)
    assert axes.get_yscale() == "function"


@pytest.mark.parametrize(("count", "colors"), [(2, 4), (3, 9), (4, 16), (5, 5)])
def test_lines_of_curves_tell_architectures_by_colour_and_first_choices_by_style(count, colors):
    space = kernel_space("sum", kernels=(1, 3, 5, 7, 9)[:count])
    rows = [row | {"architecture": architecture_id(each)} for each in space.architectures for row in curve_rows()[:3]]
    lines = draw_curves("study", space, rows, rows).axes[0].lines

    assert len(lines) == count**2
    assert len({to_hex(line.get_color()) for line in lines}) == colors
    assert len({line.get_linestyle() + str(line._unscaled_dash_pattern) for line in lines}) == min(count, 4)


def test_more_tiers_than_markers_are_drawn_in_groups_and_colour_tells_the_first_choice():
    rows = [row | {"standalone_tier": tier} for tier in range(1, 12) for row in comparison_rows()]
    (legend,) = draw_scatter("study", rows, SUMMARY).legends

    assert [text.get_text() for text in legend.get_texts()] == [
        "tier 1 to 4",
        "tier 5 to 8",
        "tier 9 to 11",
        "block 1: 3",
        "block 1: 5",
    ]


def test_few_tiers_have_a_marker_each():
    rows = [row | {"standalone_tier": 1 + place // 2} for place, row in enumerate(comparison_rows())]
    (legend,) = draw_scatter("study", rows, SUMMARY).legends

    assert [text.get_text() for text in legend.get_texts()] == ["tier 1", "tier 2"]


def test_a_ledger_leaves_out_what_is_zero_everywhere():
    rows = [row | {"gap_batch_norm": 0.0} for row in comparison_rows()]
    (axes,) = draw_ledger("study", rows).axes

    assert len(axes.containers) == 2 and "batch norm" not in axes.get_title()


def test_undefined_tau_is_said():
    assert "undefined" in draw_scatter("study", comparison_rows(), {"kendall_tau": None}).axes[0].get_title()


def test_a_ledger_stacks_its_parts_to_the_whole_and_downwards_below_zero():
    rows = comparison_rows()
    bars = draw_ledger("study", rows).axes[0].containers
    tops = [bar.get_y() + bar.get_height() for bar in bars[2]]

    assert [bar.get_y() + bar.get_height() for bar in bars[1]] == [-0.5] * len(rows)
    assert tops == pytest.approx([row["gap_batch_norm"] + row["gap_rest"] for row in rows])


def test_a_ledger_draws_small_parts_again_beside_a_dominant_batch_norm_and_no_part_that_was_not_measured():
    rows = [row | {"gap_batch_norm": 60.0, "gap_rest": 0.2, "gap_under_training": None} for row in comparison_rows()]
    whole, small = draw_ledger("study", rows).axes

    assert (len(whole.containers), len(small.containers)) == (2, 1)
    assert small.get_ylim()[1] < 1 < whole.get_ylim()[1]


def test_names_beside_points_never_touch_and_are_never_too_many():
    axes = Figure().subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    spots = numpy.random.default_rng(0).random((200, 2))
    label_points(axes, [(f"name-{index}", x, y) for index, (x, y) in enumerate(spots)], 2000, 2000)
    assert len(axes.texts) == MOST

    label_points(axes, [("first", 0.5, 0.5), *((f"next-{index}", 0.5, 0.5) for index in range(20))], 300, 300)
    shown = [text.get_text() for text in axes.texts[MOST:]]
    assert shown[0] == "first" and len(shown) <= 6


def three_blocks():
    first, pool, second, *rest = kernel_space("concat", kernels=(3, 5, 7)).layers
    return SearchSpace((first, second, pool, second, *rest), (1, 28, 28))


DIAGRAMS = {
    **{name: (space, []) for name, space in SPACES.items()},
    "sizes": (kernel_space("sum", kernels=(1, 3, 5, 7)), ["conv 1x1\n3", "conv 3x3\n3", "conv 5x5\n3", "conv 7x7\n3"]),
    "pairs": (kernel_space("wide", kernels=([1, 9], [9, 1])), ["conv 1x9\n3", "conv 9x1\n3"]),
    "three-blocks": (three_blocks(), ["conv 7x7\n3"] * 3),
    "gaps": (depth_space("prefix", depths=(2, 5)), ["conv 3x3\nlayer 5"] * 2),
    "one-choice": (kernel_space("sum", kernels=(3,)), ["conv 3x3\n3"] * 2),
}


@pytest.mark.parametrize(("space", "labels"), DIAGRAMS.values(), ids=DIAGRAMS)
def test_diagram_shows_every_choice_inside_the_picture(space, labels):
    figure = draw_diagram("study", space)
    axes = figure.axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert all(shown.count(label) >= labels.count(label) for label in labels)
    assert f"{len(space.architectures)} architectures" in figure.get_suptitle()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == len(shown) > sum(map(len, space.blocks))
    assert all(left <= box.get_x() and box.get_x() + box.get_width() <= right for box in boxes)
    assert all(low <= box.get_y() and box.get_y() + box.get_height() <= high for box in boxes)
    for line in axes.lines:
        assert all(left <= x <= right and low <= y <= high for x, y in zip(*line.get_data(), strict=True))
