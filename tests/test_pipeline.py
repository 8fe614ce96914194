"""The real DAG on small params: what an edit reruns, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from project import Outcome, Project

from oneshot.errors import OneshotError
from oneshot.tables import read_csv
from pipeline.runner import _refuse_edits_meanwhile
from pipeline.units import Record

ALL_STAGES = {"download@mnist"} | {
    f"{stage}@{study}"
    for stage in ("train_supernet", "evaluate_subnets", "train_standalones", "compare")
    for study in ("kernels-sum", "depths")
}
ALL_STAGES |= {"report"}
DEPTHS_BLOCK = "studies.depths.space.1.depths"


@pytest.fixture
def project(finished_project: Project, tmp_path: Path) -> Project:
    project = finished_project.copy(tmp_path / "project")
    project.edit("compute.workers", 1)  # changes no result, and starts no processes
    return project


def test_a_fresh_project_runs_every_stage(finished_run: Outcome) -> None:
    assert finished_run.ran == ALL_STAGES


def test_a_stage_without_progress_says_what_it_came_to(finished_run: Outcome, finished_project: Project) -> None:
    rows = read_csv(finished_project.folder / "results/depths/oneshot.csv")
    best = max(rows, key=lambda row: float(row["val_accuracy"]))
    scored = f"depths: {len(rows)} subnets scored; validation accuracy {best['val_accuracy']} at best"
    said = finished_run.output.splitlines()
    assert "mnist: its four files are as pinned" in said
    assert f"{scored}, by {best['architecture']}, seed {best['seed']}" in said
    assert sum(line.startswith("Mean gap ") for line in said) == 2  # a study each
    assert "the page is report/index.html" in said


def test_compare_writes_every_figure(finished_project: Project) -> None:
    names = {"curves", "oneshot_vs_standalone", "pareto", "gap_ledger", "supernet", "table"}
    for study in ("kernels-sum", "depths"):
        folder = finished_project.folder / "results" / study / "figures"
        assert {file.name for file in folder.iterdir()} == {f"{name}.png" for name in names}


def test_nothing_runs_when_nothing_that_matters_was_edited(project: Project) -> None:
    for name in ("src/oneshot/tracking.py", "src/oneshot/cli.py", "src/oneshot/progress.py", "params.yaml"):
        with (project.folder / name).open("a") as file:
            file.write("\n# A remark.\n")
    for name in ("README.md", "pyproject.toml", "requirements.lock"):
        (project.folder / name).write_text("other\n")
    project.edit("compute.workers", 3)

    assert project.repro().ran == set()


def test_standalone_epochs_rerun_the_standalones_of_the_study_and_undoing_restores(project: Project) -> None:
    before = project.outputs()
    project.edit("studies.depths.standalone.epochs", 2)
    assert project.repro().ran == {"train_standalones@depths", "compare@depths", "report"}
    assert project.outputs() != before

    project.edit("studies.depths.standalone.epochs", 1)
    assert project.repro().ran == {"report"}  # the one stage without a run-cache
    assert project.outputs() == before


def test_supernet_epochs_rerun_the_one_shot_arm_of_the_study(project: Project) -> None:
    project.edit("studies.kernels-sum.supernet.epochs", 2)

    assert project.repro().ran == {
        *("train_supernet@kernels-sum", "evaluate_subnets@kernels-sum", "compare@kernels-sum"),
        "report",
    }


def test_an_added_choice_reuses_the_standalones_of_the_other_architectures(project: Project) -> None:
    project.edit(DEPTHS_BLOCK, [1, 2, 3, 4])
    outcome = project.repro()

    assert outcome.ran == {stage for stage in ALL_STAGES if stage.endswith("@depths")} | {"report"}
    assert outcome.reused == {f"train_standalones@depths: {first}-{second}" for first in "123" for second in "123"}


@pytest.mark.slow
def test_a_study_of_another_space_runs_by_editing_params_alone(project: Project) -> None:
    recipe = {
        "epochs": 1,
        "batch_size": 50,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
        "schedule": {"name": "linear", "warmup": 0.1},
    }
    kernels = {"layer": "kernel_block", "channels": 2}
    space = [
        kernels | {"kernels": [[1, 9], [9, 1]], "sharing": "sum", "batch_norm": True},
        {"layer": "max_pool", "size": 4},
        kernels | {"kernels": [1, 7], "sharing": "wide", "batch_norm": False},
        {"layer": "depth_block", "depths": [1, 3], "kernel": 3, "sharing": "block", "batch_norm": True},
        {"layer": "classifier", "classes": 10},
    ]
    study = {
        "seeds": [3, 5],
        "training_size": 500,
        "space": space,
        "supernet": recipe | {"sampler": "sandwich", "distillation": True},
        "standalone": recipe,
        "evaluate": {"batch_size": 500, "calibration_images": 100},
        "compare": {
            "bootstrap_samples": 100,
            "bootstrap_seed": 1,
            "precision_k": 3,
            "finetune_steps": 3,
            "latency_batch": 1,
            "latency_repeats": 10,
        },
    }
    project.edit("studies.three-blocks", study)
    project.edit("run.three-blocks", "mnist")
    outcome = project.repro()

    table = (project.folder / "results/three-blocks/comparison.csv").read_text().splitlines()
    assert {stage.partition("@")[2] for stage in outcome.ran - {"report"}} == {"three-blocks"}
    assert [line.split(",")[0] for line in table[1:]] == [
        f"{first}-{second}-{third}" for first in ("1x9", "9x1") for second in "17" for third in "13"
    ]
    assert all(cell for cell in table[1].split(","))  # with two seeds and some fine-tuning nothing is empty


@pytest.mark.slow
def test_the_same_params_give_the_same_bytes_untracked_and_from_an_empty_cache(project: Project) -> None:
    before = project.outputs()
    project.forget(".dvc/cache", ".work", "results/depths", "data", "dvc.lock", "mlflow.db", "mlruns")
    ran = project.repro("compare@depths").ran
    assert ran == {stage for stage in ALL_STAGES if stage.endswith(("@depths", "@mnist"))}

    after = project.outputs()
    assert {name for name in before if before[name] != after.get(name)} == set()
    assert before.keys() == after.keys()


def test_only_compare_opens_the_test_split(project: Project) -> None:
    before = project.outputs()
    project.forget(".work", "results")
    for file in (project.folder / "data/mnist").glob("t10k-*"):
        file.unlink()
        file.write_bytes(b"cut off")
    for stage in ("train_supernet", "evaluate_subnets", "train_standalones"):
        outcome = project.run("oneshot", stage, "--study", "kernels-sum", ONESHOT_TRACKING="off")
        assert outcome.code == 0, outcome.output
    refused = project.run("oneshot", "compare", "--study", "kernels-sum")

    same = {name: content for name, content in project.outputs().items() if name.startswith("results")}
    assert same and all(before[name] == content for name, content in same.items())
    assert refused.code == 65 and "t10k" in refused.output.splitlines()[-1]


def test_the_supernets_last_epoch_is_what_evaluate_subnets_finds(finished_project: Project) -> None:
    curves = (finished_project.folder / "results/depths/supernet/curves.csv").read_text().splitlines()
    scores = (finished_project.folder / "results/depths/oneshot.csv").read_text().splitlines()

    last = [line.split(",")[4:] for line in curves[-9:]]
    assert [line.split(",")[2:4] for line in scores[1:]] == last


def test_the_page_is_drawn_again_without_data_and_weights_and_shows_the_studies_of_run_alone(project: Project) -> None:
    project.forget("data", ".work", ".dvc/cache", "results/depths/supernet/weights", "report/index.html")
    outcome = project.run("oneshot", "report")
    page = (project.folder / "report/index.html").read_text()
    assert outcome.code == 0, outcome.output
    assert 'id="depths"' in page and 'id="kernels-sum"' in page

    project.edit("run", {"kernels-sum": "mnist"})
    assert project.run("oneshot", "report").code == 0
    assert 'id="depths"' not in (project.folder / "report/index.html").read_text()


def test_a_bad_edit_fails_the_repro_with_one_line_and_undoing_it_restores(project: Project) -> None:
    before = project.outputs()
    project.edit("studies.depths.compare.bootstrap_samples", -1)
    outcome = project.run("dvc", "repro")
    assert outcome.code == 255
    assert "error: params.yaml: studies.depths.compare.bootstrap_samples: " in outcome.output
    assert "Traceback" not in outcome.output

    project.edit("studies.depths.compare.bootstrap_samples", 200)
    assert project.repro().ran == set()
    assert project.outputs() == before


def test_code_that_is_not_the_installed_code_is_refused(project: Project) -> None:
    with (project.folder / "src/oneshot/statistics.py").open("a") as file:
        file.write("# Another rule.\n")
    outcome = project.run("oneshot", "compare", "--study", "kernels-sum")

    assert outcome.code == 2
    assert "error: src/oneshot/statistics.py: not the code that is installed" in outcome.output


def test_an_edit_while_a_stage_runs_is_refused() -> None:
    before = Record("compare", "depths", "mnist", {"studies.depths.seeds": [0]}, {})

    with pytest.raises(OneshotError, match="edited while it ran"):
        _refuse_edits_meanwhile(before, replace(before, params={"studies.depths.seeds": [1]}))


def test_dvc_commands_of_the_readme_work_in_a_repository(project: Project) -> None:
    (project.folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "Small")):
        assert project.run("git", *command).code == 0
    key = "studies.kernels-sum.compare.bootstrap_samples"

    assert project.run("dvc", "repro", "compare@depths").ran == set()
    assert "kendall_tau" in project.run("dvc", "metrics", "show").output
    assert project.run("dvc", "plots", "show").code == 0
    experiment = project.run("dvc", "exp", "run", "-S", f"{key}=150", ONESHOT_TRACKING="off")
    assert (experiment.code, experiment.ran) == (0, {"compare@kernels-sum", "report"}), experiment.output
    assert key in project.run("dvc", "params", "diff").output
    page = (project.folder / "dvc_plots/index.html").read_text()
    assert "standalone_curves.csv" in page and '"field": "architecture"' in page
