"""MLflow shows what the files hold, however it came to be asked."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import filelock
import psutil
import pytest
from mlflow import MlflowClient
from project import BIN, ENVIRONMENT, Project

from oneshot.documents import load_document, write_document
from oneshot.tables import read_csv, read_json
from oneshot.tracking import Tracker, Unit, load_library
from pipeline.layout import StudyLayout
from pipeline.units import compared_metrics

UNIT = Unit("depths", "standalone 1-1", {"stage": "train_standalones"}, {"lr": "0.1"}, [{"val/accuracy": 0.5}])
NETWORKS = {"kernels-sum": 4, "depths": 9}


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path, study: str, condition: str = "") -> list:
    store = client(folder)
    experiment = store.get_experiment_by_name(study)
    return list(store.search_runs([experiment.experiment_id], condition, max_results=1000))


@pytest.fixture
def project(finished_project: Project, tmp_path: Path) -> Project:
    return finished_project.copy(tmp_path / "project")


def test_every_unit_has_one_finished_run(finished_project: Project) -> None:
    for study, architectures in NETWORKS.items():
        found = runs(finished_project.folder, study)
        stages = sorted(run.data.tags["stage"] for run in found)
        assert {run.info.status for run in found} == {"FINISHED"}
        assert all("code" in run.data.tags and "restored" not in run.data.tags for run in found)
        assert stages == sorted(
            ["train_supernet", "compare"] + architectures * ["evaluate_subnets"] + architectures * ["train_standalones"]
        )


def test_every_run_of_a_study_says_what_auto_became(finished_project: Project) -> None:
    for study in NETWORKS:
        paths = StudyLayout(finished_project.folder / "results" / study)
        timings = {"train_standalones": paths.standalone_timing, "compare": paths.timing}
        for run in runs(finished_project.folder, study):
            made_on = read_json(timings.get(run.data.tags["stage"], paths.supernet_timing))
            for name in ("device", "precision", "threads"):
                assert run.data.tags[f"machine.{name}"] == str(made_on[name]) != "auto"


def test_a_standalone_and_its_subnet_show_the_same_keys(finished_project: Project) -> None:
    folder = finished_project.folder
    standalone, subnet = (
        runs(folder, "depths", f"tags.stage = '{stage}' and params.architecture = '1-3'")[0]
        for stage in ("train_standalones", "evaluate_subnets")
    )
    shared = {"train/loss", "val/accuracy", "test/accuracy", "cost/params", "cost/macs"}

    assert shared <= standalone.data.metrics.keys() & subnet.data.metrics.keys()
    assert len(client(folder).get_metric_history(subnet.info.run_id, "val/accuracy")) == 3
    assert standalone.inputs.dataset_inputs[0].dataset.name == "mnist"
    assert standalone.data.params["standalone.epochs"] == "1"
    assert [file.path for file in client(folder).list_artifacts(standalone.info.run_id, "weights")] == [
        "weights/0.safetensors"
    ]


def numbers(value: object) -> list[float]:
    """All that a JSON document holds."""
    if isinstance(value, dict | list):
        return [number for item in (value.values() if isinstance(value, dict) else value) for number in numbers(item)]
    return [float(value)] if isinstance(value, int | float) else []


def test_every_number_of_the_comparison_is_a_metric(finished_project: Project) -> None:
    results = finished_project.folder / "results/depths"
    summary, timing = (json.loads((results / name).read_text()) for name in ("comparison.json", "timing.json"))
    latencies = timing["latency"].pop("architectures")
    (comparison,) = runs(finished_project.folder, "depths", "tags.stage = 'compare'")

    assert sorted(comparison.data.metrics.values()) == sorted(numbers([summary, timing]))
    assert "compare/rankings/params/kendall_tau" in comparison.data.metrics
    for row, latency in zip(read_csv(results / "comparison.csv"), latencies, strict=True):
        name = row.pop("architecture")
        networks = runs(finished_project.folder, "depths", f"params.architecture = '{name}'")
        shown = {round(value, 6) for network in networks for value in network.data.metrics.values()}
        assert {round(float(cell), 6) for cell in row.values() if cell} <= shown
        assert all({latency["p50_ms"], latency["p95_ms"]} <= set(each.data.metrics.values()) for each in networks)


@pytest.mark.parametrize("stage", ["evaluate_subnets", "train_standalones"])
def test_the_networks_of_a_stage_have_the_same_keys(finished_project: Project, stage: str) -> None:
    found = [run for study in NETWORKS for run in runs(finished_project.folder, study, f"tags.stage = '{stage}'")]

    assert len({frozenset(run.data.metrics) for run in found}) == 1


def test_a_mean_over_seeds_is_shown_as_no_networks_accuracy(finished_project: Project) -> None:
    paths = StudyLayout(finished_project.folder / "results/depths")
    alone, several = (compared_metrics(paths, one_seed)["evaluate_subnets"]["1-3"] for one_seed in (True, False))

    assert {name.partition("/")[0] for name in alone.keys() - several.keys()} == {"test"}
    assert {"gap/batch_norm", "tier/value", "cost/latency_p50_ms"} <= several.keys()


def test_a_download_logs_the_four_digests(finished_project: Project) -> None:
    (run,) = runs(finished_project.folder, "data_download")

    assert len([name for name in run.data.params if name.startswith("sha256.")]) == 4


def test_the_page_is_one_run_and_a_changed_page_another(project: Project) -> None:
    (run,) = runs(project.folder, "report_page")
    files = client(project.folder).list_artifacts(run.info.run_id, "report")
    assert [file.path for file in files] == ["report/index.html"]
    assert run.data.params["run.depths"] == "mnist" and run.data.tags["dvc.stage"] == "report"

    project.edit("run", {"depths": "mnist"})
    assert project.run("oneshot", "report").code == 0
    assert len(runs(project.folder, "report_page")) == 2


def test_sync_fills_an_empty_database_once(project: Project, finished_project: Project, empty_database: Path) -> None:
    """As after a fresh clone: neither weights nor data, no cache, no database."""
    before = {run.data.tags["oneshot.key"] for run in runs(finished_project.folder, "depths")}
    weights = [f"results/{study}/{arm}/weights" for study in NETWORKS for arm in ("supernet", "standalone")]
    project.forget("mlflow.db", "mlruns", ".work", ".dvc/cache", "data", *weights)

    shutil.copy(empty_database, project.folder)

    assert ", 32 were made" in project.run("oneshot", "sync").output
    assert "32 runs were there, 0 were made" in project.run("oneshot", "sync").output
    again = runs(project.folder, "depths")
    assert {run.data.tags["oneshot.key"] for run in again} == before
    assert {run.data.tags["current"] for run in again} == {"true"}
    assert all("dvc.dep.data/mnist/train-images-idx3-ubyte" in run.data.tags for run in again)


def test_sync_marks_the_runs_of_the_current_lock_alone(project: Project) -> None:
    project.edit("studies.kernels-sum.compare.bootstrap_samples", 100)
    project.repro()
    assert project.run("oneshot", "sync").code == 0

    compared = runs(project.folder, "kernels-sum", "tags.stage = 'compare'")
    by_samples = {run.data.params["compare.bootstrap_samples"]: run.data.tags.get("current") for run in compared}
    assert by_samples["100"] == "true" and by_samples["200"] != "true"


def test_sync_passes_over_what_dvc_lock_has_kept_of_the_past(project: Project) -> None:
    lock = load_document(project.folder / "dvc.lock", 1 << 24)
    lock["stages"] |= {"old_stage@depths": {}, "compare@old-study": {}}
    write_document(project.folder / "dvc.lock", lock)

    assert "32 runs were there, 0 were made" in project.run("oneshot", "sync").output


def test_sync_fills_up_a_database_that_knew_less_once(project: Project) -> None:
    before = {run.data.tags["oneshot.key"]: run.data.metrics for run in runs(project.folder, "depths")}
    with contextlib.closing(sqlite3.connect(project.folder / "mlflow.db")) as database, database:
        for table in ("metrics", "latest_metrics"):
            database.execute(f"DELETE FROM {table} WHERE key GLOB 'gap/*' OR key GLOB 'compare/rankings/*'")  # noqa: S608
        database.execute(
            "UPDATE tags SET value = 'other' WHERE key = 'oneshot.key' AND run_uuid IN "
            "(SELECT run_uuid FROM tags WHERE key = 'stage' AND value = 'compare')"
        )

    assert "30 runs were there, 2 were made" in project.run("oneshot", "sync").output
    assert "32 runs were there, 0 were made" in project.run("oneshot", "sync").output
    current = runs(project.folder, "depths", "tags.current = 'true'")
    assert {run.data.tags["oneshot.key"]: run.data.metrics for run in current} == before


def test_sync_shows_nothing_of_an_older_comparison_in_new_runs(project: Project) -> None:
    project.edit("studies.kernels-sum.standalone.epochs", 2)
    project.repro("train_standalones@kernels-sum")
    assert project.run("oneshot", "sync").code == 0

    current = runs(project.folder, "kernels-sum", "tags.current = 'true'")
    by_stage = {run.data.tags["stage"]: "test/accuracy" in run.data.metrics for run in current}
    assert by_stage["train_standalones"] is False and by_stage["evaluate_subnets"] is True


def test_a_stage_that_is_not_tracked_leaves_no_database(project: Project) -> None:
    project.forget("mlflow.db", "mlruns")
    outcome = project.run("oneshot", "evaluate_subnets", "--study", "kernels-sum", ONESHOT_TRACKING="off")

    (said,) = outcome.output.splitlines()
    assert outcome.code == 0 and said.startswith("kernels-sum: 4 subnets scored; ")
    assert not (project.folder / "mlflow.db").exists()


def test_the_switch_knows_on_and_off_alone(project: Project) -> None:
    outcome = project.run("oneshot", "download", "--dataset", "mnist", ONESHOT_TRACKING="no")

    assert (outcome.code, outcome.output.splitlines()) == (
        2,
        ["error: ONESHOT_TRACKING: `no`; it must be on or off; unset it"],
    )


def _complete(folder: Path) -> bool:
    tracker = Tracker(folder)
    tracker.complete(UNIT, None)
    return tracker.failure is None


def test_first_use_by_several_processes_at_once_breaks_nothing(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_complete, [tmp_path] * 2) == [True] * 2

    assert runs(tmp_path, "depths")


def _complete_unlocked(folder: Path, together: int) -> bool:
    load_library()
    (folder / f"ready-{os.getpid()}").touch()
    while len(list(folder.glob("ready-*"))) < together:
        time.sleep(0.01)
    filelock.FileLock = lambda path: contextlib.nullcontext()
    return _complete(folder)


@pytest.mark.slow
def test_first_use_finds_that_there_is_no_lock(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert not all(pool.starmap(_complete_unlocked, [(tmp_path, 3)] * 3, chunksize=1))


def test_an_interrupted_first_use_breaks_nothing(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; "
    code += f"from test_tracking import _complete; _complete(Path({str(tmp_path)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    aside = tmp_path / "mlflow.db.new"
    deadline = time.monotonic() + 60
    while not (aside.exists() and aside.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert aside.exists() and not (tmp_path / "mlflow.db").exists()
    assert _complete(tmp_path)


def test_a_database_that_cannot_be_opened_is_said_to_be_so_at_once(tmp_path: Path) -> None:
    """MLflow itself tries ten times, for minutes."""
    (tmp_path / "mlflow.db").mkdir()
    tracker = Tracker(tmp_path)
    tracker.complete(UNIT, None)

    assert tracker.failure == "unable to open database file"


def test_a_unit_that_is_known_is_linked_not_made_again(tmp_path: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, tmp_path)
    first = Tracker(tmp_path).complete(UNIT, None)
    second = Tracker(tmp_path).complete(UNIT, None)

    assert first is not None and second is not None
    assert (first[0], True, False) == (second[0], first[1], second[1])


def test_plain_mlflow_finds_the_default_database(finished_project: Project) -> None:
    code = "import mlflow; print(sorted(e.name for e in mlflow.search_experiments()))"
    done = subprocess.run(
        [BIN / "python", "-c", code], cwd=finished_project.folder, env=ENVIRONMENT, capture_output=True, text=True
    )

    assert "depths" in done.stdout


def end_a_training_by(number: signal.Signals, project: Project) -> tuple[int, str]:
    """The exit code of the stage and what it said after the signal; none of its processes is left."""
    project.forget(".work")
    project.edit("studies.kernels-sum.standalone.epochs", 500)
    # A shell starts what runs in its background with SIGINT ignored, and tests may be among that.
    command = ["env", "--default-signal=INT", "oneshot", "train_standalones", "--study", "kernels-sum"]
    with subprocess.Popen(command, cwd=project.folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as stage:
        # A later epoch is told when the first one's run is there, or soon.
        while "epoch 4/500" not in stage.stderr.readline():
            assert stage.poll() is None
        others = psutil.Process(stage.pid).children(recursive=True)
        wait_for_runs(project)
        stage.send_signal(number)
        words = stage.stderr.read()
        assert psutil.wait_procs(others, timeout=60)[1] == []
        return stage.wait(timeout=60), words


def wait_for_runs(project: Project) -> None:
    deadline = time.monotonic() + 60
    while not runs(project.folder, "kernels-sum", "attributes.status = 'RUNNING'"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def statuses(project: Project) -> set[str]:
    return {run.info.status for run in runs(project.folder, "kernels-sum")}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_training_leaves_no_process_and_a_killed_run(project: Project, number: signal.Signals) -> None:
    code, words = end_a_training_by(number, project)

    assert code == 128 + number
    assert words.splitlines()[-1].startswith("error: ") and "Traceback" not in words
    assert "KILLED" in statuses(project) and "RUNNING" not in statuses(project)


@pytest.mark.slow
def test_a_training_that_is_killed_leaves_no_process_and_a_killed_run(project: Project) -> None:
    assert end_a_training_by(signal.SIGKILL, project)[0] == -signal.SIGKILL

    assert "KILLED" in statuses(project) and "RUNNING" not in statuses(project)
