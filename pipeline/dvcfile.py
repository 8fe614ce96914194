"""dvc.yaml and dvc.lock as data: what a stage depends on, filled in for one study or dataset."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from oneshot.documents import load_document
from oneshot.errors import USAGE, OneshotError

CODE = (".py", ".html", ".css", ".js")  # of the page as well


@dataclass(frozen=True)
class Stage:
    """One stage for one `key` (study or dataset; empty for `report`). Paths are relative to the project."""

    name: str
    key: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    """Dotted keys of params.yaml."""

    @property
    def code(self) -> tuple[str, ...]:
        return tuple(path for path in self.deps if path.endswith(CODE))


def read_stage(root: Path, name: str, key: str, item: str = "") -> Stage:
    try:
        body = load_document(root / "dvc.yaml")["stages"][name]
        body = body.get("do", body)
    except (KeyError, TypeError, AttributeError):
        raise OneshotError(
            f"dvc.yaml: stages.{name}: missing; every command is a stage; restore the file", USAGE
        ) from None

    def filled(kind: str) -> tuple[str, ...]:
        return tuple(entry.replace("${key}", key).replace("${item}", item) for entry in body.get(kind, []))

    return Stage(name, key, filled("deps"), filled("params"))


def code_hashes(root: Path, stage: Stage) -> dict[str, str]:
    """MD5 of every code file the stage depends on: the same figures that dvc.lock holds."""
    return {path: file_md5(root / path) for path in sorted(stage.code)}


def file_md5(path: Path) -> str:
    """As dvc.lock has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
