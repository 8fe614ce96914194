"""`oneshot doctor` finds what was planted, says nothing of what is healthy, and ends without a traceback."""

import json
import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from committed import IMAGES, TIMINGS, pin, write, write_lock
from project import BIN, Project

from oneshot import machine as machines
from oneshot.catalog import CATALOG
from oneshot.commands import WRONG, main
from oneshot.documents import load_document, write_document
from pipeline import doctor

HEALTHY = (0, ["nothing is wrong"])
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def folder(committed_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PATH", str(BIN), prepend=":")
    monkeypatch.setitem(CATALOG, "mnist", pin(committed_project / "data" / "mnist"))
    return committed_project


@pytest.fixture
def database(folder: Path, empty_database: Path) -> Path:
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return folder / "mlflow.db"


def examine() -> tuple[int, list[str]]:
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert not result.stderr
    return result.exit_code, result.stdout.splitlines()


def the_fault() -> str:
    """The one line that a project with one fault gets: what and where, and the mend."""
    code, lines = examine()
    assert code == WRONG and len(lines) == 1, lines
    assert ": " in lines[0] and "; " in lines[0]
    return lines[0]


def edit_database(database: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement, values)
        connection.commit()


def add_experiment(database: Path, location: Path) -> None:
    columns = "experiment_id, name, artifact_location, lifecycle_stage"
    edit_database(database, f"INSERT INTO experiments ({columns}) VALUES (7, 'depths', ?, 'active')", location.as_uri())  # noqa: S608


def test_a_healthy_project_is_clean_and_stays_as_it_is(folder: Path) -> None:
    before = sorted(folder.rglob("*"))

    assert examine() == HEALTHY
    assert sorted(folder.rglob("*")) == before  # and so no database was made


def test_a_real_project_after_its_run_is_clean(finished_project: Project) -> None:
    outcome = finished_project.run("oneshot", "doctor")

    assert outcome.code == 0, outcome.output
    assert outcome.output.splitlines()[-1] == "nothing is wrong"
    assert outcome.output.startswith(".work/: ")


@pytest.mark.parametrize("tool", ["dvc", "oneshot"])
def test_a_tool_that_is_not_found(tool: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == tool else find(name))

    assert the_fault().startswith(f"{tool}: not on the PATH")


def test_no_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(BIN))

    assert the_fault().startswith("git: No such file or directory; ")


def test_no_repository_unless_it_is_done_without(folder: Path) -> None:
    shutil.rmtree(folder / ".git")
    assert "not a git repository" in the_fault()

    write(folder / ".dvc" / "config", "[core]\n    no_scm = true\n")
    assert examine() == HEALTHY


def test_no_dvc_folder(folder: Path) -> None:
    shutil.rmtree(folder / ".dvc")

    assert the_fault().startswith(".dvc: not there")


@pytest.mark.parametrize("content", ["no_scm\n", "[core]\nno_scm = perhaps\n", "[core\n"])
def test_a_damaged_config_of_dvc(content: str, folder: Path) -> None:
    write(folder / ".dvc" / "config", content)

    assert the_fault().startswith(".dvc/config: damaged: ")


def test_a_database_of_the_installed_mlflow_is_clean(database: Path) -> None:
    add_experiment(database, database.with_name("mlruns") / "depths")

    assert examine() == HEALTHY


def test_a_database_of_another_schema(database: Path) -> None:
    edit_database(database, "UPDATE alembic_version SET version_num = 'older'")

    assert the_fault().startswith("mlflow.db: schema older; ")


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"not a database" * 500])
def test_a_damaged_database(content: bytes, folder: Path) -> None:
    (folder / "mlflow.db").write_bytes(content)

    assert the_fault().startswith("mlflow.db: damaged: ")


def test_a_database_that_was_cut_off(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:50_000])

    assert the_fault().startswith("mlflow.db: damaged: ")


def test_a_database_that_is_written_to_is_not_called_damaged(database: Path) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")

        assert the_fault().startswith("mlflow.db: another process writes to it; ")


