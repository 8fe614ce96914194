"""Small search spaces of every kind of sharing, and random images, that the tests share."""

import json
import os
import secrets
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from committed import make_committed_project
from filelock import FileLock
from project import Outcome, Project, make_finished_project

from oneshot.blocks import (
    ClassifierLayer,
    ConvLayer,
    DepthBlock,
    GlobalAveragePoolLayer,
    KernelBlock,
    LinearLayer,
    MaxPoolLayer,
)
from oneshot.data import Examples
from oneshot.machine import Machine, has_opaque_bf16
from oneshot.space import SearchSpace
from oneshot.tracking import create_database

if TYPE_CHECKING:
    from faults import Lab

INPUT_SHAPE, CLASSES = (1, 8, 8), 4
needs_bf16 = pytest.mark.skipif(not has_opaque_bf16(), reason="the processor has no bfloat16 of its own")


def kernel_space(sharing, batch_norm=False, kernels=(3, 5)):
    block = KernelBlock(layer="kernel_block", kernels=kernels, channels=3, sharing=sharing, batch_norm=batch_norm)
    pool = MaxPoolLayer(layer="max_pool", size=2)
    linear = LinearLayer(layer="linear", features=6)
    classifier = ClassifierLayer(layer="classifier", classes=CLASSES)
    return SearchSpace((block, pool, block, pool, linear, classifier), INPUT_SHAPE)


def depth_space(sharing, batch_norm=True, depths=(1, 2, 3)):
    stem = ConvLayer(layer="conv", channels=3, kernel=3, stride=1, batch_norm=batch_norm)
    down = ConvLayer(layer="conv", channels=4, kernel=3, stride=2, batch_norm=batch_norm)
    block = DepthBlock(layer="depth_block", depths=depths, kernel=3, sharing=sharing, batch_norm=batch_norm)
    pool = GlobalAveragePoolLayer(layer="global_average_pool")
    classifier = ClassifierLayer(layer="classifier", classes=CLASSES)
    return SearchSpace((stem, block, down, block, pool, classifier), INPUT_SHAPE)


def pooled_space(sharing, batch_norm):
    """The same layer stands before a pooling in one path, before another layer in the next; the deepest comes first."""
    stem, block, *_, classifier = depth_space(sharing.removesuffix("-pooled"), batch_norm, depths=(3, 2, 1)).layers
    return SearchSpace((stem, block, MaxPoolLayer(layer="max_pool", size=2), classifier), INPUT_SHAPE)


SPACES = {
    f"{sharing}{'-norm' if batch_norm else ''}": build(sharing, batch_norm)
    for build, sharings in (
        (kernel_space, ("sum", "concat", "wide")),
        (depth_space, ("prefix", "block")),
        (pooled_space, ("prefix-pooled",)),
    )
    for sharing in sharings
    for batch_norm in (False, True)
}


def pytest_configure() -> None:
    """One seed for all processes of a run: `FAULT_SEED=... pytest` does the same faults again."""
    os.environ.setdefault("FAULT_SEED", str(secrets.randbelow(1_000_000)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The faults that were survived, as README.md counts them."""
    survived = Counter[str]()
    for report in terminalreporter.stats.get("passed", []):
        for fault, number in report.user_properties:
            survived[fault] += number
    if survived:
        lines = ["| fault | times |", "|---|---:|", *(f"| {fault} | {survived[fault]} |" for fault in sorted(survived))]
        terminalreporter.write_line("\n".join([f"faults of FAULT_SEED={os.environ['FAULT_SEED']}", *lines]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the DAG first: one process begins with them, while the other does the rest and then takes half."""
    items.sort(key=lambda item: "finished_run" not in getattr(item, "fixturenames", ()))


@pytest.fixture(params=SPACES)
def space(request):
    """Every sharing, with and without batch norm."""
    return SPACES[request.param]


def random_examples(count=24):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *INPUT_SHAPE[1:]), dtype=torch.uint8, generator=generator)
    return Examples(images, torch.randint(CLASSES, (count,), generator=generator), 0.5, 0.29)


@pytest.fixture
def examples():
    return random_examples()


@pytest.fixture(autouse=True, scope="session")
def machine():
    machine = Machine("cpu", "fp32", 1)
    machine.claim()
    return machine


@pytest.fixture(scope="session")
def finished_run(shared_folder: Path) -> Outcome:
    """The output of the run that made the finished project; made once, whichever test process comes first."""
    record = shared_folder / "outcome.json"
    with FileLock(shared_folder / "lock"):
        if not record.exists():
            record.write_text(json.dumps(asdict(make_finished_project(shared_folder / "project"))))
    return Outcome(**json.loads(record.read_text()))


@pytest.fixture(scope="session")
def finished_project(shared_folder: Path, finished_run: Outcome) -> Project:
    """Not to be changed: tests that edit take a copy."""
    return Project(shared_folder / "project")


@pytest.fixture(scope="session")
def committed_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("committed")
    make_committed_project(folder)
    return folder


@pytest.fixture
def committed_project(committed_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One's own, and the current folder; no other repository is around it."""
    folder = tmp_path / "project"
    shutil.copytree(committed_template, folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def empty_database(shared_folder: Path) -> Path:
    """To be copied where a test looks at something else than its creation, which takes seconds."""
    create_database(shared_folder / "mlflow.db")
    return shared_folder / "mlflow.db"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> "Lab":
    """One for all tests of a process; each begins with a reset."""
    from faults import Lab  # imports all that trains

    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    folder.mkdir(exist_ok=True)
    return folder
