"""What every benchmark starts from: the committed params, the dataset, and how much is measured."""

from dataclasses import dataclass
from pathlib import Path

from oneshot.data import Examples, load_split
from oneshot.params import Params, Study
from pipeline.layout import Layout

DATASET = "mnist"


@dataclass(frozen=True)
class Settings:
    root: Path
    params: Params
    quick: bool

    def amount(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def study(self, name: str) -> Study:
        return self.params.studies[name]

    @property
    def threads(self) -> int:
        """Of a supernet and of every evaluation."""
        return self.params.compute.supernet_threads

    @property
    def dataset(self) -> Path:
        return Layout(self.root, self.root).dataset(DATASET)

    def examples(self) -> tuple[Examples, Examples]:
        """Training and validation images."""
        section = self.params.datasets[DATASET]
        return load_split(self.dataset, section, 60_000 - section.validation_size)
