"""Stage report: the page over all studies of `run`, from the files that compare's manifests name; each is verified."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from oneshot.catalog import CATALOG
from oneshot.checkpoint import write_whole
from oneshot.documents import dump_document, load_document
from oneshot.errors import BAD_DATA, MISSING_INPUT, OneshotError
from oneshot.params import Params
from oneshot.report.page import StudyResults, render
from oneshot.tables import read_csv, read_json
from pipeline.dvcfile import file_md5
from pipeline.layout import Layout

TEXT = ("architecture",)  # a column that is no number, even where it looks like one


def run(params: Params, layout: Layout) -> None:
    sections = load_document(layout.params)["studies"]
    studies = [read_study(layout, params, study, sections[study]) for study in params.run]
    versions = {name: version(name) for name in ("oneshot", "matplotlib")} | {"Python": platform.python_version()}
    write_whole(layout.page, render(studies, versions).encode())


def read_study(layout: Layout, params: Params, study: str, section: Mapping[str, Any]) -> StudyResults:
    """`section`: the study's params as they are written."""
    paths, dataset = layout.study(study), params.run[study]
    files = (paths.comparison_table, paths.comparison, paths.timing, paths.supernet_curves, paths.standalone_curves)
    manifest = read_manifest(layout, study)
    if (manifest["settings"]["dataset"], manifest.pop("study")) != (dataset, section):
        raise OneshotError(
            f"{layout.manifest(study)}: its results are of another dataset or other params than params.yaml has now; "
            "the page must show what was compared; run `dvc repro`",
            BAD_DATA,
        )
    inputs = manifest["inputs"]
    verify_inputs(layout, study, inputs)
    named = {entry["path"] for entry in inputs}
    for file in (*files, paths.supernet_sampling):
        if (name := file.relative_to(layout.root).as_posix()) not in named:
            raise OneshotError(
                f"{layout.manifest(study)}: does not name {name}; the page needs it; {_again(study)}", BAD_DATA
            )
    standalone = params.studies[study].standalone
    return StudyResults(
        name=study,
        dataset=dataset,
        digests={name: pin.sha256 for name, pin in CATALOG[dataset].files.items()},
        seeds=params.studies[study].seeds,
        space=params.studies[study].search_space(),
        standalone_epochs=standalone.epochs,
        warmup_epochs=standalone.epochs * standalone.schedule.warmup,
        params=dump_document(section),
        rows=[_as_numbers(row) for row in read_csv(paths.comparison_table)],
        summary=read_json(paths.comparison),
        timing=read_json(paths.timing),
        supernet_curves=read_csv(paths.supernet_curves),
        standalone_curves=read_csv(paths.standalone_curves),
        sampling=read_csv(paths.supernet_sampling),
        **manifest,
    )


def read_manifest(layout: Layout, study: str) -> dict[str, Any]:
    """`inputs` and `weights`: `path` and `md5` of every file; `settings`, with the `dataset`; `study`: its params.

    Raises OneshotError (65) if it is damaged.
    """
    path = layout.manifest(study)
    try:
        document = read_json(path)
        files = {
            kind: [{"path": str(entry["path"]), "md5": str(entry["md5"])} for entry in document[kind]]
            for kind in ("inputs", "weights")
        }
        (study_params,), settings = document["study"], dict(document["settings"])
        return files | {"study": study_params, "settings": {"dataset": settings["dataset"]} | settings}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise OneshotError(
            f"{path}: damaged; it must list `inputs` and `weights`, each with `path` and `md5`, `settings` in "
            f"pairs, and the `study`; {_again(study)}",
            BAD_DATA,
        ) from None


def verify_inputs(layout: Layout, study: str, inputs: Sequence[Mapping[str, str]]) -> None:
    """Raises OneshotError: 66 if a file is missing, 65 if one has changed since compare named it."""
    manifest = layout.manifest(study)
    for entry in inputs:
        path = layout.root / entry["path"]
        if not path.resolve().is_relative_to(layout.study(study).folder.resolve()):
            raise OneshotError(
                f"{manifest}: names {entry['path']}; an input lies in the results of its study; {_again(study)}",
                BAD_DATA,
            )
        if not path.is_file():
            raise OneshotError(f"{path}: no such file; an earlier stage writes it; run `dvc repro`", MISSING_INPUT)
        if (md5 := file_md5(path)) != entry["md5"]:
            raise OneshotError(
                f"{path}: changed since `compare` read it: MD5 {md5}, not {entry['md5']}; the page must show what was "
                f"compared; {_again(study)}",
                BAD_DATA,
            )


def _again(study: str) -> str:
    return f"run `dvc repro -f compare@{study}`"


def _as_numbers(row: Mapping[str, str]) -> dict[str, str | float | None]:
    """Empty cells become None."""
    return {key: value if key in TEXT else float(value) if value else None for key, value in row.items()}
