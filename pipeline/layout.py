"""Where each file lives, once. dvc.yaml names the same paths, and a test holds the two together."""

import os
from dataclasses import dataclass
from pathlib import Path

from oneshot.errors import MISSING_INPUT, OneshotError

STUDY = "ONESHOT_STUDY"
"""Of the environment: whose files a process needs that can be given no argument."""


def address(stage: str, key: str) -> str:
    """DVC's name of a stage for a study or dataset; `report` is one for all."""
    return f"{stage}@{key}" if key else stage


@dataclass(frozen=True)
class StudyLayout:
    folder: Path

    @property
    def supernet_weights(self) -> Path:
        return self.folder / "supernet" / "weights"

    @property
    def supernet_curves(self) -> Path:
        return self.folder / "supernet" / "curves.csv"

    @property
    def supernet_sampling(self) -> Path:
        return self.folder / "supernet" / "sampling.csv"

    @property
    def supernet_timing(self) -> Path:
        return self.folder / "supernet" / "timing.json"

    @property
    def oneshot(self) -> Path:
        return self.folder / "oneshot.csv"

    @property
    def standalone_weights(self) -> Path:
        return self.folder / "standalone" / "weights"

    @property
    def standalone_curves(self) -> Path:
        return self.folder / "standalone_curves.csv"

    @property
    def standalone_timing(self) -> Path:
        return self.folder / "standalone_timing.json"

    @property
    def comparison_table(self) -> Path:
        return self.folder / "comparison.csv"

    @property
    def comparison(self) -> Path:
        return self.folder / "comparison.json"

    @property
    def timing(self) -> Path:
        return self.folder / "timing.json"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    def reported(self) -> tuple[Path, ...]:
        """What the report reads of the study."""
        tables = (
            self.supernet_curves,
            self.supernet_sampling,
            self.oneshot,
            self.standalone_curves,
            self.comparison_table,
        )
        return (*tables, self.comparison, self.timing, self.supernet_timing, self.standalone_timing)


@dataclass(frozen=True)
class Layout:
    """`root`: the folder of dvc.yaml; `home`: the repository, which differs in `dvc exp run --temp`."""

    root: Path
    home: Path

    @classmethod
    def find(cls) -> "Layout":
        """From the current folder upwards, as git does. Raises OneshotError (exit 66) outside of a project."""
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
                # DVC sets DVC_ROOT for every stage, to the real repository even where a copy of it runs.
                return cls(folder, Path(os.environ.get("DVC_ROOT", folder)))
        raise OneshotError(
            "no dvc.yaml and params.yaml here or above; oneshot runs in a project; cd into it", MISSING_INPUT
        )

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def store(self) -> Path:
        """Finished jobs, by fingerprint."""
        return self.home / ".work"

    def lock(self, address: str) -> Path:
        """Held by the process that runs the stage. In `root`, which is what it writes to."""
        return self.root / ".work" / "locks" / f"{address}.lock"

    def dataset(self, name: str) -> Path:
        return self.root / "data" / name

    @property
    def page(self) -> Path:
        return self.root / "report" / "index.html"

    def manifest(self, study: str) -> Path:
        """The files that the page takes from a study, with their MD5."""
        return self.root / "report" / "inputs" / f"{study}.json"

    def study(self, name: str) -> StudyLayout:
        return StudyLayout(self.root / "results" / name)
