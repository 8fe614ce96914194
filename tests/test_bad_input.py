"""Whatever a user gives that is wrong, `oneshot` answers with `error:` lines and an exit code, and does nothing."""

import copy
import errno
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from click.testing import CliRunner
from project import make_bare_project
from ruamel.yaml import YAML

from oneshot import sources, writer
from oneshot.catalog import CATALOG, FilePin, KnownDataset
from oneshot.commands import STAGES, main
from oneshot.documents import load_document, write_document
from oneshot.errors import BAD_DATA, IO, MISSING_INPUT, UNAVAILABLE, USAGE, OneshotError
from oneshot.machine import Machine
from oneshot.params import load_params
from pipeline.arms import found_on_validation
from pipeline.compare import compare_cost, training_cost
from pipeline.context import Context
from pipeline.layout import Layout

ROOT = Path(__file__).parents[1]
COMMITTED = (ROOT / "params.yaml").read_text()
DOCUMENT = load_document(ROOT / "params.yaml")
STUDY_STAGES = [stage for stage in STAGES if stage not in ("download", "report")]
TRAIN_PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
ABSENT = object()
BY_HAND = "params.yaml written wrong by hand"

DEPTHS, KERNELS = "studies.depths", "studies.kernels-sum"
MNIST = {"folder": None, "validation_size": 10000, "split_seed": 0}
CLASSIFIER = {"layer": "classifier", "classes": 10}
BLOCK = {"layer": "depth_block", "depths": [1, 2], "kernel": 3, "sharing": "prefix", "batch_norm": True}
LINEAR = {"layer": "linear", "features": 8}


class Change(NamedTuple):
    """One edit of the committed file."""

    place: str
    value: object
    answer: str
    """A part of the error line."""
    at: str = ""
    """The place that the line names, if it is another."""


