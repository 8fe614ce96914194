"""`oneshot show` prints the tables of the studies it is asked for, and says what their reader should know."""

import copy
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from project import ROOT, Project, make_bare_project

from oneshot.commands import main
from oneshot.documents import load_document, write_document
from oneshot.errors import MISSING_INPUT, USAGE
from oneshot.tables import read_csv, write_csv
from pipeline.layout import Layout, StudyLayout
from pipeline.show import ACCURACIES

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
    assert result.stderr == "error: shapes: not in `run` of params.yaml; known: depths, kernels-sum; use one of them\n"


def test_a_study_that_was_never_compared_hides_no_other(folder: Path) -> None:
    params = load_document(folder / "params.yaml")
    params["run"] = {"new": "mnist"} | params["run"]
    params["studies"]["new"] = copy.deepcopy(params["studies"]["depths"])  # no alias in the file
    write_document(folder / "params.yaml", params)
    result = show()

    assert result.exit_code == MISSING_INPUT and all(f"{study} on mnist" in result.stdout for study in STUDIES)
    assert "new: not compared yet; the stage compare makes its table; run `dvc repro`" in result.stderr.splitlines()


@pytest.fixture
def results(committed_project: Path) -> StudyLayout:
    """Of depths alone, with a dvc.lock that they are as."""
    committed, own = Layout(ROOT, ROOT), Layout(committed_project, committed_project)
    shutil.copy(committed.manifest("depths"), own.manifest("depths"))
    for name in ("comparison.csv", "comparison.json"):
        shutil.copy(committed.study("depths").folder / name, own.study("depths").folder / name)
    return own.study("depths")


def test_nothing_is_said_of_tables_that_are_as_they_should_be(results: StudyLayout) -> None:
    assert not show().stderr


def test_a_table_whose_inputs_have_changed_is_told_to_be_stale(results: StudyLayout, committed_project: Path) -> None:
    Project(committed_project).edit("studies.depths.supernet.epochs", 99)
    (line,) = show().stderr.splitlines()

    assert line.startswith("train_supernet@depths is stale: params.yaml: studies.depths.supernet.epochs has changed;")


def test_tables_are_shown_where_there_is_no_lock(results: StudyLayout, committed_project: Path) -> None:
    (committed_project / "dvc.lock").unlink()

    assert (show().exit_code, show().stderr) == (0, "")


@pytest.mark.parametrize("arm", ACCURACIES)
def test_networks_that_learned_nothing_are_told(arm: str, results: StudyLayout) -> None:
    rows = read_csv(results.comparison_table)
    poor = [row | {ACCURACIES[arm]: "0.1135"} if number < 4 else row for number, row in enumerate(rows)]
    write_csv(results.comparison_table, list(rows[0]), poor)
    (line,) = show().stderr.splitlines()

    assert line.startswith(f"depths: {arm}: 4 of 9 architectures have less than 20% of the test images right")
    assert "1-1, 1-2, 1-3 and 1 more" in line
