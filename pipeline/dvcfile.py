"""dvc.yaml and dvc.lock as data: what a stage depends on, filled in for one study or dataset."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneshot.documents import load_document
from oneshot.errors import USAGE, OneshotError


@dataclass(frozen=True)
class Stage:
    """One stage for one `key` (study or dataset). Paths are relative to the project."""

    name: str
    key: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    """Dotted keys of params.yaml."""
    outs: tuple[str, ...]
    """Of every kind: outs, metrics and plots."""

    @property
    def address(self) -> str:
        return f"{self.name}@{self.key}"

    @property
    def code(self) -> tuple[str, ...]:
        return tuple(path for path in self.deps if path.endswith(".py"))


def read_stage(root: Path, name: str, key: str, item: str = "") -> Stage:
    try:
        body = load_document(root / "dvc.yaml")["stages"][name]["do"]
    except (KeyError, TypeError):
        raise OneshotError(
            f"dvc.yaml: stages.{name}: missing; every command is a stage; restore the file", USAGE
        ) from None

    def filled(kind: str) -> tuple[str, ...]:
        entries = [entry if isinstance(entry, str) else next(iter(entry)) for entry in body.get(kind, [])]
        return tuple(entry.replace("${key}", key).replace("${item}", item) for entry in entries)

    return Stage(name, key, filled("deps"), filled("params"), filled("outs") + filled("metrics") + filled("plots"))


def code_hashes(root: Path, stage: Stage) -> dict[str, str]:
    """MD5 of every code file the stage depends on: the same figures that dvc.lock holds."""
    return {path: hashlib.md5((root / path).read_bytes()).hexdigest() for path in sorted(stage.code)}  # noqa: S324


def pick_params(document: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """The stage's params, by dotted key, as dvc.lock lists them."""
    picked = {}
    for key in stage.params:
        value: Any = document
        for part in key.split("."):
            value = value[part]
        picked[key] = value
    return picked