def test_artifacts_elsewhere(database: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "mlruns" / "depths"
    add_experiment(database, moved)
    fault = the_fault()

    assert fault.startswith("mlflow.db: 1 runs or experiments keep their artifacts elsewhere, experiment depths in ")
    assert str(moved) in fault


def test_a_server_is_not_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mlflow.db").write_bytes(b"damaged")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")

    assert examine() == HEALTHY


def test_packages_that_are_not_the_pinned_ones(folder: Path) -> None:
    lines = [
        f"click=={version('click')} \\",
        "    --hash=sha256:0 \\",
        "    # via oneshot",
        "numpy==0.0.1 \\",
        "no-such-package==1.0",
        "no-such-system==1.0 ; sys_platform == 'other'",
        f"torch=={version('torch').partition('+')[0]}",
    ]
    write(folder / "requirements.lock", "\n".join(lines))
    fault = the_fault()

    assert f"numpy is {version('numpy')}, not ==0.0.1, no-such-package is not installed;" in fault


@pytest.mark.parametrize("content", [b"click=>8\n", b"click==8\xff\n"])
def test_damaged_pins(content: bytes, folder: Path) -> None:
    (folder / "requirements.lock").write_bytes(content)

    assert the_fault().startswith("requirements.lock: damaged: ")


def test_code_that_is_not_what_is_installed(folder: Path) -> None:
    write(folder / "pipeline" / "sync.py", "other")

    assert the_fault().startswith("pipeline/sync.py: not what is installed")


def test_a_disk_that_is_nearly_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 40, 1 << 40, 300 << 20))

    assert f"{folder}: 300 MB of disk are free" in the_fault()