# What is wrong, by the edit that makes it so.
BAD_VALUES = {
    "unknown key at the top": ("colour", 3, "unknown key; the keys here are run, datasets, compute, studies"),
    "unknown key inside": (f"{DEPTHS}.supernet.momentum", 0.9, "unknown key; the keys here are epochs"),
    "unknown key of a layer": (f"{DEPTHS}.space[0].bias", True, "unknown key; the keys here are layer, channels"),
    "key that is a number": ("compute.7", 1, "keys must be text"),
    "key that breaks the line": ("compute.a\nb", 1, "unknown key", r'compute."a\nb"'),
    "missing number": (f"{DEPTHS}.supernet.epochs", ABSENT, "missing"),
    "missing section": ("compute", ABSENT, "missing"),
    "missing folder": ("datasets.mnist.folder", ABSENT, "missing"),
    "number for section": (f"{DEPTHS}.supernet", 3, "must be a mapping"),
    "list for section": ("studies", [], "must be a mapping"),
    "nothing for section": (DEPTHS, None, "got null; must be a mapping"),
    "number for list": (f"{DEPTHS}.seeds", 0, "must be a list"),
    "mapping for list": (f"{DEPTHS}.space", {}, "must be a list"),
    "bool for int": ("compute.workers", True, "got true; must be a whole number"),
    "fraction for int": ("compute.workers", 2.5, "got 2.5; must be a whole number"),
    "whole float for int": ("compute.workers", 2.0, "got 2.0; must be a whole number"),
    "string for int": ("compute.workers", "2", 'got "2"; must be a whole number; write one, without quotes'),
    "string for float": (f"{DEPTHS}.supernet.optimizer.lr", "0.1", "must be a number"),
    "bool for float": (f"{DEPTHS}.supernet.optimizer.lr", False, "got false; must be a number"),
    "int for bool": (f"{DEPTHS}.supernet.optimizer.nesterov", 1, "must be true or false"),
    "yes for bool": (f"{DEPTHS}.supernet.optimizer.nesterov", "yes", "must be true or false"),
    "number for text": ("datasets.mnist.folder", 3, "must be text"),
    "no folder's name": ("datasets.mnist.folder", "", "must be null or a path"),
    "folder of a user": ("datasets.mnist.folder", "~nobody/data", "at most ~/ for the home folder"),
    "NUL in a folder's name": ("datasets.mnist.folder", "a\0b", r'got "a\u0000b"; must be null or a path'),
    "not a number": (f"{DEPTHS}.supernet.optimizer.lr", float("nan"), "must be a finite number"),
    "infinite": (f"{DEPTHS}.supernet.optimizer.lr", float("inf"), "must be a finite number"),
    "minus infinite": (f"{DEPTHS}.standalone.schedule.warmup", float("-inf"), "must be a finite number"),
    "huge seed": (f"{DEPTHS}.seeds", [2**32], "must be below 4294967296", f"{DEPTHS}.seeds[0]"),
    "int beyond floats": (f"{DEPTHS}.supernet.optimizer.lr", 10**400, "must be"),
    "negative seed": ("datasets.mnist.split_seed", -1, "must be at least 0"),
    "no epochs": (f"{DEPTHS}.supernet.epochs", 0, "must be at least 1"),
    "no learning rate": (f"{DEPTHS}.standalone.optimizer.lr", 0.0, "must be above 0"),
    "momentum of 1": (f"{DEPTHS}.standalone.optimizer.momentum", 1.0, "must be below 1"),
    "too many workers": ("compute.workers", 65, "must be at most 64"),
    "too few resamples": (f"{DEPTHS}.compare.bootstrap_samples", 99, "must be at least 100"),
    "precision at 0": (f"{DEPTHS}.compare.precision_k", 0, "must be at least 1"),
    "precision at too many": (f"{DEPTHS}.compare.precision_k", 101, "must be at most 100"),
    "negative steps": (f"{DEPTHS}.compare.finetune_steps", -1, "must be at least 0"),
    "too many steps": (f"{DEPTHS}.compare.finetune_steps", 1_000_001, "must be at most 1000000"),
    "epochs of fine-tuning": (f"{DEPTHS}.compare.finetune_steps", 0.5, "must be a whole number"),
    "timing of no image": (f"{DEPTHS}.compare.latency_batch", 0, "must be at least 1"),
    "timing of too many images": (f"{DEPTHS}.compare.latency_batch", 10_001, "must be at most 10000"),
    "too few timings": (f"{DEPTHS}.compare.latency_repeats", 9, "must be at least 10"),
    "too many timings": (f"{DEPTHS}.compare.latency_repeats", 10_001, "must be at most 10000"),
    "unknown device": ("compute.device", "gpu", "must be one of auto, cpu, cuda, mps"),
    "unknown precision": ("compute.precision", "fp16", "must be one of auto, fp32, bf16"),
    "unknown sampler": (f"{DEPTHS}.supernet.sampler", "greedy", "must be one of uniform, cycle, strict_fair, sandwich"),
    "sampler of a standalone": (f"{DEPTHS}.standalone.sampler", "cycle", "unknown key"),
    "distillation without a sandwich": (
        f"{DEPTHS}.supernet.distillation",
        True,
        "got true; only sandwich trains the largest in every step, to learn from; set sampler: sandwich",
    ),
    "word for distillation": (f"{DEPTHS}.supernet.distillation", "on", 'got "on"; must be true or false'),
    "distillation of a standalone": (f"{DEPTHS}.standalone.distillation", False, "unknown key"),
    "unknown optimizer": (f"{DEPTHS}.supernet.optimizer.name", "lion", "must be one of sgd, adadelta"),
    "no optimizer's name": (f"{DEPTHS}.supernet.optimizer.name", ABSENT, "missing; must be one of sgd, adadelta"),
    "optimizer as text": (f"{DEPTHS}.supernet.optimizer", "sgd", "must be a mapping"),
    "key of another optimizer": (f"{DEPTHS}.supernet.optimizer.rho", 0.9, "unknown key; the keys here are name, lr"),
    "unknown schedule": (f"{DEPTHS}.supernet.schedule.name", "step", "must be one of constant, linear, cosine"),
    "nesterov without momentum": (
        f"{DEPTHS}.supernet.optimizer.momentum",
        0.0,
        "nesterov needs a momentum above 0",
        f"{DEPTHS}.supernet.optimizer.nesterov",
    ),
    "unknown layer": (f"{DEPTHS}.space[0]", {"layer": "dropout"}, "must be one of conv", f"{DEPTHS}.space[0].layer"),
    "layer without a kind": (f"{DEPTHS}.space[0].layer", ABSENT, "missing; must be one of conv"),
    "layer as text": (f"{DEPTHS}.space[0]", "conv", "must be a mapping"),
    "even kernel": (f"{DEPTHS}.space[0].kernel", 4, "got 4; a kernel must be an odd size from 1 to 27"),
    "even kernel among choices": (f"{KERNELS}.space[0].kernels[1]", 6, "got 6; a kernel must be an odd size"),
    "even side": (f"{KERNELS}.space[0].kernels[1]", [1, 8], "got [1, 8]; a kernel must be an odd size"),
    "three sides": (f"{KERNELS}.space[0].kernels[1]", [3, 3, 3], "a pair [height, width]"),
    "kernel of bool": (f"{DEPTHS}.space[0].kernel", True, "got true; a kernel must be an odd size"),
    "kernel of 0": (f"{DEPTHS}.space[0].kernel", -1, "got -1; a kernel must be an odd size"),
    "one kernel instead of a list": (f"{KERNELS}.space[0].kernels", 3, "must be a list"),
    "no choices": (f"{DEPTHS}.space[1].depths", [], "must have at least 1 entry"),
    "repeated kernels": (f"{KERNELS}.space[0].kernels", [3, [3, 3]], "kernels must differ from each other"),
    "repeated depths": (f"{DEPTHS}.space[1].depths", [1, 2, 1], "depths must differ from each other"),
    "depth of 0": (f"{DEPTHS}.space[1].depths[0]", 0, "must be at least 1"),
    "repeated seeds": (f"{DEPTHS}.seeds", [1, 0, 1], "seeds must differ from each other"),
    "no seeds": (f"{DEPTHS}.seeds", [], "must have at least 1 entry"),
    "too many seeds": (f"{DEPTHS}.seeds", list(range(101)), "must have at most 100 entries"),
    "empty space": (f"{DEPTHS}.space", [], "must have at least 1 entry"),
    "space without a choice": (f"{DEPTHS}.space", [CLASSIFIER], "needs at least one choice block"),
    "space without a classifier": (f"{DEPTHS}.space", [BLOCK], "the last layer must be the classifier"),
    "classifier not last": (
        f"{DEPTHS}.space",
        [BLOCK, CLASSIFIER, LINEAR, CLASSIFIER],
        "the classifier must be the last layer",
        f"{DEPTHS}.space[1]",
    ),
    "too few classes": (f"{DEPTHS}.space[5].classes", 9, "the datasets have 10 classes"),
    "pooled to nothing": (
        f"{KERNELS}.space[3].size",
        15,
        "nothing is left of an input of (16, 14, 14)",
        f"{KERNELS}.space[3]",
    ),
    "choice after linear": (
        f"{DEPTHS}.space",
        [LINEAR, BLOCK, CLASSIFIER],
        "it needs an image, but a layer before it has flattened it",
        f"{DEPTHS}.space[1]",
    ),
    "pool after linear": (
        f"{DEPTHS}.space",
        [BLOCK, LINEAR, {"layer": "max_pool", "size": 2}, CLASSIFIER],
        "it needs an image",
        f"{DEPTHS}.space[2]",
    ),
    "too many architectures": (f"{DEPTHS}.space", [*[BLOCK] * 10, CLASSIFIER], "1024 architectures; at most 1000"),
    "endlessly many architectures": (f"{DEPTHS}.space", [*[BLOCK] * 199, CLASSIFIER], "architectures; at most 1000"),
    "too many layers": (f"{DEPTHS}.space", [*[BLOCK] * 200, CLASSIFIER], "must have at most 200 entries"),
    "study's name in capitals": ("studies.Depths", DOCUMENT["studies"]["depths"], "a study's name is 1 to 40 of a-z"),
    "study's name with _": ("studies.my_study", DOCUMENT["studies"]["depths"], "a study's name is"),
    "study's name too long": (f"studies.{'a' * 41}", DOCUMENT["studies"]["depths"], "a study's name is"),
    "study's name first a -": ("studies.-rf", DOCUMENT["studies"]["depths"], "a study's name is"),
    "dataset's name with -": ("datasets.fashion-mnist", MNIST, "a dataset's name is 1 to 40 of a-z"),
    "dataset's name in capitals": ("datasets.MNIST", MNIST, "a dataset's name is"),
    "unknown dataset": ("datasets.cifar", MNIST, "unknown dataset; known are mnist, fashion_mnist"),
    "run of nothing": ("run", {}, "got {}; must have at least 1 entry"),
    "run of a list": ("run", ["depths"], "must be a mapping"),
    "run of an unknown study": ("run.widths", "mnist", "unknown study; a study that is run must stand in `studies`"),
    "run on an unknown dataset": ("run.depths", "fashion_mnist", "unknown dataset `fashion_mnist`"),
    "run on a dataset of bad name": ("run.depths", "../mnist", 'got "../mnist"; a dataset\'s name is'),
    "run on no dataset": ("run.depths", None, "must be text"),
    "more calibration than training images": (
        f"{DEPTHS}.evaluate.calibration_images",
        50_001,
        "it must not be above the 50000 images that the study trains on",
    ),
    "split larger than the data": (
        f"{DEPTHS}.training_size",
        50_001,
        "datasets.mnist.validation_size leaves 50000 of the 60000 training images",
    ),
}

