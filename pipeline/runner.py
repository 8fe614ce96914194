"""Runs one stage of the pipeline: params in, progress and tracking around it, errors out."""

import importlib
from pathlib import Path

from oneshot.errors import USAGE, OneshotError
from oneshot.params import Params, load_params
from oneshot.progress import ProgressListener
from pipeline.context import Context
from pipeline.layout import Layout


def run_stage(name: str, key: str) -> None:
    layout = Layout.find()
    params = load_params(layout.params)
    _check_key(name, key, params)
    stage = importlib.import_module(f"pipeline.{name}")
    if name == "download":
        folder = params.datasets[key].folder
        stage.run(key, folder and layout.home / Path(folder).expanduser(), layout.dataset(key))
        return
    with ProgressListener(f"{name}@{key}") as listener:
        stage.run(Context(name, key, params, layout, listener))


def _check_key(name: str, key: str, params: Params) -> None:
    section, known = ("datasets", params.datasets) if name == "download" else ("run", params.run)
    if key not in known:
        raise OneshotError(
            f"{key}: not in `{section}` of params.yaml; known: {', '.join(known)}; use one of them", USAGE
        )
