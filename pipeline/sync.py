"""Command sync: makes MLflow show every result that dvc.lock names. Idempotent.

DVC skips or restores a stage whose result it knows, and then nothing is logged; a fresh clone has no runs at all.
Results and lock hold all that a run shows, so it is linked if it exists and made if it does not.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from oneshot.documents import load_document
from oneshot.errors import BAD_DATA, MISSING_INPUT, UNAVAILABLE, OneshotError
from oneshot.params import Params, load_params
from oneshot.tracking import Tracker
from pipeline.dvcfile import CODE, file_md5
from pipeline.layout import Layout
from pipeline.publish import COMPARED, Published, log_test_accuracies, publish
from pipeline.units import DOWNLOADS, PAGES, Record

LOCK_LIMIT = 1 << 24
STAGES = ("download", "train_supernet", *COMPARED, "compare", "report")


class File(BaseModel):
    path: str
    md5: str


class Entry(BaseModel):
    """What we read of a stage in dvc.lock."""

    deps: list[File]
    params: dict[str, dict[str, Any]]
    outs: list[File]


def run(warn: Callable[[str], None]) -> str:
    """What was done, in one line."""
    layout = Layout.find()
    params = load_params(layout.params)
    tracker = Tracker(layout.home)
    current: dict[str, set[str]] = defaultdict(set)
    counts: Counter[bool] = Counter()
    networks: dict[str, list[Published]] = defaultdict(list)
    for stage, key, entry in _entries(layout, params, warn):
        published = publish(tracker, layout, _record(stage, key, entry), restored=True)
        for run_id, (unit, made) in published.items():
            current[unit.experiment].add(run_id)
            counts[made] += 1
            tracker.tag(run_id, _lock_tags(entry))
        if stage in COMPARED:
            networks[key].append(published)
        elif stage == "compare":
            for trained in networks[key]:
                log_test_accuracies(tracker, layout, key, trained)
    # Also where nothing is current any more: in studies that `run` no longer names.
    for experiment in (*params.studies, DOWNLOADS, PAGES):
        tracker.mark_current(experiment, current[experiment])
    if tracker.failure is not None:
        raise OneshotError(f"MLflow: {tracker.failure}; the sync is not complete; run it again", UNAVAILABLE)
    return f"MLflow shows all of dvc.lock: {counts[False]} runs were there, {counts[True]} were made from files"


def _entries(layout: Layout, params: Params, warn: Callable[[str], None]) -> list[tuple[str, str, Entry]]:
    """Entries of dvc.lock that params.yaml still builds and whose files are what the lock says, `compare` last."""
    path = layout.root / "dvc.lock"
    if not path.exists():
        raise OneshotError("dvc.lock: not there; it holds what was run; run `dvc repro`", MISSING_INPUT)
    entries = []
    stages = load_document(path, LOCK_LIMIT).get("stages")
    if not isinstance(stages, dict):
        raise OneshotError("dvc.lock: stages: not a mapping; DVC writes this file; restore it from git", BAD_DATA)
    for address, content in stages.items():
        stage, _, key = str(address).partition("@")
        # DVC keeps entries of stages, studies and datasets that are gone.
        known = {"download": params.datasets, "report": ("",)}.get(stage, params.run)
        if stage not in STAGES or key not in known:
            continue
        try:
            entry = Entry.model_validate(content)
        except ValidationError as error:
            place = ".".join(("stages", address, *map(str, error.errors()[0]["loc"][:1])))
            raise OneshotError(
                f"dvc.lock: {place}: not as DVC writes it; the file is DVC's own; restore it from git", BAD_DATA
            ) from None
        if changed := [out.path for out in entry.outs if not _as_locked(layout, out)]:
            warn(f"warning: {changed[0]}: not what dvc.lock says; {address} is left out; run `dvc repro`")
            continue
        entries.append((stage, key, entry))
    return sorted(entries, key=lambda item: item[0] == "compare")


def _as_locked(layout: Layout, out: File) -> bool:
    """Weights and datasets may be absent, as in a fresh clone; what is in git must be what the lock says."""
    path = layout.root / out.path
    if path.is_relative_to(layout.root / "data") or path.name == "weights":
        return True
    return path.is_dir() or (path.is_file() and file_md5(path) == out.md5)


def _record(stage: str, key: str, entry: Entry) -> Record:
    deps = {dep.path: dep.md5 for dep in entry.deps}
    dataset = next((path.split("/")[1] for path in deps if path.startswith("data/")), key)
    code = {path: md5 for path, md5 in sorted(deps.items()) if path.endswith(CODE)}
    return Record(stage, key, dataset, entry.params.get("params.yaml", {}), code)


def _lock_tags(entry: Entry) -> dict[str, str]:
    """Hashes of inputs and outputs, by path; code has a tag of its own."""
    return {
        f"dvc.{kind}.{file.path}": file.md5
        for kind, files in (("dep", entry.deps), ("out", entry.outs))
        for file in files
        if not file.path.endswith(CODE) or kind == "out"
    }
