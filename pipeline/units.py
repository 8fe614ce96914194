"""What a stage's results show in MLflow: one unit per supernet, subnet, standalone, comparison, download or page.

Read from the files that the stage wrote and from a record of its inputs, which may come from the run itself or from
dvc.lock: both give the same units.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from oneshot.blocks import AnyLayer
from oneshot.catalog import CATALOG
from oneshot.cost import count_macs, count_params
from oneshot.params import INPUT_SHAPE
from oneshot.space import SearchSpace, architecture_id
from oneshot.tables import of_one_run, read_csv, read_json
from oneshot.tracking import Dataset, Unit
from pipeline.dvcfile import file_md5
from pipeline.layout import Layout, StudyLayout, address

DOWNLOADS, PAGES = "data_download", "report_page"  # with an underscore: no study can have such a name
ARMS = {"oneshot": "evaluate_subnets", "standalone": "train_standalones"}
"""Stages that make what is compared, by the arm's name in the columns of comparison.csv."""
MACHINE = ("device", "precision", "threads")
"""What a timing file says of the machine that bytes depend on: `auto` made concrete."""
SHOWN_BEFORE = (
    *("architecture", "params", "macs", "kl_to_reference"),
    *("oneshot_val_accuracy", "standalone_val_accuracy"),  # the curves end there
)
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Record:
    """A stage's inputs. `params`: by dotted key of params.yaml; `code`: MD5 by file."""

    stage: str
    key: str
    dataset: str
    params: Mapping[str, Any]
    code: Mapping[str, str]

    @property
    def address(self) -> str:
        """As DVC names the stage."""
        return address(self.stage, self.key)

    def flat_params(self) -> dict[str, str]:
        """Leaf values by dotted key, without the study's or dataset's own prefix."""
        prefixes = (f"studies.{self.key}.", f"datasets.{self.dataset}.")
        flat: dict[str, str] = {"dataset": self.dataset}
        for key, value in self.params.items():
            for name, leaf in _flatten(key, value):
                for prefix in prefixes:
                    name = name.removeprefix(prefix)
                flat[name] = leaf
        return flat


def _flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        yield name, json.dumps(value)
    else:
        yield name, str(value)


def curve_point(rows: Rows) -> dict[str, float]:
    """One epoch's metrics: of the network, or the mean over a supernet's subnets."""
    names = {
        "train/loss": "train_loss",
        "val/accuracy": "val_accuracy",
        "val/accuracy_inherited": "val_accuracy_inherited",
    }
    values = {
        metric: [float(row[column]) for row in rows if row.get(column) not in (None, "")]
        for metric, column in names.items()
    }
    return {metric: sum(numbers) / len(numbers) for metric, numbers in values.items() if numbers}


def read_units(layout: Layout, record: Record) -> list[Unit]:
    """Raises OneshotError: 66 if a file of the stage is missing, 65 if the files are not of one run."""
    readers: dict[str, Callable[[StudyLayout, Record], Iterable[Unit]]] = {
        "train_supernet": _supernets,
        "evaluate_subnets": _subnets,
        "train_standalones": _standalones,
        "compare": _comparison,
    }
    if record.stage == "download":
        return [_download(record)]
    if record.stage == "report":
        return [_page(layout, record)]
    with of_one_run(record.address):
        return list(readers[record.stage](layout.study(record.key), record))


def run_name(stage: str, job: str) -> str:
    """`standalone 1-3`, `subnet 1-3`, `supernet`."""
    prefix = {"evaluate_subnets": "subnet ", "train_standalones": "standalone "}.get(stage, "")
    return f"{prefix}{job}"


def run_tags(stage: str, study: str, job: str, seed: int | str) -> dict[str, str]:
    return {"stage": stage, "study": study, "architecture": job, "seed": str(seed), "dvc.stage": address(stage, study)}


def compared_metrics(paths: StudyLayout, one_seed: bool) -> dict[str, dict[str, dict[str, float]]]:
    """What only `compare` knows of an architecture, by stage that made the network, then architecture. Its table holds
    means over seeds: unless there was one, accuracies are left out, since they are of no single network."""
    found: dict[str, dict[str, dict[str, float]]] = {stage: {} for stage in ARMS.values()}
    with of_one_run(f"compare@{paths.folder.name}"):
        latencies = {row["architecture"]: row for row in read_json(paths.timing)["latency"]["architectures"]}
        for row in read_csv(paths.comparison_table):
            name = row["architecture"]
            latency = {f"cost/latency_{key}": float(latencies[name][key]) for key in ("p50_ms", "p95_ms")}
            columns = [column for column, cell in row.items() if cell and column not in SHOWN_BEFORE]
            placed = {_place(each): float(row[each]) for each in columns if one_seed or "accuracy" not in each}
            for stage, networks in found.items():
                networks[name] = latency | {metric: value for (of, metric), value in placed.items() if of == stage}
    return found


def _place(column: str) -> tuple[str, str]:
    """Stage and metric of a column of comparison.csv: `oneshot_test_accuracy_low` is `test/accuracy_low` of a subnet,
    `gap_batch_norm` its `gap/batch_norm`."""
    arm, _, measure = column.partition("_")
    stage, measure = (ARMS[arm], measure) if arm in ARMS else (ARMS["oneshot"], column)
    group, _, name = measure.partition("_")
    return stage, f"{group}/{name or 'value'}"


