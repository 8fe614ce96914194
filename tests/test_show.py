"""`oneshot show` prints the tables of the studies it is asked for, and says what their reader should know."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from project import ROOT, Project, make_bare_project

from oneshot.commands import main
from oneshot.errors import USAGE
from oneshot.tables import read_csv, write_csv
from pipeline.layout import Layout

STUDIES = ["kernels-sum", "depths"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed results of two studies."""
    folder = make_bare_project(tmp_path / "project", STUDIES)
    for name in ("results", "report", "dvc.lock"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    return folder


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments])


def test_all_studies_of_run_are_shown_or_those_that_are_named(folder: Path) -> None:
    both, one = show("--markdown"), show("--markdown", "depths")

    assert [study for study in STUDIES if f"**{study}** on mnist" in both.stdout] == STUDIES
    assert one.stdout in both.stdout and "**kernels-sum**" not in one.stdout and "**depths**" in one.stdout


def test_a_study_that_run_does_not_name_is_one_line(folder: Path) -> None:
    result = show("depths", "shapes")

    assert result.exit_code == USAGE and not result.stdout
    assert (
        result.stderr == "error: show: shapes: not a study of `run` in params.yaml; name one of depths, kernels-sum\n"
    )


def test_a_table_whose_inputs_have_changed_is_told_to_be_stale(folder: Path) -> None:
    """Nothing is said of the other study, nor before the edit."""
    before = show().stderr
    Project(folder).edit("studies.depths.supernet.epochs", 99)
    said = [line for line in show().stderr.splitlines() if line not in before.splitlines()]

    assert len(said) == 1
    assert said[0].startswith("depths: train_supernet@depths is stale: params.yaml: studies.depths.supernet.epochs has")


def test_networks_that_learned_nothing_are_told(folder: Path) -> None:
    (folder / "results").unlink()
    committed, own = (Layout(root, root).study("depths") for root in (ROOT, folder))
    own.folder.mkdir(parents=True)
    own.comparison.write_bytes(committed.comparison.read_bytes())
    rows = read_csv(committed.comparison_table)
    poor = [row | {"oneshot_test_accuracy": "0.1135"} if number < 4 else row for number, row in enumerate(rows)]
    for written, told in (
        (rows, ""),
        (poor, "one-shot: 4 of 9 networks answer less than 20% of the test images right"),
    ):
        write_csv(own.comparison_table, list(rows[0]), written)
        said = [line for line in show("depths").stderr.splitlines() if "test images" in line]
        assert (told in said[0] and "1-1, 1-2, 1-3 and 1 more" in said[0]) if told else not said