# What is wrong: a pattern in the committed text, its replacement, a part of the answer. The place is the changed line.
BAD_LINES = {
    "duplicate key": (r"(?m)^(  workers:.*)$", r"\1\n  workers: 1", "duplicate key workers"),
    "duplicate section": (r"\Z", "compute: {}\n", "duplicate key compute"),
    "duplicate key that shows something else": (
        r"(?m)^(  workers:.*)$",
        r'\1\n  "a\\nb": 1\n  "a\\nb": 2',
        r'duplicate key "a\nb"',
    ),
    "anchor": (r"seeds: \[", "seeds: &seeds [", "an anchor or alias"),
    "alias": (r"seeds: .*", "seeds: *seeds", "an anchor or alias"),
    "merge key": (r"\ncompute:", r"\ncompute:\n  <<: {workers: 1}", "a merge key"),
    "tag": (r"workers: ", "workers: !!int ", "a tag"),
    "tag that builds an object": (r"workers: .*", 'workers: !!python/object/apply:os.system ["true"]', "a tag"),
    "local tag": (r"workers: ", "workers: !secret ", "a tag"),
    "second document": (r"\ncompute:", r"\n---\ncompute:", "a second document begins"),
    "tab as indentation": (r"  workers: ", "\tworkers: ", "a tab"),
    "tab before a key": (r"  workers: ", "  \tworkers: ", "a tab"),
    "NUL": (r"precision: auto", "precision: au\0to", "not printable text; the file must be UTF-8"),
    "escape sequence": (r"precision: auto", "precision: \x1b[31m", "not printable text; the file must be UTF-8"),
    "endless number": (r"workers: \d+", f"workers: {'9' * 5000}", "a value of 5000 characters; at most 1000 are read"),
    "endless text": (r"precision: auto", f"precision: {'x' * 5000}", "a value of 5000 characters"),
    "nothing but brackets": (r"workers: \d+", f"workers: {'[' * 10_000}", "too deep; at most 20 levels are read"),
    "two colons": (r"workers: ", "workers: 1: ", "the file must be YAML 1.2"),
    "reserved character": (r"workers: ", "workers: @", "the file must be YAML 1.2"),
    "section as a key": (r"\ncompute:", r"\ncompute:\n  {a: b}: 1", "the file must be YAML 1.2"),
}

