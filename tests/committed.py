"""A committed project whose results are a few bytes, for the commands that look at a project and run nothing."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from oneshot.catalog import FilePin, KnownDataset
from oneshot.documents import load_document, write_document
from oneshot.machine import Machine
from pipeline.lockfile import content_md5

ROOT = Path(__file__).parents[1]
STUDY = "depths"
RESULTS = f"results/{STUDY}"
CODE = "src/oneshot/space.py"
IMAGES, LABELS = "data/mnist/train-images-idx3-ubyte", "data/mnist/train-labels-idx1-ubyte"
SUPERNET, STANDALONES = f"{RESULTS}/supernet/weights", f"{RESULTS}/standalone/weights"
PARAMS = ("studies.depths.seeds", "studies.depths.supernet", "datasets.mnist.split_seed")
METRICS = {"kendall_tau": 0.8, "noise_ceiling": None, "rankings": [{"predictor": "params", "kendall_tau": 0.9}]}
FILES = {
    CODE: (ROOT / CODE).read_text(),
    IMAGES: "images",
    LABELS: "labels",
    f"{SUPERNET}/0.safetensors": "supernet weights",
    f"{RESULTS}/supernet/curves.csv": "epoch\n1\n",
    f"{STANDALONES}/1-1/0.safetensors": "weights of 1-1",
    f"{STANDALONES}/1-2/0.safetensors": "weights of 1-2",
    f"{RESULTS}/comparison.json": json.dumps(METRICS),
    f"{RESULTS}/figures/curves.png": "picture",
    f"report/inputs/{STUDY}.json": "{}",
    "report/index.html": "page",
}
TIMINGS = (f"{RESULTS}/supernet/timing.json", f"{RESULTS}/standalone_timing.json", f"{RESULTS}/timing.json")
STAGES = {  # deps, outs, params
    "download@mnist": ([CODE], [IMAGES, LABELS], ["datasets.mnist.folder"]),
    "train_supernet@depths": ([IMAGES, CODE], [SUPERNET, f"{RESULTS}/supernet/curves.csv", TIMINGS[0]], PARAMS),
    "evaluate_subnets@depths": ([SUPERNET, CODE], [], PARAMS),
    "train_standalones@depths": ([IMAGES, CODE], [STANDALONES, TIMINGS[1]], PARAMS),
    "compare@depths": (
        [SUPERNET, STANDALONES, TIMINGS[0], CODE],
        [f"{RESULTS}/comparison.json", f"{RESULTS}/figures", TIMINGS[2], f"report/inputs/{STUDY}.json"],
        PARAMS,
    ),
    "report": (["report/inputs", CODE], ["report/index.html"], ["run"]),
}
KEPT_IN_CACHE = "/data/\n/results/*/supernet/weights/\n/results/*/standalone/weights/\n"


def make_committed_project(folder: Path) -> None:
    """Its files, a dvc.lock that names them, DVC's listings of its folders, and one commit of all that git keeps."""
    params = load_document(ROOT / "params.yaml")
    write_document(folder / "params.yaml", params | {"run": {STUDY: "mnist"}})
    settings = json.dumps(Machine.resolve("auto", "auto", 1).describe())
    for name, content in {
        **FILES,
        **dict.fromkeys(TIMINGS, settings),
        "dvc.yaml": "{}",
        ".gitignore": KEPT_IN_CACHE,
    }.items():
        write(folder / name, content)
    (folder / ".dvc").mkdir()
    write_lock(folder)
    for weights in (SUPERNET, STANDALONES):
        keep_listing(folder, weights)
    git(folder, "init", "--quiet")
    commit(folder)


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def write_lock(folder: Path) -> None:
    """As `dvc repro` would, were these results those of the params."""
    document = load_document(folder / "params.yaml")

    def files(names: list[str]) -> list[dict[str, Any]]:
        return [{"path": name, "hash": "md5", "md5": content_md5(folder / name)} for name in names]

    def value(name: str) -> Any:
        node: Any = document
        for part in name.split("."):
            node = node[part]
        return node

    stages = {
        name: {"deps": files(deps), "outs": files(outs), "params": {"params.yaml": {key: value(key) for key in keys}}}
        for name, (deps, outs, keys) in STAGES.items()
    }
    # Through JSON, since a shared section would be written as an alias.
    write_document(folder / "dvc.lock", json.loads(json.dumps({"schema": "2.0", "stages": stages})))


def keep_listing(folder: Path, name: str) -> None:
    """In DVC's cache, written without the code that reads it."""
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    entries = [
        {"md5": hashlib.md5(path.read_bytes()).hexdigest(), "relpath": str(path.relative_to(folder / name))}  # noqa: S324
        for path in files
    ]
    content = json.dumps(entries)
    md5 = hashlib.md5(content.encode()).hexdigest()  # noqa: S324
    write(folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir", content)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "Results")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def pin(folder: Path) -> KnownDataset:
    """The catalog's entry of a dataset that is these files."""
    pins = {
        path.name: FilePin(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.iterdir()
    }
    return KnownDataset("MNIST", None, pins)
