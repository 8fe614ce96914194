"""A real project on small params, for the tests that run the DAG."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneshot.documents import load_document, write_document
from pipeline.demo import make_small_project
from pipeline.layout import Layout

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
# No tracking server, no credentials and no other project may leak into a run.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "ONESHOT_"))
} | {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "true",
}


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str

    @property
    def ran(self) -> set[str]:
        """The stages that were computed; a stage restored from the cache is not."""
        return set(re.findall(r"^Running stage '(.+)':", self.output, re.MULTILINE))

    @property
    def reused(self) -> set[str]:
        """The jobs that had been finished earlier."""
        return set(re.findall(r"(\S+@\S+: \S+), seed \d+: finished earlier", self.output))


@dataclass(frozen=True)
class Project:
    folder: Path

    def run(self, *command: str, **environment: str) -> Outcome:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        return Outcome(done.returncode, done.stdout)

    def repro(self, *arguments: str, tracking: str = "off") -> Outcome:
        """Without MLflow, which takes half of a small stage's time, unless `tracking` is on."""
        outcome = self.run("dvc", "repro", *arguments, ONESHOT_TRACKING=tracking)
        assert outcome.code == 0, outcome.output
        return outcome

    def edit(self, key: str, value: Any) -> None:
        """Sets one dotted key of params.yaml; numbers are places in lists."""
        document = load_document(self.folder / "params.yaml")
        node: Any = document
        *path, last = (int(part) if part.isdigit() else part for part in key.split("."))
        for part in path:
            node = node[part]
        node[last] = json.loads(json.dumps(value))  # a shared section would be written as an alias
        write_document(self.folder / "params.yaml", document)

    def copy(self, destination: Path) -> "Project":
        shutil.copytree(self.folder, destination, symlinks=True)
        return Project(destination)

    def forget(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def outputs(self) -> dict[str, bytes]:
        """Every output but the timing files, by path."""
        files = [file for folder in ("data", "results") for file in (self.folder / folder).rglob("*") if file.is_file()]
        return {
            str(file.relative_to(self.folder)): file.read_bytes() for file in files if "timing.json" not in file.name
        }


def make_bare_project(folder: Path, studies: Sequence[str] = ()) -> Path:
    """The committed params, or of these studies alone, and the code: enough for commands that train nothing."""
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    for code in ("pipeline", "src"):
        (folder / code).symlink_to(ROOT / code)
    if studies:
        document = load_document(folder / "params.yaml")
        for section in ("run", "studies"):
            document[section] = {study: document[section][study] for study in studies}
        write_document(folder / "params.yaml", document)
    return folder


def make_finished_project(folder: Path) -> Outcome:
    """One kernels study and one depths study, run from the download to the comparison, and tracked."""
    make_small_project(Layout(ROOT, ROOT), folder, ["kernels-sum", "depths"])
    project = Project(folder)
    # As little as it goes: the tests look at what runs, not at what it reaches.
    project.edit("datasets.mnist.validation_size", 300)
    for study in ("kernels-sum", "depths"):
        project.edit(f"studies.{study}.training_size", 500)
        for place, layer in enumerate(load_document(folder / "params.yaml")["studies"][study]["space"]):
            if "channels" in layer:
                project.edit(f"studies.{study}.space.{place}.channels", 2)
    return project.repro(tracking="on")
