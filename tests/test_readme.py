"""The README's tables and verdicts are those of the committed results."""

from pathlib import Path

import pytest

from oneshot.params import load_params
from oneshot.tables import read_csv, read_json, write_csv, write_json
from pipeline.layout import Layout, StudyLayout
from pipeline.show import markdown_table, summary

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("study", load_params(ROOT / "params.yaml").run)
def test_a_table_of_the_readme_is_that_of_the_committed_results(study: str) -> None:
    paths = Layout(ROOT, ROOT).study(study)

    assert f"**{study}**" in README
    assert markdown_table(paths) in README
    assert summary(paths) in README


@pytest.mark.parametrize("study", load_params(ROOT / "params.yaml").run)
def test_committed_accuracies_are_as_the_readme_promises(study: str) -> None:
    rows = read_csv(Layout(ROOT, ROOT).study(study).comparison_table)
    standalones = [float(row["standalone_test_accuracy"]) for row in rows]

    if study != "shapes":
        assert min(standalones) >= 0.983
    if study == "depths":
        assert sum(standalones) / len(standalones) >= 0.988
        assert max(float(row["gap"]) for row in rows) <= 1


def test_a_gap_that_rounds_to_zero_has_no_sign(tmp_path: Path) -> None:
    committed, small = Layout(ROOT, ROOT).study("depths"), StudyLayout(tmp_path)
    write_json(small.comparison, read_json(committed.comparison) | {"mean_gap": -0.004})
    rows = read_csv(committed.comparison_table)
    write_csv(small.comparison_table, list(rows[0]), [row | {"gap": "-0.004"} for row in rows])

    assert "Mean gap 0.00 points" in summary(small)
    assert all(line.endswith("| +0.00 |") for line in markdown_table(small).splitlines()[2:])


def test_every_picture_of_the_readme_is_there() -> None:
    pictures = [line.partition("](")[2].rstrip(")") for line in README.splitlines() if line.startswith("![")]

    assert pictures and all((ROOT / picture).is_file() for picture in pictures)