# What is wrong: the whole file, the place, a part of the answer.
BAD_FILES = {
    "empty": (b"", "params.yaml", "holds nothing; the file must be one mapping"),
    "comments only": (b"# Nothing yet.\n", "params.yaml", "holds nothing"),
    "list": (b"- run\n- studies\n", "params.yaml", "holds a list"),
    "text": (b"run\n", "params.yaml", "holds a single value"),
    "no bracket at the end": (b"run: {a: b\n", "params.yaml:1", "a { is opened here, and not closed before line 2"),
    "no bracket before the next key": (b"\nrun: [a, b\nstudies: {}\n", "params.yaml:2", "a [ is opened here, and not"),
    "no quotation mark at the end": (
        b'\nrun: "a\n\nb: 1\n',
        "params.yaml:2",
        "a quotation mark is opened here, and not",
    ),
    "no colon": (b"compute: {}\nworkers 1\nrun: {}\n", "params.yaml:2", "could not find expected ':'"),
    "no bracket before another": (b"run: {a: [b, c}\n", "params.yaml:1", "the file must be YAML 1.2"),
    "bytes that are no UTF-8": (b"run:\n  a: \xff\xfe\n", "params.yaml:2", "the file must be UTF-8"),
    "half a character": (b"run: {}\n# caf\xc3\n", "params.yaml:2", "the file must be UTF-8"),
    "Latin-1": ("# größer\n".encode("latin-1"), "params.yaml:1", "the file must be UTF-8"),
    "UTF-16": (COMMITTED.encode("utf-16"), "params.yaml:1", "the file must be UTF-8"),
    "archive": (gzip.compress(COMMITTED.encode(), mtime=0), "params.yaml:1", "the file must be UTF-8"),
    "too long": (COMMITTED.encode().ljust(65_537, b"#"), "params.yaml", "65537 bytes; at most 65536 are read"),
    "lines that nest": (b"\n".join(b" " * n + b"a:" for n in range(100)), "params.yaml:19", "too deep"),
    "directive": (b"%YAML 1.1\n---\n" + COMMITTED.encode(), "params.yaml:1", "read as YAML 1.2"),
    "colon without a space, in braces": (b"run: {depths:mnist}\n", "params.yaml:1", "the file must be YAML 1.2"),
    "lines that end as on an old Mac": (b"run: {}\rstudies: @\r", "params.yaml:2", "the file must be YAML 1.2"),
    "second document of nothing": (b"run: {}\n---\n", "params.yaml:2", "a second document begins"),
    "date that is none": (b"run: 2001-13-45\n", "params.yaml", "the file must be YAML 1.2"),
    "merge markers": (b"<<<<<<< HEAD\nrun: {}\n=======\n", "params.yaml:2", "the file must be YAML 1.2"),
}