def _unit(record: Record, job: str, seed: int | str, tags: Mapping[str, str] | None = None, **content: Any) -> Unit:
    tags = run_tags(record.stage, record.key, job, seed) | {"code": _digest(record.code)} | dict(tags or {})
    params = record.flat_params() | {"architecture": job, "seed": str(seed), "stage": record.stage}
    return Unit(
        record.key,
        run_name(record.stage, job),
        tags,
        params,
        dataset=Dataset(record.dataset, _digest(_pins(record.dataset))),
        **content,
    )


def _download(record: Record) -> Unit:
    params = record.flat_params()
    params.pop("folder", None)  # a path of somebody's machine; the files are the same wherever they lay
    params |= {f"sha256.{name}": digest for name, digest in _pins(record.key).items()}
    tags = {"stage": "download", "dataset": record.key, "dvc.stage": record.address}
    return Unit(
        DOWNLOADS, f"download {record.key}", tags, params, dataset=Dataset(record.key, _digest(_pins(record.key)))
    )


def _page(layout: Layout, record: Record) -> Unit:
    # Its digest tells two pages apart that were drawn from other results by the same params.
    params = {f"run.{study}": dataset for study, dataset in record.params["run"].items()}
    params |= {"stage": "report", "page.md5": file_md5(layout.page)}
    tags = {"stage": "report", "dvc.stage": "report", "code": _digest(record.code)}
    return Unit(PAGES, "report", tags, params, artifacts=[(layout.page, "report")])


def _pins(dataset: str) -> dict[str, str]:
    return {name: pin.sha256 for name, pin in CATALOG[dataset].files.items()}


def _digest(content: Mapping[str, str]) -> str:
    """Short enough for MLflow's dataset digests."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _supernets(paths: StudyLayout, record: Record) -> Iterator[Unit]:
    timing = read_json(paths.supernet_timing)
    seconds = _seconds(timing)
    for (seed,), rows in _grouped(read_csv(paths.supernet_curves), "seed"):
        weights = paths.supernet_weights / f"{seed}.safetensors"
        yield _unit(
            record,
            "supernet",
            seed,
            _machine(timing),
            curve=[curve_point(list(epoch)) for _, epoch in groupby(rows, lambda row: row["epoch"])],
            metrics={"time/train_seconds": seconds["supernet", seed]},
            artifacts=[(weights, "weights"), (paths.supernet_curves, ""), (paths.supernet_sampling, "")],
        )


def _subnets(paths: StudyLayout, record: Record) -> Iterator[Unit]:
    curves = dict(_grouped(read_csv(paths.supernet_curves), "architecture", "seed"))
    machine = _machine(read_json(paths.supernet_timing))
    for row in read_csv(paths.oneshot):
        architecture, seed = row["architecture"], row["seed"]
        yield _unit(
            record,
            architecture,
            seed,
            machine,
            curve=[curve_point([point]) for point in curves[architecture, seed]],
            metrics={
                "cost/params": float(row["params"]),
                "cost/macs": float(row["macs"]),
                "val/kl_to_reference": float(row["kl_to_reference"]),
            },
            artifacts=[(paths.oneshot, "")],
        )


def _standalones(paths: StudyLayout, record: Record) -> Iterator[Unit]:
    timing = read_json(paths.standalone_timing)
    seconds = _seconds(timing)
    layers = TypeAdapter(tuple[AnyLayer, ...]).validate_python(record.params[f"studies.{record.key}.space"])
    space = SearchSpace(layers, INPUT_SHAPE)
    costs = {
        architecture_id(architecture): {
            "cost/params": float(count_params(space.path(architecture))),
            "cost/macs": float(count_macs(space.path(architecture), INPUT_SHAPE)),
        }
        for architecture in space.architectures
    }
    for (architecture, seed), rows in _grouped(read_csv(paths.standalone_curves), "architecture", "seed"):
        weights = paths.standalone_weights / architecture / f"{seed}.safetensors"
        yield _unit(
            record,
            architecture,
            seed,
            _machine(timing),
            curve=[curve_point([row]) for row in rows],
            metrics=costs[architecture] | {"time/train_seconds": seconds[architecture, seed]},
            artifacts=[(weights, "weights")],
        )


def _comparison(paths: StudyLayout, record: Record) -> Iterator[Unit]:
    timing = read_json(paths.timing)
    summary = read_json(paths.comparison) | timing
    files = (paths.comparison_table, paths.comparison, paths.timing)
    yield _unit(
        record,
        "comparison",
        "all",
        _machine(timing) | {"verdict": summary["verdict"]},
        metrics=dict(_numbers("compare", summary)),
        artifacts=[(paths.figures, "figures"), *((file, "") for file in files)],
    )


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Every number in it by its keys, and in a list of predictors by the predictor's name. Lists of architectures are
    left out: what is of one architecture is shown by that one's runs."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(f"{name}/{key}", item)
    elif isinstance(value, list):
        for row in value:
            yield from _numbers(f"{name}/{row['predictor']}", row) if "predictor" in row else ()
    elif isinstance(value, int | float):
        yield name, float(value)


def _grouped(rows: Rows, *columns: str) -> Iterator[tuple[tuple[str, ...], list[Mapping[str, str]]]]:
    """Rows by their values of the columns, in the order in which the values first appear."""
    groups: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    yield from groups.items()


def _machine(timing: Mapping[str, Any]) -> dict[str, str]:
    """Tags: params say what was asked for."""
    return {f"machine.{name}": str(timing[name]) for name in MACHINE}


def _seconds(timing: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    return {(job["name"], str(job["seed"])): job["train_seconds"] for job in timing["jobs"]}
