"""`oneshot verify` believes bytes alone, and tells every difference from what was committed once."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from committed import (
    CODE,
    IMAGES,
    METRICS,
    RESULTS,
    STAGES,
    STANDALONES,
    SUPERNET,
    TIMINGS,
    commit,
    git,
    write,
    write_lock,
)
from project import Project

from oneshot.commands import WRONG, main
from oneshot.documents import load_document, write_document
from oneshot.errors import BAD_DATA, MISSING_INPUT, USAGE
from oneshot.params import load_params
from pipeline.verify import SHOWN

COMPARISON = f"{RESULTS}/comparison.json"


@pytest.fixture
def folder(committed_project: Path) -> Path:
    return committed_project


def verify() -> tuple[int, dict[str, str], list[str]]:
    """Exit code, the line of each stage by its name, the lines of differences."""
    result = CliRunner().invoke(main, ["verify"])
    lines = result.stdout.splitlines()
    stages = dict(line.split(": ", 1) for line in lines[1:-1] if not line.startswith("  "))
    return result.exit_code, stages, [line.strip() for line in lines if line.startswith("  ")]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324


def test_what_was_committed_is_told_to_be_so(folder: Path) -> None:
    code, stages, differences = verify()

    assert code == 0 and not differences
    assert set(stages) == set(STAGES)
    assert all(line.startswith("as committed") for line in stages.values())
    assert stages["compare@depths"] == "as committed; 4 metrics compared"


@pytest.mark.parametrize("name", [f"{RESULTS}/supernet/curves.csv", IMAGES, f"{SUPERNET}/0.safetensors", CODE])
def test_one_changed_byte_is_found_and_told_once(name: str, folder: Path) -> None:
    expected, path = md5(folder / name), folder / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    code, _, differences = verify()

    assert code == WRONG
    assert differences == [f"{name}: expected {expected}, found {md5(path)}"]


def test_of_a_folder_the_missing_and_the_added_file_are_named(folder: Path) -> None:
    missing = md5(folder / STANDALONES / "1-1" / "0.safetensors")
    (folder / STANDALONES / "1-1").rename(folder / STANDALONES / "1-3")

    assert sorted(verify()[2]) == [
        f"{STANDALONES}/1-1/0.safetensors: expected {missing}, found nothing",
        f"{STANDALONES}/1-3/0.safetensors: expected nothing, found {missing}",
    ]


@pytest.mark.parametrize("listing", [None, "[]", "{", '[{"md5": 1}]'])
def test_a_folder_whose_listing_is_lost_or_damaged_is_told_as_a_whole(listing: str | None, folder: Path) -> None:
    for path in (folder / ".dvc" / "cache").rglob("*.dir"):
        path.unlink() if listing is None else path.write_text(listing)
    write(folder / SUPERNET / "0.safetensors", "others")
    (line,) = verify()[2]

    assert line.startswith(f"{SUPERNET}: expected ") and line.count(".dir") == 2


def test_absent_weights_and_data_are_said_to_be_absent(folder: Path) -> None:
    for name in ("data", SUPERNET, STANDALONES):
        shutil.rmtree(folder / name)
    code, stages, differences = verify()

    assert code == 0 and not differences
    assert f"absent, as in a fresh clone: {SUPERNET}" in stages["train_supernet@depths"]
    assert IMAGES in stages["download@mnist"]
    assert "absent" not in stages["compare@depths"]  # it only reads them


@pytest.mark.parametrize("name", [f"{RESULTS}/figures", COMPARISON, TIMINGS[2], "report/index.html"])
def test_what_git_keeps_must_be_there(name: str, folder: Path) -> None:
    git(folder, "rm", "-r", "--quiet", name)
    code, _, differences = verify()

    assert code == WRONG
    assert [line.partition(": expected")[0] for line in differences] == [name]
    assert differences[0].endswith("found nothing")


def test_other_seconds_are_no_difference(folder: Path) -> None:
    for name in (*TIMINGS, "report/index.html", "report/inputs/depths.json"):
        write(folder / name, '{"train_seconds": 7.5}')
    code, stages, differences = verify()

    assert code == 0 and not differences
    assert TIMINGS[0] in stages["train_supernet@depths"].partition("measured anew")[2]
    assert "report/index.html" in stages["report"].partition("measured anew")[2]


def test_metrics_are_held_against_the_commit_one_by_one(folder: Path) -> None:
    changed = METRICS | {"kendall_tau": 0.7, "rankings": [{"predictor": "params", "kendall_tau": 0.9, "p": 0.1}]}
    write(folder / COMPARISON, json.dumps(changed))
    write_lock(folder)  # as a run leaves it
    code, stages, differences = verify()

    assert code == WRONG
    assert differences[1:] == [
        f"{COMPARISON}: kendall_tau: expected 0.8, found 0.7",
        f"{COMPARISON}: rankings[0].p: expected nothing, found 0.1",
    ]
    assert stages["compare@depths"] == "differs: 1 output, 2 metrics; 4 metrics compared"

    commit(folder)
    assert verify()[0] == 0


def test_of_very_many_differences_of_a_stage_the_first_are_told_and_the_rest_counted(folder: Path) -> None:
    write(folder / COMPARISON, json.dumps(METRICS | {str(number): number for number in range(100)}))
    code, stages, differences = verify()

    assert code == WRONG
    assert differences[0].startswith(f"{COMPARISON}: expected ") and differences[1].startswith(f"{COMPARISON}: 0: ")
    assert len(differences) == SHOWN + 1 and differences[-1] == f"and {101 - SHOWN} more"
    assert stages["compare@depths"] == "differs: 1 output, 100 metrics; 4 metrics compared"


def test_metrics_that_cannot_be_read_differ_by_their_hash(folder: Path) -> None:
    write(folder / COMPARISON, "{")
    code, stages, (line,) = verify()

    assert code == WRONG and line.startswith(f"{COMPARISON}: expected ")
    assert stages["compare@depths"] == "differs: 1 output"


def test_an_edited_param_is_told_by_its_value_once(folder: Path) -> None:
    epochs = load_params(folder / "params.yaml").studies["depths"].supernet.epochs
    Project(folder).edit("studies.depths.supernet.epochs", 99)
    code, stages, differences = verify()

    assert code == WRONG
    assert differences == [f"params.yaml: studies.depths.supernet.epochs: expected {epochs}, found 99"]
    assert stages["train_supernet@depths"] == "differs: 1 input"
    assert stages["compare@depths"] == "differs: 1 input; 1 of them told above; 4 metrics compared"


def test_without_a_commit_the_lock_of_the_folder_counts(folder: Path) -> None:
    shutil.rmtree(folder / ".git")
    assert verify()[0] == 0

    write(folder / COMPARISON, json.dumps(METRICS | {"kendall_tau": 0.7}))
    code, _, (line,) = verify()
    assert code == WRONG and line.startswith(f"{COMPARISON}: expected ")

    write_lock(folder)
    assert verify()[0] == 0


def test_a_stage_that_was_never_committed_is_said_to_be_so(folder: Path) -> None:
    params = load_document(folder / "params.yaml")
    write_document(folder / "params.yaml", params | {"run": params["run"] | {"shapes": "mnist"}})
    code, stages, differences = verify()

    assert stages["compare@shapes"].startswith("not in it; nothing to hold it against; run `dvc repro`, and commit")
    assert differences == ["params.yaml: run.shapes: expected nothing, found mnist"]
    assert code == WRONG


def test_results_of_a_study_that_is_off_do_not_count(folder: Path) -> None:
    params = load_document(folder / "params.yaml")
    write_document(folder / "params.yaml", params | {"run": {"shapes": "mnist"}})
    write(folder / COMPARISON, "other")

    assert not [line for line in verify()[2] if line.startswith("results")]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, MISSING_INPUT),
        ("", USAGE),
        ("\0", USAGE),
        ("stages: 3\n", BAD_DATA),
        ("stages:\n  report: 3\n", BAD_DATA),
        ("stages:\n  report:\n    outs: [{path: report/index.html}]\n", BAD_DATA),
        ("stages:\n  report:\n    params: [1]\n", BAD_DATA),
        ("<<<<<<< HEAD\nstages: {}\n=======\n", USAGE),
    ],
)
def test_a_damaged_lock_is_one_line(content: str | None, code: int, folder: Path) -> None:
    shutil.rmtree(folder / ".git")
    (folder / "dvc.lock").unlink()
    if content is not None:
        write(folder / "dvc.lock", content)
    result = CliRunner().invoke(main, ["verify"])

    assert result.exit_code == code
    assert result.stderr.startswith("error: dvc.lock") and len(result.stderr.splitlines()) == 1


def test_a_real_run_is_as_its_lock_says(finished_project: Project) -> None:
    outcome = finished_project.run("oneshot", "verify")

    assert outcome.code == 0, outcome.output
    assert outcome.output.splitlines()[-1] == "10 stages as dvc.lock says, 0 differ"
    assert "as committed" not in outcome.output


def test_a_flipped_byte_that_dvc_believes_is_found(finished_project: Project, tmp_path: Path) -> None:
    """In a file of the cache that cannot be written, as DVC leaves them, linked into the folder."""
    project = finished_project.copy(tmp_path / "project")
    name = "results/depths/standalone/weights/1-3/0.safetensors"
    expected = md5(project.folder / name)
    project.forget("results/depths/standalone/weights")
    cached = project.folder / ".dvc" / "cache" / "files" / "md5" / expected[:2] / expected[2:]
    content = bytearray(cached.read_bytes())
    content[-1] ^= 1
    cached.chmod(0o644)
    cached.write_bytes(content)
    cached.chmod(0o444)
    assert project.run("dvc", "config", "cache.type", "hardlink").code == 0
    assert project.run("dvc", "checkout").code == 0

    assert (project.folder / name).samefile(cached)
    assert "up to date" in project.run("dvc", "status").output
    outcome = project.run("oneshot", "verify")
    assert outcome.code == WRONG
    assert f"  {name}: expected {expected}, found {md5(cached)}" in outcome.output.splitlines()
