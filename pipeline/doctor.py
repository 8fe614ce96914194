"""Command doctor: what is wrong with this project's folder and this machine, each with its mend.

Changes nothing, asks no network and runs no stage. Every line is: place, what is wrong; the rule; the mend.
"""

import configparser
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from oneshot.catalog import CATALOG, check_content
from oneshot.checkpoint import sha256
from oneshot.database import database_faults
from oneshot.errors import OneshotError, quoted_key
from oneshot.git import GitError, ask_git
from oneshot.jobs import WEIGHTS
from oneshot.params import Params, load_params
from oneshot.tables import read_json
from oneshot.tracking import SERVER, newest_schema
from pipeline.installation import code_faults, package_faults, some, tool_faults
from pipeline.layout import Layout, address
from pipeline.lockfile import built_stages, is_kept_in_cache, read_lock
from pipeline.staleness import stale_stages

MEGABYTE = 1 << 20
FREE_MEGABYTES = 1024
PINNED = ("torch", "numpy", "scipy")
# Of what a timing file says of its machine, what results depend on: other seconds are no fault.
SETTINGS = ("device", "precision", *PINNED)


def run(say: Callable[[str], None]) -> bool:
    """A line per fault; whether there was none."""
    layout = Layout.find()
    healthy = True
    for line in _faults(layout):
        say(line)
        healthy = False
    if layout.store.is_dir():
        jobs, size = len(list(layout.store.glob(f"*/{WEIGHTS}"))), _megabytes(layout.store)
        begun = len({file.parent for file in layout.store.glob("checkpoints/*/*/*")})
        kinds = f"{jobs} finished and {begun} unfinished jobs"
        say(f".work/: {kinds}, {size} MB, used again when needed; `oneshot clean` empties it")
    if healthy:
        say("nothing is wrong")
    return healthy


def _faults(layout: Layout) -> Iterator[str]:
    for check in (tool_faults, _repository, package_faults, code_faults, _tracking, _disk):
        yield from _told(check, layout)
    try:
        params = load_params(layout.params)
    except OneshotError as error:
        yield from _lines(error)
        return
    for check_params in (_datasets, _machine, _leftovers, _lock):
        yield from _told(check_params, layout, params)


def _told(check: Callable[..., Iterable[str]], *arguments: Any) -> Iterator[str]:
    """What the check says; one that cannot go on says why."""
    try:
        yield from check(*arguments)
    except OneshotError as error:
        yield from _lines(error)
    except ImportError as error:
        yield f"{error.name or 'python'}: {error}; it cannot be done without; run `make env`"
    except OSError as error:
        yield f"{error.filename or 'input/output'}: {error.strerror}; it must be readable; mend that"


def _lines(error: OneshotError) -> list[str]:
    return list(getattr(error, "faults", [str(error)]))


def _repository(layout: Layout) -> Iterator[str]:
    if not any((folder / ".dvc").is_dir() for folder in (layout.root, *layout.root.parents)):
        yield ".dvc: not there; `dvc repro` needs it; restore it from git, or run `dvc init`"
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([layout.home / ".dvc" / "config", layout.home / ".dvc" / "config.local"])
        without_git = config.getboolean("core", "no_scm", fallback=False)
    except (configparser.Error, ValueError) as error:
        yield f".dvc/config: damaged: {' '.join(str(error).split())}; DVC must be able to read it; restore it from git"
        return
    if not without_git:
        try:
            ask_git(layout.root, "rev-parse", "--git-dir")
        except GitError as error:
            rule = "DVC looks for the repository, and results are kept in it"
            yield f"{error}; {rule}; install git and clone the project, or do without: `dvc config core.no_scm true`"


def _tracking(layout: Layout) -> Iterator[str]:
    """A server is not asked."""
    path = layout.home / "mlflow.db"
    if path.exists() and not os.environ.get(SERVER):
        yield from database_faults(path, layout.home / "mlruns", newest_schema)


def _disk(layout: Layout) -> Iterator[str]:
    free = shutil.disk_usage(layout.home).free // MEGABYTE
    if free < FREE_MEGABYTES:
        ways = {".work": "oneshot clean", ".dvc/cache": "dvc gc --workspace"}
        mends = [f"`{way}` ({folder} is {_megabytes(layout.home / folder)} MB)" for folder, way in ways.items()]
        rule = f"runs need about {FREE_MEGABYTES} MB for weights, DVC's cache and MLflow's copies"
        yield f"{layout.home}: {free} MB of disk are free; {rule}; free some, or run {' or '.join(mends)}"