def test_no_dataset(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    fault = the_fault()

    assert fault.startswith("data/mnist: no ") and Path(IMAGES).name in fault


def test_a_damaged_dataset(folder: Path) -> None:
    write(folder / IMAGES, "imagex")

    assert f"{IMAGES}: damaged" in the_fault()


def test_a_folder_of_data_that_is_not_there(folder: Path) -> None:
    Project(folder).edit("datasets.mnist.folder", "elsewhere")
    write_lock(folder)

    assert the_fault().startswith(f"params.yaml: datasets.mnist.folder: {folder / 'elsewhere'} is not there")


def test_bf16_on_a_processor_without_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Project(folder).edit("compute.precision", "bf16")
    monkeypatch.setattr(machines, "_has_native_bf16", lambda device: False)
    _, lines = examine()
    assert [line for line in lines if line.startswith("params.yaml: compute.precision: bf16 is not native")]
    checked = CliRunner().invoke(main, ["check"])
    assert checked.exit_code == 0
    assert checked.stderr.startswith("warning: params.yaml: compute.precision: bf16 is not native")

    monkeypatch.setattr(machines, "_has_native_bf16", lambda device: True)
    assert not [line for line in examine()[1] if "precision: bf16" in line]


def test_a_device_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Project(folder).edit("compute.device", "cuda")

    assert the_fault().startswith("params.yaml: compute.device: `cuda`")


def test_results_of_other_versions(folder: Path) -> None:
    described = json.loads((folder / TIMINGS[0]).read_text())
    for name in TIMINGS[:2]:
        write(
            folder / name, json.dumps(described | {"torch": "1.0", "processor": "another", "cores": 99, "threads": 7})
        )
    fault = the_fault()

    assert fault.startswith(f"{TIMINGS[0]}, {TIMINGS[1]}: made with torch 1.0, not {described['torch']}; ")
    assert "run `make env`, or run `dvc repro -f`" in fault


def test_results_of_another_precision_are_not_mended_by_packages(folder: Path) -> None:
    described = json.loads((folder / TIMINGS[0]).read_text())
    write(folder / TIMINGS[0], json.dumps(described | {"precision": "fp64"}))
    fault = the_fault()

    assert f"precision fp64, not {described['precision']}" in fault and "keep them, or run `dvc repro -f`" in fault


def test_results_of_another_dataset(folder: Path) -> None:
    document = load_document(folder / "params.yaml")
    document["datasets"]["fashion_mnist"] = document["datasets"].pop("mnist")
    write_document(folder / "params.yaml", document | {"run": {"depths": "fashion_mnist"}})
    _, lines = examine()

    assert [line for line in lines if "the first train_supernet@depths: params.yaml: run.depths has changed" in line]


def test_results_of_others_that_were_made_anew(folder: Path) -> None:
    lock = load_document(folder / "dvc.lock")
    lock["stages"]["train_supernet@depths"]["outs"][0]["md5"] = "0" * 32
    write_document(folder / "dvc.lock", lock)

    assert "the first evaluate_subnets@depths: results/depths/supernet/weights has changed" in the_fault()


@pytest.mark.parametrize("content", ["{", "[1]", "3"])
def test_a_damaged_timing_file(content: str, folder: Path) -> None:
    write(folder / TIMINGS[0], content)

    assert TIMINGS[0] in the_fault()


def test_results_of_a_study_that_is_gone(folder: Path) -> None:
    write(folder / "results" / "old" / "oneshot.csv", "")
    write(folder / "report" / "inputs" / "old.json", "{}")
    _, lines = examine()

    assert [line.partition(":")[0] for line in lines] == ["report/inputs/old.json", "results/old"]


def test_a_study_that_is_off_is_no_fault(folder: Path) -> None:
    write(folder / "results" / "shapes" / "oneshot.csv", "")

    assert examine() == HEALTHY


def test_a_stage_that_was_not_run(folder: Path) -> None:
    lock = load_document(folder / "dvc.lock")
    del lock["stages"]["report"]
    write_document(folder / "dvc.lock", lock)

    assert the_fault().startswith("dvc.lock: has no report;")


def test_a_result_that_is_gone_but_not_weights_as_in_a_fresh_clone(folder: Path) -> None:
    shutil.rmtree(folder / "results" / "depths" / "supernet" / "weights", ignore_errors=True)
    (folder / "results" / "depths" / "comparison.json").unlink()

    assert the_fault().startswith("results/depths/comparison.json: not there;")


def test_results_of_other_params(folder: Path) -> None:
    Project(folder).edit("studies.depths.supernet.epochs", 99)
    fault = the_fault()

    assert fault.startswith("dvc.lock: 4 stages are stale, the first train_supernet@depths: ")
    assert "studies.depths.supernet.epochs has changed" in fault


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("params.yaml", ""),
        ("params.yaml", "\0"),
        ("params.yaml", "run: {}\n"),
        ("dvc.lock", ""),
        ("dvc.lock", "\0"),
        ("dvc.lock", "<<<<<<< HEAD\nstages: {}\n"),
        ("dvc.lock", "stages: {report: []}\n"),
    ],
)
def test_a_damaged_document_is_lines_and_no_traceback(name: str, content: str, folder: Path) -> None:
    write(folder / name, content)
    code, lines = examine()

    assert code == WRONG
    assert lines and all(line.startswith(name) for line in lines)


def test_no_lock(folder: Path) -> None:
    (folder / "dvc.lock").unlink()

    assert the_fault().startswith("dvc.lock: not there")


def test_what_cannot_be_imported_is_a_line_and_the_rest_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(*_: object) -> None:
        raise ImportError("No module named 'torch'", name="torch")

    monkeypatch.setattr(doctor, "_machine", without_torch)
    write(folder / "results" / "old" / "oneshot.csv", "")
    _, lines = examine()

    assert [line.partition(":")[0] for line in lines] == ["torch", "results/old"]


def test_sizes_of_finished_jobs_are_told(folder: Path) -> None:
    write(folder / ".work" / "0123" / "weights.safetensors", "0" * (3 << 20))
    write(folder / ".work" / "checkpoints" / "a@b" / "1-1, seed 0" / "0456-1.checkpoint", "no job")
    write(folder / ".work" / "locks" / "a@b.lock", "")
    code, lines = examine()

    assert code == 0
    assert lines[0].startswith(".work/: 1 finished and 1 unfinished jobs, 3 MB") and lines[1] == "nothing is wrong"
