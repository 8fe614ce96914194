"""What every benchmark starts from: the committed params, the dataset, and how much is measured."""

from dataclasses import dataclass
from pathlib import Path

from oneshot.data import Examples, load_split, verify_training_files
from oneshot.params import Params, Study, load_params
from pipeline.layout import Layout

DATASET = "mnist"
STUDY = "kernels-sum"
"""Of whatever takes a whole study or stage: its networks are the quickest."""
BATCH = 128
"""That of the usual recipe, and of all studies here but `depths`, which has a smaller one."""


@dataclass(frozen=True)
class Settings:
    root: Path
    params: Params
    quick: bool
    whole: bool
    """All that there is to measure, into the page; else nothing is written."""

    @classmethod
    def load(cls, root: Path, quick: bool, whole: bool) -> "Settings":
        """Raises OneshotError: 2 for faulty params, 66 or 65 for a dataset that is missing or damaged."""
        settings = cls(root, load_params(root / "params.yaml"), quick, whole)
        verify_training_files(settings.dataset)
        return settings

    @property
    def figure(self) -> Path:
        return self.root / "docs" / "scoring.png"

    def amount(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def study(self, name: str) -> Study:
        return self.params.studies[name]

    @property
    def threads(self) -> int:
        """Of a supernet and of every evaluation."""
        return self.params.compute.supernet_threads

    @property
    def loader_workers(self) -> tuple[int, ...]:
        """Of the usual recipe's DataLoader: ours is held against the faster. The quick mode takes none for it."""
        return (0,) if self.quick else (0, 2)

    @property
    def dataset(self) -> Path:
        return Layout(self.root, self.root).dataset(DATASET)

    def examples(self) -> tuple[Examples, Examples]:
        """Training and validation images."""
        section = self.params.datasets[DATASET]
        return load_split(self.dataset, section, 60_000 - section.validation_size)