def edited(document, place, value):
    """A copy with one value replaced, or taken away."""
    document = container = copy.deepcopy(document)
    *above, last = (int(key) if key.isdigit() else key for key in re.findall(r"[^.\[\]]+", place))
    for key in above:
        container = container[key]
    if value is ABSENT:
        del container[last]
    else:
        container[last] = value
    return document


def change(project, changes, studies=("kernels-sum", "depths")):
    """Writes the committed params, of these studies, with values replaced by place; ABSENT takes one away."""
    document = {
        **DOCUMENT,
        "run": {name: DOCUMENT["run"][name] for name in studies},
        "studies": {name: DOCUMENT["studies"][name] for name in studies},
    }
    for place, value in changes.items():
        document = edited(document, place, value)
    yaml = YAML(typ="safe", pure=True)
    yaml.representer.ignore_aliases = lambda _: True
    yaml.dump(document, project / "params.yaml")


def snapshot(folder):
    """All but the scratch folder, where a stage leaves its lock."""
    paths = [path for path in folder.rglob("*") if ".work" not in path.parts]
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in paths}


def error_lines(result, exit_code):
    """The lines of stderr, each of the form that is promised: a place, what is wrong with the rule, the mend."""
    assert result.exit_code == exit_code
    lines = result.stderr.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("error: ")
        assert line.isprintable()
        assert ";" in line
    return lines


