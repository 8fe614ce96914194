"""Command demo: a copy of the project with small params in a scratch folder, for a run of a minute or two."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oneshot.documents import rewrite_document, set_off
from oneshot.errors import USAGE, OneshotError
from oneshot.params import check_known, load_params
from pipeline.layout import Layout

PROJECT_FILES = (
    "dvc.yaml",
    ".dvcignore",
    ".dvc/.gitignore",
    ".dvc/plots",
    "pipeline",
    "src",
    ".gitignore",
    "mlruns/.gitignore",
)
TRAINING_SIZE, VALIDATION_SIZE = 1500, 500
EPOCHS = {"supernet": 3, "standalone": 1}


def make_small_project(source: Layout, destination: Path, studies: Sequence[str], batch_size: int = 64) -> None:
    """Without git; its `run` names these studies. Raises OneshotError (exit 2) if the folder is in use."""
    if destination.exists() and any(destination.iterdir()):
        raise OneshotError(f"{destination}: not empty; a demo starts from nothing; remove it or name another", USAGE)
    check_known(studies, "studies", load_params(source.params).studies)
    for name in PROJECT_FILES:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source.root / name).is_dir():
            shutil.copytree(source.root / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source.root / name, target)
    (destination / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
    )
    data = source.dataset("mnist")
    rewrite_document(
        source.params, destination / "params.yaml", lambda params: _make_small(params, data, studies, batch_size)
    )


def _make_small(params: Any, data: Path, studies: Sequence[str], batch_size: int) -> None:
    """All studies of params.yaml, in place; `run` names the chosen ones."""
    folder = str(data) if data.is_dir() else None
    params["run"] = dict.fromkeys(studies, "mnist")
    params["datasets"] = {"mnist": {"folder": folder, "validation_size": VALIDATION_SIZE, "split_seed": 0}}
    set_off(params, "datasets")  # the empty line went with a study of `run`
    params["compute"]["supernet_threads"] = 1  # small steps are faster on one thread
    for study in params["studies"].values():
        for arm, epochs in EPOCHS.items():
            study[arm] |= {"epochs": epochs, "batch_size": batch_size}
        study["training_size"] = TRAINING_SIZE
        study["evaluate"]["calibration_images"] = 500
        study["compare"]["bootstrap_samples"] = 200