def _megabytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) // MEGABYTE


def _datasets(layout: Layout, params: Params) -> Iterator[str]:
    for name, dataset in params.datasets.items():
        if dataset.folder and not (folder := layout.home / Path(dataset.folder).expanduser()).is_dir():
            rule = "it must hold the four IDX files"
            yield f"params.yaml: datasets.{name}.folder: {folder} is not there; {rule}; correct it, or set null"
        files = [layout.dataset(name) / file for file in CATALOG[name].files]
        if missing := [file.name for file in files if not file.is_file()]:
            rule = "every stage reads the dataset"
            yield f"data/{name}: no {', '.join(missing)}; {rule}; run `dvc repro download@{name}`"
        for file in files:
            if file.is_file():
                yield from _told(_damage, file)


def _damage(file: Path) -> Iterable[str]:
    content = file.read_bytes()
    check_content(file, len(content), sha256(content))
    return ()


def _machine(layout: Layout, params: Params) -> Iterator[str]:
    yield from emulation(params)
    yield from _other_machines(layout, params)


def emulation(params: Params) -> Iterator[str]:
    """Of a precision that this machine does not have natively. Raises OneshotError (exit 2) for a device it lacks."""
    from oneshot.machine import Machine  # imports torch, which takes seconds

    compute = params.compute
    machine = Machine.resolve(compute.device, compute.precision, 1)
    native = Machine.resolve(machine.device, "auto", 1).precision
    if machine.precision == "bf16" != native:
        rule = "emulated it is many times slower than fp32"
        yield f"params.yaml: compute.precision: bf16 is not native on this {machine.device}; {rule}; set auto or fp32"


def _other_machines(layout: Layout, params: Params) -> Iterator[str]:
    from oneshot.machine import Machine

    here = Machine.resolve(params.compute.device, params.compute.precision, 1).describe()
    made: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for paths in map(layout.study, params.run):
        for file in filter(Path.exists, (paths.supernet_timing, paths.standalone_timing, paths.timing)):
            try:
                if others := _other_settings(file, here):
                    made[others].append(file.relative_to(layout.root).as_posix())
            except OneshotError as error:
                yield str(error)
    for others, files in made.items():
        made_with = ", ".join(f"{key} {there}, not {here[key]}" for key, there in others)
        rule = "these change the bytes of results"
        # Device and precision are what the machine has.
        mend = "run `make env`" if any(key in PINNED for key, _ in others) else "keep them"
        yield f"{some(files)}: made with {made_with}; {rule}; {mend}, or run `dvc repro -f` to have this machine's"


def _other_settings(file: Path, here: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    recorded = read_json(file)
    return tuple((key, str(recorded.get(key))) for key in SETTINGS if recorded.get(key) != here[key])


def _leftovers(layout: Layout, params: Params) -> Iterator[str]:
    results, manifests = layout.study("").folder, layout.manifest("").parent
    folders = [path for path in results.glob("*") if path.is_dir()]
    for path in sorted([*folders, *manifests.glob("*.json")]):
        if path.stem not in params.studies:
            place = f"{path.parent.relative_to(layout.root)}/{quoted_key(path.stem)}{path.suffix}"
            rule = "results are of its studies"
            yield f"{place}: of a study that params.yaml does not have; {rule}; delete it, or add the study again"


def _lock(layout: Layout, params: Params) -> Iterator[str]:
    stages = built_stages(params)
    lock = read_lock(layout.root / "dvc.lock", stages)
    names = [address(stage, key) for stage, key in stages]
    if never := [name for name in names if name not in lock]:
        yield f"dvc.lock: has no {some(never)}; results are of all stages of params.yaml; run `dvc repro`"
    outs = [layout.root / path for name in names if name in lock for path in lock[name].outs]
    if gone := [path for path in outs if not path.exists() and not is_kept_in_cache(layout, path)]:
        missing = some([path.relative_to(layout.root).as_posix() for path in gone])
        yield f"{missing}: not there; dvc.lock names it; run `dvc repro`, or restore it from git"
    if stale := stale_stages(layout, params, lock):
        name, changed = next(iter(stale.items()))
        count = "1 stage is stale, " if len(stale) == 1 else f"{len(stale)} stages are stale, the first "
        rule = "results must belong to code, params and data"
        yield f"dvc.lock: {count}{name}: {changed} has changed; {rule}; run `dvc repro`"
