"""The README's tables and verdicts are those of the committed results."""

from pathlib import Path

import pytest

from oneshot.params import load_params
from pipeline.layout import Layout
from pipeline.show import markdown_table, summary

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("study", load_params(ROOT / "params.yaml").run)
def test_a_table_of_the_readme_is_that_of_the_committed_results(study: str) -> None:
    paths = Layout(ROOT, ROOT).study(study)

    assert f"**{study}**" in README
    assert markdown_table(paths) in README
    assert summary(paths) in README


def test_every_picture_of_the_readme_is_there() -> None:
    pictures = [line.partition("](")[2].rstrip(")") for line in README.splitlines() if line.startswith("![")]

    assert pictures and all((ROOT / picture).is_file() for picture in pictures)
