"""dvc.lock as data: what was run, by stage, and the hashes in it, of content."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from oneshot.documents import load_document
from oneshot.errors import BAD_DATA, MISSING_INPUT, OneshotError
from oneshot.params import Params
from pipeline.dvcfile import file_md5
from pipeline.layout import Layout, address

LOCK_LIMIT = 1 << 24
STUDY_STAGES = ("train_supernet", "evaluate_subnets", "train_standalones", "compare")


@dataclass(frozen=True)
class Locked:
    """What dvc.lock says of a stage: MD5 by path, and the params by dotted key."""

    deps: Mapping[str, str]
    outs: Mapping[str, str]
    params: Mapping[str, Any]


def built_stages(params: Params) -> list[tuple[str, str]]:
    """Stage and key of all that `dvc repro` builds, no stage before one that it depends on."""
    of_studies = [(stage, study) for study in params.run for stage in STUDY_STAGES]
    return [*(("download", dataset) for dataset in params.datasets), *of_studies, ("report", "")]


def read_lock(path: Path, built: Iterable[tuple[str, str]]) -> dict[str, Locked]:
    """What is locked of these stages, by address; DVC keeps entries of studies and datasets that are gone.
    Raises OneshotError (exit 66, 65 or 2)."""
    if not path.exists():
        raise OneshotError("dvc.lock: not there; it holds what was run; run `dvc repro`", MISSING_INPUT)
    stages = load_document(path, LOCK_LIMIT).get("stages")
    if not isinstance(stages, dict):
        raise OneshotError("dvc.lock: stages: not a mapping; DVC writes this file; restore it from git", BAD_DATA)
    names = [address(stage, key) for stage, key in built]
    return {name: _locked(name, stages[name]) for name in names if name in stages}


class _File(BaseModel):
    path: str
    md5: str


class _Entry(BaseModel):
    deps: list[_File] = []
    params: dict[str, dict[str, Any]] = {}
    outs: list[_File]


def _locked(name: str, content: Any) -> Locked:
    try:
        entry = _Entry.model_validate(content)
    except ValidationError as error:
        place = ".".join(("stages", name, *map(str, error.errors()[0]["loc"][:1])))
        raise OneshotError(
            f"dvc.lock: {place}: not as DVC writes it; the file is DVC's own; restore it from git", BAD_DATA
        ) from None
    deps, outs = ({file.path: file.md5 for file in files} for files in (entry.deps, entry.outs))
    return Locked(deps, outs, entry.params.get("params.yaml", {}))


def is_kept_in_cache(layout: Layout, path: Path) -> bool:
    """Weights and datasets are in DVC's cache alone, and absent in a fresh clone; all else is in git."""
    return path.is_relative_to(layout.root / "data") or path.name == "weights"


def content_md5(path: Path) -> str | None:
    """Of the bytes of a file or folder that are there now, as dvc.lock has it; None if there is nothing."""
    if path.is_dir():
        return listing_md5(list_folder(path))
    return file_md5(path) if path.is_file() else None


def list_folder(folder: Path) -> dict[str, str]:
    """MD5 of every file in it, by path."""
    return {file.relative_to(folder).as_posix(): file_md5(file) for file in folder.rglob("*") if file.is_file()}


def listing_md5(listing: Mapping[str, str]) -> str:
    """As DVC takes that of a folder: of the JSON that it keeps as `<md5>.dir` in its cache."""
    content = json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(listing.items())])
    return f"{hashlib.md5(content.encode()).hexdigest()}.dir"  # noqa: S324


def cached_listing(home: Path, md5: str) -> dict[str, str] | None:
    """What the folder of this MD5 held, if DVC's cache knows it."""
    try:
        entries = json.loads((home / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).read_bytes())
        listing = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return listing if listing_md5(listing) == md5 else None