@pytest.fixture(autouse=True)
def plain_process(monkeypatch):
    """No variable of DVC's; this process ends with nobody."""
    for name in ("DVC_STAGE", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(writer, "end_with_starter", lambda name: None)


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make_bare_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused(project):
    """Runs `oneshot`, which must change nothing in the project, and answers with its error lines."""

    def run(*arguments, exit_code=USAGE):
        before = snapshot(project)
        result = CliRunner().invoke(main, arguments)
        lines = error_lines(result, exit_code)
        assert result.stdout == ""
        assert snapshot(project) == before
        return lines

    return run


@pytest.fixture
def tiny_mnist(project, monkeypatch):
    """Four small files that are the dataset `mnist` as far as the catalog knows."""
    folder = project / "data" / "mnist"
    folder.mkdir(parents=True)
    pins = {}
    for name in CATALOG["mnist"].files:
        content = name.encode() * 10
        (folder / name).write_bytes(content)
        pins[name] = FilePin(len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(CATALOG, "mnist", KnownDataset("MNIST", None, pins))
    return folder


def test_good_params_are_accepted(project):
    before = snapshot(project)

    result = CliRunner().invoke(main, ["check"])

    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == list(DOCUMENT["run"])
    assert snapshot(project) == before


@pytest.mark.faults
@pytest.mark.parametrize("edit", [Change(*edit) for edit in BAD_VALUES.values()], ids=BAD_VALUES)
def test_bad_value_is_refused_where_it_stands(project, refused, edit, record_property):
    change(project, {edit.place: edit.value})

    (line,) = refused("check")

    assert line.startswith(f"error: params.yaml: {edit.at or edit.place}: ")
    assert edit.answer in line
    assert line.count(";") >= 2
    record_property(BY_HAND, 1)


@pytest.mark.faults
@pytest.mark.parametrize(("pattern", "replacement", "answer"), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_line_is_refused_by_its_number(project, refused, pattern, replacement, answer, record_property):
    text, count = re.subn(pattern, replacement, COMMITTED, count=1)
    assert count == 1
    pairs = zip(text.split("\n"), COMMITTED.split("\n"), strict=False)
    number = next(number for number, (new, old) in enumerate(pairs, 1) if new != old)
    if "\\n" in answer:
        number += 1  # the second of the two new lines is the duplicate
    (project / "params.yaml").write_text(text)

    (line,) = refused("check")

    assert line.startswith(f"error: params.yaml:{number}: ")
    assert answer in line
    assert line.count(";") >= 2
    record_property(BY_HAND, 1)


@pytest.mark.parametrize("key", ["supernet.batch_size", "standalone.batch_size", "evaluate.calibration_images"])
def test_batch_larger_than_the_data_is_refused(project, refused, key):
    change(project, {f"{DEPTHS}.{key}": 40_001, f"{DEPTHS}.training_size": 40_000})

    (line,) = refused("check")

    assert line.startswith(f"error: params.yaml: {DEPTHS}.{key}: got 40001; ")
    assert "must not be above the 40000 images that the study trains on; lower it" in line


@pytest.mark.faults
@pytest.mark.parametrize(("content", "place", "answer"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_is_refused(project, refused, content, place, answer, record_property):
    (project / "params.yaml").write_bytes(content)

    (line,) = refused("check")

    assert line.startswith(f"error: {place}: ")
    assert answer in line
    assert line.count(";") >= 2
    record_property(BY_HAND, 1)


def test_every_fault_is_told_at_once(project, refused):
    changes = {"compute.workers": 0, "datasets.mnist.folder": 1, f"{DEPTHS}.space[0].kernel": 2, "colour": "red"}
    change(project, changes)

    lines = refused("check")

    assert sorted(line.split(": ")[2] for line in lines) == sorted(changes)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_does_nothing_while_params_are_bad(project, refused, stage):
    (project / "params.yaml").write_text(COMMITTED.replace("\ncompute:", "\ncompute:\n  colour: 3"))
    key = {"download": ("--dataset", "mnist"), "report": ()}.get(stage, ("--study", "depths"))

    (line,) = refused(stage, *key)

    assert line.startswith("error: params.yaml: compute.colour: unknown key; ")


@pytest.mark.parametrize("folder", ["", "deep/inside"])
def test_real_process_ends_with_the_code_and_the_lines(project, folder):
    (project / folder).mkdir(parents=True, exist_ok=True)
    (project / "params.yaml").write_text(COMMITTED.replace("\ncompute:", "\ncompute:\n  colour: 3\n  size: x"))
    before = snapshot(project)

    command = [sys.executable, "-c", "from oneshot.cli import main; main()", "check"]
    ended = subprocess.run(command, cwd=project / folder, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout) == (USAGE, "")
    places = [line.split(": ")[:3] for line in ended.stderr.splitlines()]
    assert places == [["error", "params.yaml", "compute.colour"], ["error", "params.yaml", "compute.size"]]
    assert snapshot(project) == before


@pytest.mark.parametrize("missing", ["params.yaml", "dvc.yaml"])
@pytest.mark.parametrize("command", ["check", "train_supernet"])
def test_outside_of_a_project_is_said_so(project, refused, command, missing):
    (project / missing).unlink()
    arguments = [command] if command == "check" else [command, "--study", "depths"]

    (line,) = refused(*arguments, exit_code=MISSING_INPUT)

    assert "no dvc.yaml and params.yaml here or above" in line
    assert line.endswith("cd into it")


@pytest.mark.parametrize("stage", STUDY_STAGES)
def test_unknown_study_is_refused(refused, stage):
    (line,) = refused(stage, "--study", "widths")

    assert line.startswith("error: widths: not in `run` of params.yaml; ")
    assert all(study in line for study in DOCUMENT["run"])


def test_study_that_is_switched_off_is_refused(project, refused):
    change(project, {"run.depths": ABSENT})

    (line,) = refused("train_supernet", "--study", "depths")

    assert line.startswith("error: depths: not in `run` of params.yaml; ")


def test_unknown_dataset_is_refused(refused):
    (line,) = refused("download", "--dataset", "fashion_mnist")

    assert line == "error: fashion_mnist: not in `datasets` of params.yaml; known: mnist; use one of them"


@pytest.mark.parametrize("stage", ["download", *STUDY_STAGES])
def test_stage_needs_a_name(refused, stage):
    (line,) = refused(stage)

    assert stage in line
    assert ("--dataset NAME" if stage == "download" else "--study NAME") in line


@pytest.mark.parametrize("variable", ["", "report@depths", "compare", "compare@", "@depths", "compare2@depths", "@"])
def test_stage_takes_its_name_from_no_other_dvc_stage(refused, monkeypatch, variable):
    monkeypatch.setenv("DVC_STAGE", variable)

    (line,) = refused("compare")

    assert "--study NAME" in line


def test_dvc_stage_of_an_unknown_study_is_refused(refused, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "compare@widths; reboot")

    (line,) = refused("compare")

    assert line.startswith('error: "widths; reboot": not in `run` of params.yaml; ')


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("chek", "chek"),
        ("--verbose", "--verbose"),
        ("check --fix", "--fix"),
        ("check now", "now"),
        ("train_supernet --studdy depths", "--studdy"),
        ("train_supernet --study", "--study"),
        ("download --study depths", "--study"),
        ("report --study depths", "--study"),
    ],
)
def test_bad_command_line_is_refused(refused, command, wrong):
    (line,) = refused(*command.split())

    assert wrong in line


@pytest.mark.parametrize("stage", STUDY_STAGES)
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_device_that_is_not_there_is_refused(project, refused, tiny_mnist, monkeypatch, device, stage):
    monkeypatch.setattr(torch.cuda if device == "cuda" else torch.backends.mps, "is_available", lambda: False)
    change(project, {"compute.device": device})

    (line,) = refused(stage, "--study", "depths")

    assert line.startswith(f"error: params.yaml: compute.device: `{device}` is not on this machine; ")


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("stage", "part", "damage"),
    [
        *(("train_supernet", part, damage) for part in TRAIN_PARTS for damage in (flip, cut, lengthen, empty)),
        *((stage, part, flip) for part in TRAIN_PARTS for stage in ("evaluate_subnets", "train_standalones")),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_damaged_dataset_is_never_worked_on(refused, tiny_mnist, stage, part, damage):
    damage(tiny_mnist / part)

    (line,) = refused(stage, "--study", "depths", exit_code=BAD_DATA)

    content = (tiny_mnist / part).read_bytes()
    found = f"{len(content)} bytes with SHA-256 {hashlib.sha256(content).hexdigest()}"
    assert line.startswith(f"error: {tiny_mnist / part}: damaged: {found}; ")
    assert f"SHA-256 {CATALOG['mnist'].files[part].sha256}; " in line
    assert line.endswith("; delete it and run `dvc repro -f download@mnist`")


@pytest.mark.parametrize("part", TRAIN_PARTS)
@pytest.mark.parametrize("stage", ["train_supernet", "evaluate_subnets", "train_standalones"])
def test_missing_dataset_is_named_with_the_command_that_brings_it(refused, tiny_mnist, stage, part):
    (tiny_mnist / part).unlink()

    (line,) = refused(stage, "--study", "depths", exit_code=MISSING_INPUT)

    assert line.startswith(f"error: {tiny_mnist / part}: No such file or directory; ")
    assert line.endswith("; run `dvc repro download@mnist`")


@pytest.mark.parametrize("folder", ["empty", "absent", "params.yaml", "~/absent"])
def test_download_without_any_source_leaves_no_file(project, refused, monkeypatch, folder):
    (project / "empty").mkdir()
    change(project, {"datasets.mnist.folder": folder})
    every_source = sources._sources
    monkeypatch.setattr(sources, "_sources", lambda *arguments: [next(every_source(*arguments))])  # the folder alone

    (line,) = refused("download", "--dataset", "mnist", exit_code=UNAVAILABLE)

    assert line.startswith("error: mnist: no source has ")
    assert all(name in line for name in CATALOG["mnist"].files)
    assert "datasets.mnist.folder in params.yaml" in line


LOCK = load_document(ROOT / "dvc.lock", 1 << 24)
COMPARE = "compare@depths"
# What is wrong in dvc.lock: the place, its value, the place that the line names.
BAD_LOCKS = {
    "no stages": ("stages", None, "stages"),
    "list of stages": ("stages", [], "stages"),
    "entry of nothing": (f"stages.{COMPARE}", None, f"stages.{COMPARE}"),
    "entry without outs": (f"stages.{COMPARE}.outs", ABSENT, f"stages.{COMPARE}.outs"),
    "out without a path": (f"stages.{COMPARE}.outs[0].path", ABSENT, f"stages.{COMPARE}.outs"),
    "out without a hash": (f"stages.{COMPARE}.outs[0].md5", 7, f"stages.{COMPARE}.outs"),
    "deps of a word": (f"stages.{COMPARE}.deps", "all", f"stages.{COMPARE}.deps"),
    "params of a list": (f"stages.{COMPARE}.params", [1], f"stages.{COMPARE}.params"),
}


@pytest.fixture
def results(project):
    """The committed results of depths, and what dvc.lock says of them."""
    change(project, {}, ["depths"])
    shutil.copytree(ROOT / "results" / "depths", project / "results" / "depths")
    shutil.copytree(ROOT / "report", project / "report")
    write_document(project / "dvc.lock", {"stages": {COMPARE: LOCK["stages"][COMPARE]}})
    return project / "results" / "depths"


@pytest.mark.parametrize(("place", "value", "named"), BAD_LOCKS.values(), ids=BAD_LOCKS)
def test_damaged_lock_is_refused_where_it_is_damaged(project, results, refused, monkeypatch, place, value, named):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    write_document(project / "dvc.lock", edited({"stages": {COMPARE: LOCK["stages"][COMPARE]}}, place, value))

    (line,) = refused("sync", exit_code=BAD_DATA)

    assert line.startswith(f"error: dvc.lock: {named}: not ")
    assert line.endswith("; restore it from git")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("comparison.csv", "architecture,params\n3-3,many\n"),
        ("comparison.csv", None),
        ("comparison.json", "{}"),
        ("comparison.json", "{"),
        ("comparison.json", '{"verdict": 1, "mean_gap": "x"}'),
    ],
)
def test_damaged_results_are_not_shown_as_if_they_were_whole(results, file, content):
    path = results / file
    path.write_text(path.read_text().replace("9", "nine") if content is None else content)

    lines = error_lines(CliRunner().invoke(main, ["show", "--markdown"]), BAD_DATA)

    assert len(lines) == 1 and "dvc repro" in lines[0]


TABLES = {
    "oneshot.csv": found_on_validation,
    "standalone_curves.csv": found_on_validation,
    "supernet/curves.csv": lambda context: training_cost(context, ROWS),
    "supernet/sampling.csv": lambda context: training_cost(context, ROWS),
    "supernet/timing.json": lambda context: compare_cost(context, Machine("cpu", "fp32", 1)),
    "standalone_timing.json": lambda context: compare_cost(context, Machine("cpu", "fp32", 1)),
}
ROWS = [{"architecture": f"{first}-{second}", "macs": 1} for first in (1, 2, 3) for second in (1, 2, 3)]


def without_lines(text):
    return text.splitlines()[0] + "\n"


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("val_accuracy", "accuracy").replace("trained", "dealt").replace("threads", "cores"),
        lambda text: "{}" if text.startswith("{") else without_lines(text),
        lambda text: text.replace("0", "none"),
    ],
    ids=["renamed", "emptied", "no numbers"],
)
def test_comparing_refuses_a_table_that_is_not_as_its_stage_wrote_it(results, name, damage):
    layout = Layout.find()
    context = Context("compare", "depths", load_params(layout.params), layout, None)
    path = results / name
    path.write_text(damage(path.read_text()))

    with pytest.raises(OneshotError, match=r"damaged.*dvc repro") as error:
        TABLES[name](context)
    assert error.value.exit_code == BAD_DATA


def test_markup_in_results_is_shown_not_obeyed(results):
    path = results / "comparison.csv"
    path.write_text(path.read_text().replace("\n1-1,", "\n[red]x[/red],"))

    assert "[red]x[/red]" in CliRunner().invoke(main, ["show"]).stdout


def test_what_cannot_be_emptied_is_told(project, monkeypatch):
    (project / ".work" / "job").mkdir(parents=True)

    def refuse(*arguments, **named):
        raise PermissionError(errno.EACCES, "Permission denied", ".work/job")

    monkeypatch.setattr(os, "rmdir", refuse)

    (line,) = error_lines(CliRunner().invoke(main, ["clean"]), IO)
    assert line == "error: .work/job: Permission denied; mend it and run again"


def test_emptying_nothing_is_no_fault(project):
    assert CliRunner().invoke(main, ["clean"]).exit_code == 0
